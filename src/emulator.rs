//! A twin of Kora's REST API, for demos and tests.
//!
//! It answers like Kora as far as Kora documents itself, knows the sandbox's test names, and breaks
//! on command. Three things stand beside each other on one listener:
//!
//! * `/api/v1`: screenings and subjects, with Kora's credentials, error envelope and headers;
//! * `/__emulator/scenario`: tells the next answers to fail, hang, be cut off or be unreadable;
//! * `/__emulator/requests`: what arrived, in order.
//!
//! All state is in memory and bounded. The twin uses nothing of the gateway, so it cannot share its
//! mistakes. It is not a model of Kora's speed, and it does not match names: the result of a
//! screening depends on the subject's name alone.

mod admission;
mod door;
mod envelope;
mod exchange;
mod ledger;
mod rate;
mod received;
mod rest;
mod sandbox;
mod scenario;
mod screening;
mod screening_request;
mod subject;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use exchange::Cut;
use ledger::Ledger;
use rate::Window;
use received::Received;
use scenario::Scenario;

/// The API key that the emulator expects unless told otherwise.
pub const API_KEY: &str = "emulator-api-key";

/// The tenant that the emulator serves unless told otherwise.
pub const TENANT_ID: &str = "5f0c9a52-7c1e-4c8b-9d57-3a1e6b2f4d80";

/// Connections served at a time. Further clients wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 4096;

/// How long answers in progress may take to finish once the emulator is told to stop.
const STOP_GRACE: Duration = Duration::from_millis(250);

/// Pause after a failed accept, so that a process without free file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The credentials that the emulator accepts.
#[derive(Clone)]
pub struct Config {
    /// The key expected in `Authorization: Bearer <key>`. Anything else is answered 401.
    pub api_key: String,
    /// The tenant expected in `X-Tenant-ID`, compared without case. Anything else is answered 403.
    pub tenant_id: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_key: API_KEY.to_owned(),
            tenant_id: TENANT_ID.to_owned(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("api_key", &"[redacted]")
            .field("tenant_id", &self.tenant_id)
            .finish()
    }
}

/// What every request of one emulator shares.
struct Twin {
    config: Config,
    state: Mutex<State>,
}

/// Everything that changes, behind one lock.
#[derive(Default)]
struct State {
    ledger: Ledger,
    received: Received,
    scenario: Option<Scenario>,
    window: Window,
}

impl Twin {
    fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            config,
            state: Mutex::default(),
        })
    }

    /// The state, locked. The guard is not `Send`, so it cannot be held across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in one answer is that request's failure. The others go on with what is there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the emulator on `listener` until `shutdown` completes.
///
/// Then no connection is taken any more, answers in progress have 250 ms to finish, and what is
/// left is cut: hanging requests and idle connections do not hold the stop up.
///
/// # Errors
///
/// When the listener has no local address. A failed accept is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    tracing::debug!(address = %listener.local_addr()?, "emulator serving");
    let routes = routes(Twin::new(config));
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // Reaping keeps the set as small as the number of open connections. A panic was
            // reported by its hook.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, routes.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "emulator cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stop.cancel();
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// The three parts of the emulator's surface, as one router.
fn routes(twin: Arc<Twin>) -> Router {
    Router::new()
        .nest("/__emulator", door::routes())
        .merge(rest::routes(&twin))
        .with_state(twin)
}

/// Serves one connection until the client leaves it, an answer cuts it, or the emulator stops.
async fn serve_connection(stream: TcpStream, routes: Router, stop: CancellationToken) {
    // Only latency is lost without it.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| answer(routes.clone(), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(STOP_GRACE, connection).await {
                Ok(ended) => ended,
                Err(_elapsed) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "emulator connection ended early");
    }
}

/// Answers one request, or fails with [`Cut`]: hyper then drops the connection without writing a
/// byte.
async fn answer(
    routes: Router,
    request: hyper::Request<Incoming>,
) -> Result<axum::response::Response, Cut> {
    let Ok(response) = routes.oneshot(request.map(Body::new)).await;
    match response.extensions().get::<Cut>() {
        Some(cut) => Err(*cut),
        None => Ok(response),
    }
}
