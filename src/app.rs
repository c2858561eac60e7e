//! The composition root: wires the rooms together, and knows the order of birth and death.

mod emulation;
mod listeners;
mod moving;
mod open_files;
mod opening;
mod status;
mod stop;
mod tenant;
mod together;

use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

pub use listeners::Listeners;
pub use moving::{export_log, import_log};
pub use open_files::make_room_for_files;

use crate::{
    access::{Caller, Callers},
    clock::Clock,
    config::Config,
    grpc, kora,
    lifecycle::{Readiness, Shutdown},
    listener, store,
    telemetry::Metrics,
    webhook,
};
use listeners::admin_config;
use opening::open_logs;
use status::Status;
use stop::{Living, Orders, ended};
use tenant::{RoomMetrics, Shared, Tenant};

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
    let http = kora::HttpClient::new(&config.kora)?;
    let metrics = kora::Metrics::register(&mut Metrics::registry());
    for tenant in &config.tenants {
        let (clock, orders) = (Clock::system(), kora::Orders::default());
        kora::Client::new(&http, &tenant.kora, clock, metrics.clone(), orders)?;
    }
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
    let orders = Orders::new(shutdown);
    let emulator = emulation::start(
        &mut config,
        listeners.emulator,
        listeners.webhook.addr(),
        orders.all_done.clone(),
    );
    let mut registry = Metrics::registry();
    let listener_metrics = listener::Metrics::register(&mut registry);
    // The admin port comes first, and outlives the others: it tells the orchestrator how far the gateway is.
    let status = Status::new(readiness).await;
    let admin = tokio::spawn(listeners.admin.serve(
        status.service(),
        admin_config(),
        listener_metrics.clone(),
        orders.all_done.clone(),
        orders.all_done.clone(),
    ));
    let store_metrics = store::Metrics::register(&mut registry);
    let opened = open_logs(&mut config, &clock, &store_metrics, &orders.stop).await;
    let (storage, logs) = match opened {
        Ok(Some(opened)) => opened,
        not_opened => {
            status.readiness.drain();
            orders.all_done.start();
            ended(admin).await;
            return not_opened.map(drop);
        }
    };
    let shared = Shared {
        http: kora::HttpClient::new(&config.kora)?,
        config: &config,
        clock: clock.clone(),
        calls: TaskTracker::new(),
        orders: orders.clone(),
        metrics: RoomMetrics::register(&mut registry),
    };
    let tenants = shared.tenants(logs)?;
    let webhooks = webhook::service(
        &config.webhook,
        tenants.iter().map(Tenant::webhooks).collect(),
        webhook::Metrics::register(&mut registry),
    );
    let calls = grpc::service(
        &config.grpc,
        grpc::Sources {
            callers: callers(&config),
            tenants: tenants.iter().map(Tenant::calls).collect(),
            clock,
        },
        grpc::Metrics::register(&mut registry),
        shared.calls.clone(),
        orders.stop.clone(),
        status.health.clone(),
    );
    status.metrics.show(registry);

    // Webhooks are taken until the last call is over.
    let webhooks = tokio::spawn(listeners.webhook.serve(
        webhooks,
        config.webhook_listener.clone(),
        listener_metrics.clone(),
        orders.calls_done.clone(),
        orders.calls_done.clone(),
    ));
    let grpc = tokio::spawn(listeners.grpc.serve(
        calls,
        config.grpc_listener.clone(),
        listener_metrics,
        orders.stop.clone(),
        orders.calls_done.clone(),
    ));
    // They end when this function does.
    let mut followed = JoinSet::new();
    for tenant in &tenants {
        tenant.follow_secrets(&mut followed);
    }
    let living = Living {
        polling: tenants
            .iter()
            .map(|tenant| tenant.start_polling(&orders))
            .collect(),
        logs: tenants.iter().map(Tenant::log).collect(),
        calls: shared.calls,
        grpc,
        webhooks,
        storage,
        admin,
        emulator,
    };
    status
        .follow(&tenants, config.store.is_shared(), &mut followed)
        .await;
    orders.stop.started().await;
    status.readiness.drain();
    living.end(&orders, config.drain_timeout).await;
    Ok(())
}

/// Who may call.
fn callers(config: &Config) -> Callers {
    let tenants = config.tenants.iter().map(|tenant| tenant.name.clone());
    Callers::everyone(Caller::anonymous(tenants))
}
