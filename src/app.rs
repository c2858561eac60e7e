//! The composition root: wires the rooms together, and knows the order of birth and death.

use std::{io, time::Duration};

use thiserror::Error;
use tokio::{task::JoinHandle, time};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::{
    admin,
    clock::Clock,
    config::Config,
    emulator, grpc, kora,
    lifecycle::{Readiness, Shutdown, Watchdog},
    listener::{self, Listener, Protocol},
    telemetry::Metrics,
};

/// What the admin port accepts: an orchestrator and a scraper, not the public.
const ADMIN_LISTENER: listener::Config = listener::Config {
    protocol: Protocol::Http1OrHttp2,
    max_connections: 256,
    max_streams_per_connection: 64,
};

/// How long before the bound on a stop the calls that are left are given up, so that the rest fits in.
const DRAIN_RESERVE: Duration = Duration::from_secs(2);

/// The bound sockets.
#[derive(Debug)]
pub struct Listeners {
    /// For callers.
    pub grpc: Listener,
    /// For the orchestrator.
    pub admin: Listener,
    /// For the emulator, where one runs.
    pub emulator: Option<Listener>,
}

/// What a gateway is handed besides its configuration.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Tells the day.
    pub clock: Clock,
    /// Tells everyone how far the gateway is.
    pub readiness: Readiness,
    /// Tells the gateway to stop.
    pub shutdown: Shutdown,
}

/// Why a gateway cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The way to Kora cannot be set up.
    #[error(transparent)]
    Kora(#[from] kora::SetupError),
}

impl Listeners {
    /// Binds every address of the configuration; port 0 takes a free one.
    ///
    /// # Errors
    /// If one of them cannot be bound.
    pub async fn bind(config: &Config) -> io::Result<Self> {
        Ok(Listeners {
            grpc: Listener::bind("grpc", config.grpc_addr).await?,
            admin: Listener::bind("admin", config.admin_addr).await?,
            emulator: match &config.emulator {
                Some(emulator) => Some(Listener::bind("emulator", emulator.addr).await?),
                None => None,
            },
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        [&self.grpc, &self.admin].into_iter().chain(&self.emulator)
    }
}

/// Checks what `run` would build before it serves.
///
/// # Errors
/// If the gateway could not start.
pub fn check(config: &Config) -> Result<(), StartError> {
    let (mut registry, calls) = (Metrics::registry(), TaskTracker::new());
    let metrics = kora::Metrics::register(&mut registry);
    let give_up = Shutdown::default();
    kora::Client::new(&config.kora, Clock::system(), metrics, calls, give_up)?;
    Ok(())
}

/// Runs a gateway until it is told to stop and everything in it has ended, at the latest
/// `drain_timeout` after that.
///
/// # Errors
/// If it cannot start.
pub async fn run(
    mut config: Config,
    listeners: Listeners,
    surroundings: Surroundings,
) -> Result<(), StartError> {
    let Surroundings {
        clock,
        readiness,
        shutdown,
    } = surroundings;
    let calls = TaskTracker::new();
    // The orders of a stop, in the order in which they are given.
    let [give_up, calls_done, grpc_done] = [(); 3].map(|()| Shutdown::default());
    let emulator = start_emulator(&mut config, listeners.emulator, grpc_done.clone());

    let mut registry = Metrics::registry();
    let kora = kora::Client::new(
        &config.kora,
        clock.clone(),
        kora::Metrics::register(&mut registry),
        calls.clone(),
        give_up.clone(),
    )?;
    let grpc_metrics = grpc::Metrics::register(&mut registry);
    let metrics = Metrics::new(registry);

    let watchdog = Watchdog::start();
    let (reporter, health) = admin::health().await;
    let follow = tokio::spawn(admin::follow_health(
        reporter.clone(),
        readiness.clone(),
        watchdog.clone(),
        kora.answering(),
    ));
    let callers = grpc::service(
        &config.grpc,
        kora,
        clock,
        grpc_metrics,
        calls.clone(),
        shutdown.clone(),
        health.clone(),
    );
    // The admin port outlives the callers': it tells the orchestrator that the gateway is draining.
    let admin = tokio::spawn(listeners.admin.serve(
        admin::service(readiness.clone(), watchdog, metrics, health),
        ADMIN_LISTENER,
        grpc_done.clone(),
        grpc_done.clone(),
    ));
    let grpc = tokio::spawn(listeners.grpc.serve(
        callers,
        config.grpc_listener.clone(),
        shutdown.clone(),
        calls_done.clone(),
    ));
    admin::announce_ready(&reporter).await;
    readiness.ready();
    shutdown.started().await;
    readiness.drain();

    let drained = async {
        calls.close();
        let patience = config.drain_timeout.saturating_sub(DRAIN_RESERVE);
        if time::timeout(patience, calls.wait()).await.is_err() {
            tracing::warn!(calls = calls.len(), "giving up on the calls that are left");
            give_up.start();
        }
        calls_done.start();
        ended(grpc).await;
        grpc_done.start();
        ended(admin).await;
        if let Some(emulator) = emulator {
            ended(emulator).await;
        }
    };
    if time::timeout(config.drain_timeout, drained).await.is_err() {
        tracing::warn!("the bound on a stop has passed");
    }
    follow.abort();
    Ok(())
}

/// Starts the emulator, if one is configured, and points the gateway at it.
fn start_emulator(
    config: &mut Config,
    listener: Option<Listener>,
    stop: Shutdown,
) -> Option<JoinHandle<()>> {
    let (emulator, listener) = (config.emulator.take()?, listener?);
    config.kora.base_url = Url::parse(&format!("http://{}/api/v1", listener.addr()))
        .expect("a socket address makes a URL's authority");
    Some(tokio::spawn(async move {
        let served = emulator::serve(listener.into_socket(), emulator.config, stop.started());
        if let Err(error) = served.await {
            tracing::error!(%error, "the emulator ended");
        }
    }))
}

/// Waits for a part to end; one that panicked has ended too, and was reported by its panic.
async fn ended(part: JoinHandle<()>) {
    let _ = part.await;
}
