//! The composition root: wires the rooms together, and knows the order of birth and death.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::{
    sync::watch,
    task::{self, JoinHandle},
    time,
};
use tokio_util::task::TaskTracker;
use url::Url;

use crate::{
    admin,
    clock::Clock,
    config::Config,
    emulator,
    feed::{self, Feed},
    grpc, kora,
    lifecycle::{Readiness, Shutdown, Watchdog},
    listener::{self, Listener, Protocol},
    store::{self, EventLog, Sqlite},
    telemetry::Metrics,
    webhook,
};

/// What the admin port accepts: an orchestrator and a scraper, not the public.
const ADMIN_LISTENER: listener::Config = listener::Config {
    protocol: Protocol::Http1OrHttp2,
    max_connections: 256,
    max_streams_per_connection: 64,
};

/// What the webhook port accepts: Kora, and what stands before the gateway.
const WEBHOOK_LISTENER: listener::Config = listener::Config {
    protocol: Protocol::Http1 {
        header_timeout: webhook::HEADER_TIMEOUT,
    },
    max_connections: 1024,
    max_streams_per_connection: 1,
};

/// How long before the bound on a stop the calls that are left are given up, so that the rest fits in.
const DRAIN_RESERVE: Duration = Duration::from_secs(2);

/// The bound sockets.
#[derive(Debug)]
pub struct Listeners {
    /// For callers.
    pub grpc: Listener,
    /// For Kora's webhooks.
    pub webhook: Listener,
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
    /// The event log cannot be opened.
    #[error(transparent)]
    Store(#[from] store::OpenError),
}

impl Listeners {
    /// Binds every address of the configuration; port 0 takes a free one.
    ///
    /// # Errors
    /// If one of them cannot be bound.
    pub async fn bind(config: &Config) -> io::Result<Self> {
        Ok(Listeners {
            grpc: Listener::bind("grpc", config.grpc_addr).await?,
            webhook: Listener::bind("webhook", config.webhook_addr).await?,
            admin: Listener::bind("admin", config.admin_addr).await?,
            emulator: match &config.emulator {
                Some(emulator) => Some(Listener::bind("emulator", emulator.addr).await?),
                None => None,
            },
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        [&self.grpc, &self.webhook, &self.admin]
            .into_iter()
            .chain(&self.emulator)
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
    let webhook_addr = listeners.webhook.addr();
    let emulator = start_emulator(
        &mut config,
        listeners.emulator,
        webhook_addr,
        grpc_done.clone(),
    );

    let mut registry = Metrics::registry();
    let log = open_log(&config, clock.clone(), &mut registry).await?;
    let kora = kora::Client::new(
        &config.kora,
        clock.clone(),
        kora::Metrics::register(&mut registry),
        calls.clone(),
        give_up.clone(),
    )?;
    let feed = Feed::new(
        &config.feed,
        log.clone(),
        feed::Metrics::register(&mut registry),
        shutdown.clone(),
    );
    let webhooks = webhook::service(
        config.webhook.clone(),
        log.clone(),
        webhook::Metrics::register(&mut registry),
    );
    let grpc_metrics = grpc::Metrics::register(&mut registry);
    let metrics = Metrics::new(registry);

    let watchdog = Watchdog::start();
    let (reporter, health) = admin::health().await;
    let followers = [
        tokio::spawn(admin::follow_health(
            reporter.clone(),
            readiness.clone(),
            watchdog.clone(),
            kora.answering(),
            log.writable(),
        )),
        tokio::spawn(follow_log(readiness.clone(), log.writable())),
    ];
    let callers = grpc::service(
        &config.grpc,
        grpc::Sources { kora, feed, clock },
        grpc_metrics,
        calls.clone(),
        shutdown.clone(),
        health.clone(),
    );
    // The admin port outlives the others: it tells the orchestrator that the gateway is draining.
    let admin = tokio::spawn(listeners.admin.serve(
        admin::service(readiness.clone(), watchdog, metrics, health),
        ADMIN_LISTENER,
        grpc_done.clone(),
        grpc_done.clone(),
    ));
    // Webhooks are taken until the last call is over.
    let webhooks = tokio::spawn(listeners.webhook.serve(
        webhooks,
        WEBHOOK_LISTENER,
        calls_done.clone(),
        calls_done.clone(),
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
        ended(webhooks).await;
        grpc_done.start();
        ended(admin).await;
        if let Some(emulator) = emulator {
            ended(emulator).await;
        }
        log.close().await;
    };
    if time::timeout(config.drain_timeout, drained).await.is_err() {
        tracing::warn!("the bound on a stop has passed");
    }
    followers.iter().for_each(JoinHandle::abort);
    Ok(())
}

/// Opens the tenant's log, on a thread that may block.
async fn open_log(
    config: &Config,
    clock: Clock,
    registry: &mut Registry,
) -> Result<Arc<Sqlite>, StartError> {
    let metrics = store::Metrics::register(registry);
    let (store, tenant) = (config.store.clone(), config.webhook.tenant.clone());
    let open = move || Sqlite::open(&store, &tenant, clock, metrics);
    let log = task::spawn_blocking(open)
        .await
        .expect("opening a log does not panic")?;
    Ok(Arc::new(log))
}

/// A gateway whose log cannot write takes no webhooks, and says so.
async fn follow_log(readiness: Readiness, mut writable: watch::Receiver<bool>) {
    while writable.changed().await.is_ok() {
        match *writable.borrow_and_update() {
            true => readiness.ready(),
            false => readiness.not_ready(),
        }
    }
    // Its writer is gone.
    readiness.not_ready();
}

/// Starts the emulator, if one is configured, and points the gateway at it.
fn start_emulator(
    config: &mut Config,
    listener: Option<Listener>,
    _webhook_addr: SocketAddr,
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
