//! The requests of one connection on their way to the port's service, and the answers on their way back.

use std::{convert::Infallible, future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version, header::CONTENT_TYPE};
use http_body::Body;
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;

use super::{
    PeerNames,
    connection::Streams,
    pace::Paced,
    places::{Place, PlaceClaim},
    resets::Calls,
};
use crate::lifecycle::Shutdown;

/// How large the headers of a request may be together, counted as HTTP/2 does: 32 bytes more for each field.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// What HTTP/2 adds to the size of each field (RFC 9113, 6.5.2).
const FIELD_OVERHEAD_BYTES: usize = 32;

/// In the extensions of a request whose headers are larger than 16 KiB. All but its content type was dropped, so that
/// large headers take no memory while the request waits; the port's service says what is wrong.
#[derive(Clone, Copy, Debug)]
pub struct HeadersTooLarge;

/// The service of one connection. Each request carries the [`Shutdown`] of the connection in its extensions: what would
/// go on for ever ends by it; its [`PlaceClaim`]; the [`PeerNames`]; and its [`CallProgress`](super::CallProgress).
#[derive(Clone)]
pub(super) struct Exchanges<S> {
    pub(super) service: TowerToHyperService<S>,
    pub(super) place: Arc<Place>,
    /// The connection is about to end.
    pub(super) ending: Shutdown,
    pub(super) peer: PeerNames,
    pub(super) streams: Streams,
    pub(super) calls: Calls,
}

impl<S, B> Service<Request<Incoming>> for Exchanges<S>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<Paced<B>>;
    type Error = h2::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, h2::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let pace = self.streams.pace();
        // HTTP/1.1 has a limit of its own.
        if request.version() == Version::HTTP_2 && head_bytes(&request) > MAX_HEADER_BYTES {
            keep_content_type(request.headers_mut());
            request.extensions_mut().insert(HeadersTooLarge);
        }
        let (progress, unanswered) = self.calls.begin();
        request.extensions_mut().insert(progress);
        let (claim, claimed) = PlaceClaim::of(&self.place);
        request.extensions_mut().insert(claim);
        request.extensions_mut().insert(self.ending.clone());
        request.extensions_mut().insert(self.peer.clone());
        // It is called when this is polled.
        let answer = self.service.call(request);
        let calls = self.calls.clone();
        Box::pin(async move {
            let unanswered = unanswered;
            yield_once().await;
            if calls.is_limit_exceeded() {
                unanswered.answered();
                // The client knows by this that nothing was done, and can send the call again on another connection.
                return Err(h2::Reason::REFUSED_STREAM.into());
            }
            let Ok(answer) = answer.await;
            unanswered.answered();
            Ok(answer.map(|body| Paced::new(body, pace, claimed)))
        })
    }
}

/// Has hyper look for a reset that came together with the request, before anything is done for it.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn head_bytes<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let target = uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter();
    let fields =
        fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD_BYTES);
    authority + target + fields.sum::<usize>()
}

fn keep_content_type(headers: &mut HeaderMap) {
    let content_type = headers.remove(CONTENT_TYPE);
    *headers = content_type
        .map(|value| (CONTENT_TYPE, value))
        .into_iter()
        .collect();
}
