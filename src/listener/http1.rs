//! One connection that speaks HTTP/1.1.
//!
//! hyper closes a connection without a word when a head does not come in time. Whoever sent a part of it
//! is told so from here.

use std::{convert::Infallible, error::Error, io, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::http1::{Builder, Parts},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink},
    time::{sleep, timeout},
};
use tower::Service;

use super::{
    Http1Patience,
    exchanges::Exchanges,
    head_timer::{HeadTimer, TimedIo, TimedService},
};
use crate::lifecycle::Shutdown;

/// How much of a request is buffered. A head that is larger is answered `431` by hyper.
const MAX_BUFFER_BYTES: usize = 64 << 10;

/// What a late head is answered.
const REQUEST_TIMEOUT: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What HTTP/1.1 is answered on a port that speaks gRPC alone.
const NO_HTTP1: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 88\r\n\r\n\
    This port speaks gRPC over HTTP/2. Probes over HTTP/1.1 are answered on the admin port.\n";

/// How long a client that was told so has to read it and to close.
const LINGER: Duration = Duration::from_secs(1);

/// How much it may still send meanwhile.
const MAX_LINGER_BYTES: u64 = 1 << 20;

/// Serves a connection until its client ends it, or until it is old or `stop` is given: then after the request that is
/// under way.
pub(super) async fn serve<IO, S, B>(
    io: IO,
    exchanges: Exchanges<S>,
    patience: Http1Patience,
    age: Duration,
    stop: Shutdown,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let ending = exchanges.ending.clone();
    let timer = HeadTimer::start(patience.header);
    let io = TimedIo::new(io, timer.clone());
    let service = TimedService {
        service: exchanges,
        timer: timer.clone(),
    };
    let mut connection = Builder::new()
        .timer(TokioTimer::new())
        // hyper begins to count when the last answer is written.
        .header_read_timeout(patience.idle.max(patience.header))
        .max_buf_size(MAX_BUFFER_BYTES)
        // A client that has nothing more to send still waits for its answer.
        .half_close(true)
        .serve_connection(TokioIo::new(io), service);
    let is_late = {
        let served = async {
            let ended = tokio::select! {
                ended = &mut connection => Some(ended),
                () = stop.started() => None,
                () = sleep(age) => None,
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    ending.start();
                    Pin::new(&mut connection).graceful_shutdown();
                    (&mut connection).await
                }
            };
            ended.is_err_and(|error| error.is_timeout())
        };
        tokio::select! {
            biased;
            is_late = served => is_late,
            () = timer.expired() => true,
        }
    };
    if is_late {
        let Parts { io, read_buf, .. } = connection.into_parts();
        if has_begun(&read_buf) {
            let io = io.into_inner().into_inner();
            // The client may be gone.
            let _ = timeout(LINGER, answer_and_close(io, REQUEST_TIMEOUT)).await;
        }
    }
}

/// Tells a client that it speaks HTTP/1.1 to a port that does not.
pub(super) async fn refuse(io: impl AsyncRead + AsyncWrite + Unpin) {
    // The client may be gone.
    let _ = timeout(LINGER, answer_and_close(io, NO_HTTP1)).await;
}

/// Whether a part of a head is there. Empty lines before it do not count.
fn has_begun(buffered: &[u8]) -> bool {
    buffered.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
}

/// A socket that is closed with something unread in it is reset, and the answer is lost with it.
async fn answer_and_close(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &[u8],
) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    let mut rest = stream.take(MAX_LINGER_BYTES);
    copy(&mut rest, &mut sink()).await?;
    Ok(())
}
