//! The composition root: wires the rooms together, and knows the order of birth and death.

mod emulation;
mod listeners;
mod moving;
mod opening;

use std::time::Duration;

use thiserror::Error;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time,
};
use tokio_util::task::TaskTracker;

pub use listeners::Listeners;
pub use moving::{export_log, import_log};

use crate::{
    admin,
    clock::Clock,
    config::Config,
    feed::{self, Feed},
    grpc, kora,
    lifecycle::{Readiness, Shutdown, Watchdog},
    listener,
    reconciler::{self, Reconciler},
    requests::{self, Requests},
    store,
    telemetry::Metrics,
    webhook,
};
use listeners::admin_config;
use opening::open_log;

/// How long before the bound on a stop the calls that are left are given up, so that the rest fits in.
const DRAIN_RESERVE: Duration = Duration::from_secs(2);

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
    /// The event log on NATS cannot be used as it is.
    #[error(transparent)]
    Nats(#[from] store::jetstream::OpenError),
    /// NATS takes no webhooks as large as they may be.
    #[error(
        "webhook-max-bytes is more than {0}, the most that this NATS server has room for (max_payload)"
    )]
    WebhookLimit(usize),
}

/// Checks what `run` would build before it serves.
///
/// # Errors
/// If the gateway could not start.
pub fn check(config: &Config) -> Result<(), StartError> {
    let mut registry = Metrics::registry();
    let metrics = kora::Metrics::register(&mut registry);
    let orders = kora::Orders::default();
    kora::Client::new(&config.kora, Clock::system(), metrics, orders)?;
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
    let secrets = [
        (config.kora.api_key.clone(), "kora-api-key"),
        (config.webhook.secrets.clone(), "kora-webhook-secret"),
    ];
    // The orders of a stop, in the order in which they are given.
    let [give_up, calls_done, grpc_done] = [(); 3].map(|()| Shutdown::default());
    let webhook_addr = listeners.webhook.addr();
    let emulator = emulation::start(
        &mut config,
        listeners.emulator,
        webhook_addr,
        grpc_done.clone(),
    );

    let metrics = Metrics::default();
    let mut registry = Metrics::registry();
    let listener_metrics = listener::Metrics::register(&mut registry);
    let watchdog = Watchdog::start();
    let (reporter, health) = admin::health().await;
    // The admin port comes first, and outlives the others: it tells the orchestrator how far the gateway is.
    let admin = tokio::spawn(listeners.admin.serve(
        admin::service(
            readiness.clone(),
            watchdog.clone(),
            metrics.clone(),
            health.clone(),
        ),
        admin_config(),
        listener_metrics.clone(),
        grpc_done.clone(),
        grpc_done.clone(),
    ));
    let opened = open_log(&mut config, clock.clone(), &mut registry, &shutdown).await;
    let log = match opened {
        Ok(Some(log)) => log,
        not_opened => {
            readiness.drain();
            grpc_done.start();
            ended(admin).await;
            return not_opened.map(drop);
        }
    };
    let kora = kora::Client::new(
        &config.kora,
        clock.clone(),
        kora::Metrics::register(&mut registry),
        kora::Orders {
            stop: shutdown.clone(),
            give_up: give_up.clone(),
        },
    )?;
    let kora_answering = kora.answering();
    let reconciler = Reconciler::new(
        config.reconciler.clone(),
        kora.clone(),
        log.polls.clone(),
        clock.clone(),
        reconciler::Metrics::register(&mut registry),
    );
    let requests = Requests::new(
        config.requests.clone(),
        kora.clone(),
        requests::Logs {
            requests: log.requests.clone(),
            events: log.events.clone(),
        },
        reconciler.clone(),
        requests::Metrics::register(&mut registry),
        calls.clone(),
        requests::Orders {
            stop: shutdown.clone(),
            give_up: give_up.clone(),
        },
    );
    let feed = Feed::new(log.events.clone(), feed::Metrics::register(&mut registry));
    let webhooks = webhook::service(
        config.webhook.clone(),
        log.events.clone(),
        webhook::Metrics::register(&mut registry),
    );
    let tenant = grpc::Tenant {
        name: config.kora.tenant_id.clone(),
        kora,
        requests,
        feed,
    };
    let grpc_metrics = grpc::Metrics::register(&mut registry);
    metrics.show(registry);

    let follow_health = tokio::spawn(admin::follow_health(
        reporter.clone(),
        readiness.clone(),
        watchdog,
        kora_answering,
        log.events.writable(),
    ));
    let callers_api = grpc::service(
        &config.grpc,
        grpc::Sources {
            callers: config.callers.clone(),
            tenants: vec![tenant],
            clock,
        },
        grpc_metrics,
        calls.clone(),
        shutdown.clone(),
        health,
    );
    // Webhooks are taken until the last call is over.
    let webhooks = tokio::spawn(listeners.webhook.serve(
        webhooks,
        config.webhook_listener.clone(),
        listener_metrics.clone(),
        calls_done.clone(),
        calls_done.clone(),
    ));
    let grpc = tokio::spawn(listeners.grpc.serve(
        callers_api,
        config.grpc_listener.clone(),
        listener_metrics,
        shutdown.clone(),
        calls_done.clone(),
    ));
    let mut followed = JoinSet::new();
    for (secret, name) in secrets {
        followed.spawn(secret.follow(name));
    }
    if let Some(file) = config.callers_file.clone() {
        followed.spawn(file.follow(config.callers.clone()));
    }
    let reconciler = tokio::spawn(reconciler.run(shutdown.clone()));
    if log.is_shared() || *log.events.writable().borrow() {
        admin::announce_ready(&reporter).await;
        readiness.ready();
    }
    // A log that is away from all gateways makes none of them unready.
    let follow_log = (!log.is_shared())
        .then(|| tokio::spawn(follow_log(readiness.clone(), log.events.writable())));
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
        ended(reconciler).await;
        log.close().await;
        grpc_done.start();
        ended(admin).await;
        if let Some(emulator) = emulator {
            ended(emulator).await;
        }
    };
    if time::timeout(config.drain_timeout, drained).await.is_err() {
        tracing::warn!("the bound on a stop has passed");
    }
    follow_health.abort();
    if let Some(follow_log) = follow_log {
        follow_log.abort();
    }
    Ok(())
}

/// A gateway whose log cannot write takes no webhooks, and says so.
async fn follow_log(readiness: Readiness, mut writable: watch::Receiver<bool>) {
    // Also what has changed since somebody looked.
    writable.mark_changed();
    while writable.changed().await.is_ok() {
        match *writable.borrow_and_update() {
            true => readiness.ready(),
            false => readiness.not_ready(),
        }
    }
    // Its writer is gone.
    readiness.not_ready();
}

/// Waits for a part to end; one that panicked has ended too, and was reported by its panic.
async fn ended(part: JoinHandle<()>) {
    let _ = part.await;
}
