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
    FutureExt, Stream,
    stream::{self, StreamExt},
};
use http::{Request, Response};
use http_body::Body as HttpBody;
use tokio::time::{Duration, Instant, timeout_at};
use tonic::{
    Status,
    body::Body,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
    server::{Grpc, ServerStreamingService},
};
use tonic_prost::ProstDecoder;
use tower::Service;

use super::{
    admission::Admission,
    failure_log,
    gate::{StreamPass, Who},
    rpc::Rpc,
    status::status_of,
};
use crate::{
    access::{Share, Shares},
    error::{CallError, Reason},
    event::WatchRequest,
    feed::{Message, Subscription},
    lifecycle::Shutdown,
    pb,
};

/// How much of a stream's messages is gathered before it is written; the buffer begins with little, because
/// most streams are quiet.
const BUFFER: usize = 256;
const YIELD_THRESHOLD: usize = 32 << 10;

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
    pub(super) fn new(routes: S, streams: Shares, max_request_bytes: usize) -> Self {
        WithWatch {
            routes,
            watch: Watch {
                streams,
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
        let max = Some(watch.max_request_bytes);
        Box::pin(async move {
            let mut grpc = Grpc::new(WatchCodec).apply_max_message_size_config(max, None);
            Ok(grpc.server_streaming(watch, request).await)
        })
    }
}

impl ServerStreamingService<pb::WatchEventsRequest> for Watch {
    type Response = Message;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;
    type Future =
        Pin<Box<dyn Future<Output = Result<tonic::Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<pb::WatchEventsRequest>) -> Self::Future {
        let streams = self.streams.clone();
        Box::pin(async move {
            let admission: &Admission = request
                .extensions()
                .get()
                .expect("the boundary admits every request of this service");
            let admission = admission.clone();
            let memory = admission.enter_stream();
            let ending: &Shutdown = request
                .extensions()
                .get()
                .expect("the listener says with every request when its connection ends");
            let ending = ending.clone();
            let pass = admission.pass;
            pass.check_raw_json(request.get_ref().include_raw_json)?;
            let request = WatchRequest::from_wire(request.into_inner())?;
            let place = streams.take(&pass.claimant(), 1);
            let place = place.map_err(|_| too_many())?;
            let feed = pass.tenant.feed.clone();
            let who = pass.who();
            let pass = pass.of_stream(request.include_raw_json)?;
            let open = Open {
                subscription: feed.open(request, ending).await?,
                pass,
                deadline: admission.stream_deadline,
                _place: place,
                _memory: memory,
            };
            let messages: Self::ResponseStream = Box::pin(messages(open, admission.call_id, who));
            Ok(tonic::Response::new(messages))
        })
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

/// Requests as usual; messages as the bytes that they are.
struct WatchCodec;

struct MessageEncoder;

impl Codec for WatchCodec {
    type Encode = Message;
    type Decode = pb::WatchEventsRequest;
    type Encoder = MessageEncoder;
    type Decoder = ProstDecoder<pb::WatchEventsRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        MessageEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

impl Encoder for MessageEncoder {
    type Item = Message;
    type Error = Status;

    fn encode(&mut self, message: Message, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(message.encoded_len());
        message.encode(out);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, YIELD_THRESHOLD)
    }
}
