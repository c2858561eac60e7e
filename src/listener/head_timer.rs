//! How long an HTTP/1.1 client may take for the head of a request, and how long it may wait before it begins one.
//!
//! hyper has one limit for both: its time runs from the end of an answer. A client that keeps a connection for its next
//! request may wait for much longer than one that has begun a head may take to end it.

use std::{
    io::Result,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::service::Service;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    time::{Instant, sleep_until},
};

/// Where a connection is. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct HeadTimer {
    phase: Arc<watch::Sender<Phase>>,
    limit: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing of the next request is there.
    Idle,
    /// The head of a request has to be whole by then.
    Head(Instant),
    /// A request is served.
    Request,
}

impl HeadTimer {
    /// For a new connection, whose first head has to be whole within `limit` from now.
    pub(super) fn start(limit: Duration) -> Self {
        let phase = Phase::Head(Instant::now() + limit);
        HeadTimer {
            phase: Arc::new(watch::Sender::new(phase)),
            limit,
        }
    }

    /// Waits until a head is late.
    pub(super) async fn expired(&self) {
        let mut phase = self.phase.subscribe();
        loop {
            let due = match *phase.borrow_and_update() {
                Phase::Head(due) => Some(due),
                Phase::Idle | Phase::Request => None,
            };
            let expired = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = expired => return,
                // This timer has a sender itself, so this never fails.
                _ = phase.changed() => {}
            }
        }
    }

    fn received(&self) {
        self.phase.send_if_modified(|phase| {
            let is_first = matches!(phase, Phase::Idle);
            if is_first {
                *phase = Phase::Head(Instant::now() + self.limit);
            }
            is_first
        });
    }

    fn set(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }
}

/// A socket whose bytes begin the head of a request where none is under way.
pub(super) struct TimedIo<IO> {
    io: IO,
    timer: HeadTimer,
}

impl<IO> TimedIo<IO> {
    pub(super) fn new(io: IO, timer: HeadTimer) -> Self {
        TimedIo { io, timer }
    }

    pub(super) fn into_inner(self) -> IO {
        self.io
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for TimedIo<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.timer.received();
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for TimedIo<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A connection's service, which stops the timer while a request is served.
pub(super) struct TimedService<S> {
    pub(super) service: S,
    pub(super) timer: HeadTimer,
}

/// An answer; the connection idles once it is gone.
pub(super) struct TimedBody<B> {
    body: B,
    _serving: Serving,
}

struct Serving(HeadTimer);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.set(Phase::Idle);
    }
}

impl<S, R, B> Service<Request<R>> for TimedService<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<TimedBody<B>>;
    type Error = S::Error;
    type Future =
        Pin<Box<dyn Future<Output = std::result::Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, request: Request<R>) -> Self::Future {
        self.timer.set(Phase::Request);
        let serving = Serving(self.timer.clone());
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| TimedBody {
                body,
                _serving: serving,
            }))
        })
    }
}

impl<B: Body + Unpin> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
