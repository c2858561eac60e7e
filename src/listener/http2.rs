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
};
use crate::lifecycle::Shutdown;

/// After how long a client is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long it has to say so.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How large the headers of a request may be together.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// How much of a request a client may send before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;

/// The same, of all requests of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// How much of an answer is kept for a client that does not take it.
const MAX_SEND_BUFFER_BYTES: usize = 32 << 10;

/// How many requests a client may take back before they were looked at.
const MAX_RESETS_UNSEEN: usize = 20;

/// How many mistakes of a client are answered with the reset of a stream; then its connection is over.
const MAX_MISTAKES: usize = 100;

/// Serves a connection until its client ends it, or until it is old or `stop` is given: then its streams are told to
/// end, and nothing new is taken on it.
pub(super) async fn serve<S, B>(
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
    let mut connection = Connection::new(connection, streams, config.patience.stall, metrics);
    // What goes wrong on one connection is its client's affair; calls log their own failures.
    let is_stopped = tokio::select! {
        _ = &mut connection => return,
        () = stop.started() => true,
        () = sleep(age) => false,
    };
    ending.start();
    connection.itself().graceful_shutdown();
    let _ = match is_stopped {
        // How long that may take is the port's affair.
        true => connection.await,
        false => match timeout(config.patience.grace, connection).await {
            Ok(ended) => ended,
            Err(_) => return,
        },
    };
}
