//! One connection that speaks HTTP/2.

use std::{convert::Infallible, error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http2::Builder};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};

use super::{
    Config, connection::Connection, exchanges::Exchanges, gathering::Gathering, metrics::Metrics,
    resets::Calls,
};
use crate::lifecycle::Shutdown;

/// After how long a client is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long it has to say so.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How large the headers of a request may be together; h2 answers larger ones `431`. Less than that is accepted
/// ([`Exchanges`]), and refused in the terms of the port's protocol.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// How much of a request a client may send before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// The same, of all requests of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// How much of an answer is kept for a client that does not take it.
const MAX_SEND_BUFFER_BYTES: usize = 32 << 10;

/// How many streams a client may reset before they were accepted: then h2 cuts the connection, with every call on it. Clients
/// that are merely hasty exceed the limit of [`Calls`] long before.
const MAX_RESETS_UNSEEN: usize = 1_000;

/// How many mistakes of a client are answered with the reset of a stream; then h2 cuts its connection.
const MAX_MISTAKES: usize = 1_000;

/// Serves a connection until its client ends it, or until it is old or `stop` is given: then its streams are told to
/// end, and nothing new is taken on it. So it is when its client has reset too many calls.
pub(super) async fn serve<S, B>(
    listener: &'static str,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    exchanges: Exchanges<S>,
    config: &Config,
    age: Duration,
    stop: Shutdown,
    metrics: Metrics,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (streams, ending) = (exchanges.streams.clone(), exchanges.ending.clone());
    let calls = exchanges.calls.clone();
    let connection = Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams_per_connection)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_RESETS_UNSEEN)
        .max_local_error_reset_streams(MAX_MISTAKES)
        .serve_connection(TokioIo::new(Gathering::new(io)), exchanges);
    let stall = config.patience.stall;
    let mut connection = Connection::new(connection, streams, stall, metrics.clone());
    let is_stopped = tokio::select! {
        ended = &mut connection => return note_end(ended, &calls),
        () = stop.started() => true,
        () = sleep(age) => false,
        () = calls.limit_exceeded() => {
            metrics.reset_too_often(listener);
            false
        }
    };
    ending.start();
    connection.itself().graceful_shutdown();
    if is_stopped {
        // How long that may take is the port's affair.
        note_end((&mut connection).await, &calls);
    } else if let Ok(ended) = timeout(config.patience.grace, &mut connection).await {
        note_end(ended, &calls);
    }
}

/// Logs that h2 cut a connection whose client did too much of something, since calls that it had sent get no answer. Whatever
/// else goes wrong on a connection is its client's affair. To be called before the connection's streams are dropped.
fn note_end(ended: hyper::Result<()>, calls: &Calls) {
    let Err(error) = ended else { return };
    let of_h2 = error.source().and_then(|source| source.downcast_ref());
    let is_cut = of_h2.is_some_and(|error: &h2::Error| {
        error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
    });
    if is_cut {
        let paid_calls = calls.paid_in_flight();
        tracing::warn!(paid_calls, %error, "connection closed: its client exceeded a limit of HTTP/2");
    }
}
