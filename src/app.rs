//! The composition root: wires the rooms together, and knows the order of birth and death.

mod emulation;
mod listeners;
mod metrics;
mod moving;
mod open_files;
mod opening;
mod reload;
mod scopes;
mod serving;
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
    clock::Clock,
    config::Config,
    kora,
    lifecycle::{Readiness, Reload, Shutdown},
    memory::Budget,
    store,
    telemetry::Metrics,
    webhook::SecretOwners,
};
use metrics::RoomMetrics;
use opening::open_logs;
use reload::Followed;
use status::Status;
use stop::{Living, Orders, ended};
use tenant::{Shared, Tenant};

/// What a gateway is handed besides its configuration.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Tells the day.
    pub clock: Clock,
    /// Tells everyone how far the gateway is.
    pub readiness: Readiness,
    /// Tells the gateway to stop.
    pub shutdown: Shutdown,
    /// Tells the gateway to read secrets, certificates and callers again at once.
    pub reload: Reload,
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
        "webhook-max-bytes is more than {largest}, the most that this NATS server has room for: raise its max_payload to \
         {max_payload} at least"
    )]
    WebhookLimit {
        /// How large a webhook may be there, in bytes.
        largest: usize,
        /// What the server's setting would have to be, in bytes.
        max_payload: usize,
    },
}

/// Checks what `run` would build before it serves.
///
/// # Errors
/// If the gateway could not start.
pub fn check(config: &Config) -> Result<(), StartError> {
    let http = http_client(config)?;
    let metrics = kora::Metrics::register(&mut Metrics::registry());
    for tenant in &config.tenants {
        let (clock, orders) = (Clock::system(), kora::Orders::default());
        kora::Client::new(&http, &tenant.kora, clock, metrics.clone(), orders)?;
    }
    Ok(())
}

/// Where Kora is reached in the clear alone, which only an emulator is, missing certificates keep nobody from trying it.
fn http_client(config: &Config) -> Result<kora::HttpClient, kora::SetupError> {
    let mut tenants = config.tenants.iter();
    let is_plain =
        config.emulator.is_some() || tenants.all(|tenant| tenant.kora.base_url.scheme() == "http");
    if is_plain && config.kora.ca_file.is_none() {
        kora::HttpClient::without_tls(&config.kora)
    } else {
        kora::HttpClient::new(&config.kora)
    }
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
        reload,
    } = surroundings;
    let orders = Orders::new(shutdown);
    let http = http_client(&config)?;
    let emulator = emulation::start(
        &mut config,
        listeners.emulator,
        listeners.webhook.addr(),
        orders.all_done.clone(),
    );
    let (metrics, mut registry) = RoomMetrics::register();
    clock.register_metrics(&mut registry);
    let budget = Budget::new(config.memory_budget);
    budget.register_metrics(&mut registry);
    let status = Status::new(readiness).await;
    let admin = serving::admin(listeners.admin, &status, &clock, &metrics, &orders);
    let opened = open_logs(
        &mut config,
        &clock,
        &metrics.store,
        &budget,
        &orders.stop,
        &status.readiness,
    )
    .await;
    let (storage, logs) = match opened {
        Ok(Some(opened)) => opened,
        not_opened => {
            status.readiness.drain();
            orders.all_done.start();
            ended(admin).await;
            return not_opened.map(drop);
        }
    };
    status.metrics.show(registry);
    let shared = Shared {
        config: &config,
        http,
        clock,
        calls: TaskTracker::new(),
        orders: orders.clone(),
        metrics,
        budget,
    };
    let tenants = shared.tenants(logs)?;
    status
        .backups
        .show(tenants.iter().map(Tenant::named_log).collect());
    let living = Living {
        webhooks: serving::webhooks(listeners.webhook, &shared, &tenants),
        grpc: serving::calls(
            listeners.grpc,
            &shared,
            &tenants,
            config.callers.clone(),
            &status,
        ),
        polling: tenants
            .iter()
            .map(|one| one.start_polling(&orders))
            .collect(),
        logs: tenants.iter().map(Tenant::log).collect(),
        calls: shared.calls.clone(),
        storage,
        admin,
        emulator,
    };
    // What follows secrets and health ends when this function does.
    let mut followers = JoinSet::new();
    let owners = SecretOwners::of(tenants.iter().map(Tenant::webhook_secrets));
    for tenant in &tenants {
        tenant.follow_secrets(&owners, &mut followers);
    }
    if let Some(file) = config.callers_file.clone() {
        followers.spawn(file.follow(config.callers.clone()));
    }
    followers.spawn(Followed::of(&config).reload(reload));
    followers.spawn(shared.http.clone().limit_connection_age());
    let request_logs = tenants.iter().map(Tenant::request_log).collect();
    followers.spawn(scopes::follow(config.callers.clone(), request_logs));
    status.follow(&tenants, &mut followers).await;
    orders.stop.started().await;
    status.readiness.drain();
    living.end(&orders, config.drain_timeout).await;
    Ok(())
}
