//! A twin of Kora's REST API and its webhooks, for demos and tests.
//!
//! It answers like Kora as far as Kora documents itself, knows the sandbox's test names, tells by
//! signed webhooks how ASYNC screenings ended, and breaks on command. On one listener are:
//!
//! * `/api/v1`: screenings, subjects and webhook subscriptions, with Kora's credentials, error envelope
//!   and headers;
//! * `/__emulator/scenario`: tells the next answers to fail, hang, be cut off or be unreadable;
//! * `/__emulator/requests`: what arrived, in order;
//! * `/__emulator/webhooks`: `PUT` tells deliveries to come twice, late, in disorder, badly signed,
//!   without id or not at all; `POST` fires one by hand; `GET` lists what became of each.
//!
//! All state is in memory and bounded. The twin uses nothing of the gateway, so it cannot share its
//! mistakes. It is not a model of Kora's speed, and it does not match names: the result of a
//! screening depends on the subject's name alone.

mod admission;
mod background;
mod config;
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
mod signature;
mod subject;
#[cfg(test)]
mod tests;
mod webhooks;

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

pub use config::{API_KEY, Config, TENANT_ID, WEBHOOK_SECRET, Webhook};

use background::Background;
use exchange::Cut;
use ledger::Ledger;
use rate::Window;
use received::Received;
use scenario::Scenario;
use webhooks::{NOT_A_TARGET, Webhooks};

/// Connections served at a time. Further clients wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 4096;

/// How long answers in progress may take to finish once the emulator is told to stop.
const STOP_GRACE: Duration = Duration::from_millis(250);

/// Pause after a failed accept, so that a process without free file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every request of one emulator shares.
struct Twin {
    config: Config,
    state: Mutex<State>,
    background: Background,
}

/// Everything that changes, behind one lock.
#[derive(Default)]
struct State {
    ledger: Ledger,
    received: Received,
    scenario: Option<Scenario>,
    window: Window,
    webhooks: Webhooks,
}

impl Twin {
    /// An emulator whose background work ends with `stop`. Refuses a preset webhook with a bad URL.
    fn new(config: Config, stop: CancellationToken) -> io::Result<Arc<Self>> {
        let webhooks = match &config.webhook {
            None => Webhooks::default(),
            Some(webhook) => Webhooks::with_preset(webhook)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, NOT_A_TARGET))?,
        };
        let state = State {
            webhooks,
            ..State::default()
        };
        Ok(Arc::new(Self {
            config,
            state: Mutex::new(state),
            background: Background::new(stop),
        }))
    }

    /// The state, locked. The guard is not `Send`, so it cannot be held across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in one answer is that request's failure. The others go on with what is there.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the emulator on `listener` until `shutdown` completes.
///
/// Then no connection is taken any more, no webhook is sent any more, answers in progress have 250 ms
/// to finish, and what is left is cut: hanging requests and idle connections do not hold the stop up.
///
/// # Errors
///
/// When the listener has no local address, or the preset webhook a bad URL. A failed accept is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    tracing::debug!(address = %listener.local_addr()?, "emulator serving");
    let stop = CancellationToken::new();
    // Whoever drops this future ends the work in the background too.
    let _stop = stop.clone().drop_guard();
    let twin = Twin::new(config, stop.clone())?;
    let routes = routes(Arc::clone(&twin));
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
    twin.background.ended().await;
    Ok(())
}

/// The parts of the emulator's surface, as one router.
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
