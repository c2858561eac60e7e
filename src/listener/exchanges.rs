//! The requests of one connection on their way to the port's service, and the answers on their way back.

use std::{convert::Infallible, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;

use super::{
    PeerNames,
    connection::Streams,
    pace::Paced,
    places::{Place, PlaceClaim},
};
use crate::lifecycle::Shutdown;

/// The service of one connection. Each request carries the [`Shutdown`] of the connection in its extensions: what would
/// go on for ever ends by it; its [`PlaceClaim`]; and the [`PeerNames`].
#[derive(Clone)]
pub(super) struct Exchanges<S> {
    pub(super) service: TowerToHyperService<S>,
    pub(super) place: Arc<Place>,
    /// The connection is about to end.
    pub(super) ending: Shutdown,
    pub(super) peer: PeerNames,
    pub(super) streams: Streams,
}

impl<S, B> Service<Request<Incoming>> for Exchanges<S>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<Paced<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let (claim, claimed) = PlaceClaim::of(self.place.request());
        request.extensions_mut().insert(claim);
        request.extensions_mut().insert(self.ending.clone());
        request.extensions_mut().insert(self.peer.clone());
        let pace = self.streams.pace();
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Paced::new(body, pace, claimed)))
        })
    }
}
