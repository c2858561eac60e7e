//! `WatchEvents`: beside the generated service, because its messages are assembled from bytes that are
//! encoded already.

use std::{
    convert::Infallible,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    FutureExt, Stream, TryStreamExt,
    stream::{self, StreamExt},
};
use http::{Extensions, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::Body as HttpBody;
use tokio::time::{Duration, Instant, timeout_at};
use tonic::{Status, body::Body, codec::Streaming};
use tonic_prost::ProstDecoder;
use tower::Service;

use super::{
    admission::Admission,
    failure_log,
    gate::{StreamPass, Who},
    message_body::MessageBody,
    rpc::Rpc,
    status::status_of,
};
use crate::{
    access::{Share, Shares},
    error::{CallError, Reason},
    event::WatchRequest,
    feed::{Message, StreamMemory, Subscription},
    lifecycle::Shutdown,
    memory::{Allowances, Budget},
    pb,
};

/// When to come back for a stream that there was no room for.
const COME_BACK_AFTER: Duration = Duration::from_secs(5);

/// The routes, with `WatchEvents` before them.
#[derive(Clone)]
pub(super) struct WithWatch<S> {
    routes: S,
    watch: Watch,
}

/// Answers `WatchEvents`.
#[derive(Clone)]
struct Watch {
    streams: Shares,
    memory: Allowances,
    filters: Allowances,
    max_request_bytes: usize,
}

/// One open stream.
struct Open {
    subscription: Subscription,
    pass: StreamPass,
    /// When it has to end, where its caller said so.
    deadline: Option<Instant>,
    _place: Share,
    /// What was asked for is kept as long as the stream.
    _memory: Option<Share>,
}

impl<S> WithWatch<S> {
    pub(super) fn new(
        routes: S,
        streams: Shares,
        budget: &Budget,
        max_request_bytes: usize,
    ) -> Self {
        WithWatch {
            routes,
            watch: Watch {
                streams,
                memory: budget.allowances_of_streams(),
                filters: budget.allowances_of_filters(),
                max_request_bytes,
            },
        }
    }
}

impl<S, B> Service<Request<B>> for WithWatch<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.routes.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if Rpc::from_path(request.uri().path()) != Some(Rpc::WatchEvents) {
            return Box::pin(self.routes.call(request));
        }
        let watch = self.watch.clone();
        Box::pin(async move {
            let answered = watch.answer(request).await;
            Ok(answered.unwrap_or_else(Status::into_http))
        })
    }
}

impl Watch {
    async fn answer<B>(self, request: Request<B>) -> Result<Response<Body>, Status>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        let (head, body) = request.into_parts();
        let (decoder, max) = (ProstDecoder::default(), Some(self.max_request_bytes));
        let mut requests = Streaming::new_request(decoder, body, None, max);
        let request = requests.try_next().await?;
        let request = request.ok_or_else(|| Status::internal("Missing request message."))?;
        // The end of the request, as for any call that has one message.
        requests.trailers().await?;
        let messages = self.open(request, &head.extensions).await?;
        let mut response = Response::new(Body::new(MessageBody::new(messages)));
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(CONTENT_TYPE, grpc);
        Ok(response)
    }

    async fn open(
        self,
        request: pb::WatchEventsRequest,
        extensions: &Extensions,
    ) -> Result<impl Stream<Item = Result<Message, Status>> + Send + 'static, CallError> {
        let admission: &Admission = extensions
            .get()
            .expect("the boundary admits every request of this service");
        let admission = admission.clone();
        let memory = admission.enter_stream();
        let ending: &Shutdown = extensions
            .get()
            .expect("the listener says with every request when its connection ends");
        let ending = ending.clone();
        let pass = admission.pass;
        pass.check_raw_json(request.include_raw_json)?;
        let request = WatchRequest::from_wire(request)?;
        let claimant = pass.claimant();
        let place = self.streams.take(&claimant, 1).map_err(|_| too_many())?;
        let allowance = |of: &Allowances| of.of(&claimant.caller, claimant.callers);
        let stream_memory = StreamMemory {
            messages: allowance(&self.memory),
            filters: allowance(&self.filters),
        };
        let feed = pass.tenant.feed.clone();
        let who = pass.who();
        let pass = pass.of_stream(request.include_raw_json)?;
        let open = Open {
            subscription: feed.open(request, stream_memory, ending).await?,
            pass,
            deadline: admission.stream_deadline,
            _place: place,
            _memory: memory,
        };
        Ok(messages(open, admission.call_id, who))
    }
}

fn too_many() -> CallError {
    CallError {
        retry_after: Some(COME_BACK_AFTER),
        ..CallError::new(Reason::TooManyStreams)
    }
}

/// The messages of a stream. What goes wrong once it is open gets its status here.
fn messages(open: Open, call_id: String, who: Who) -> impl Stream<Item = Result<Message, Status>> {
    let messages = stream::unfold(open, move |mut open| async move {
        let next = AssertUnwindSafe(open.next()).catch_unwind();
        let next = next.await.unwrap_or_else(|_| {
            let error = CallError::new(Rpc::WatchEvents.lost_reason());
            Some(Err(error.because("the stream panicked")))
        });
        Some((next?, open))
    });
    let mut is_over = false;
    messages
        .take_while(move |message| {
            let is_last = std::mem::replace(&mut is_over, message.is_err());
            std::future::ready(!is_last)
        })
        .map(move |message| {
            message.map_err(|error| {
                let status = status_of(&error, Some(Rpc::WatchEvents), &call_id);
                let rpc = Some(Rpc::WatchEvents);
                failure_log::write(&error, rpc, &call_id, status.code(), &who);
                status
            })
        })
}

impl Open {
    /// The next message. A caller that may not watch any more gets none, at the latest when there would be a heartbeat.
    async fn next(&mut self) -> Option<Result<Message, CallError>> {
        let next = match self.deadline {
            None => self.subscription.next().await,
            Some(deadline) => timeout_at(deadline, self.subscription.next())
                .await
                .unwrap_or_else(|_| Some(Err(Reason::DeadlineExceeded.into()))),
        };
        match self.pass.check() {
            Ok(()) => next,
            Err(error) => Some(Err(error)),
        }
    }
}
