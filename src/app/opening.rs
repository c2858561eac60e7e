//! Opening the tenant's log. One on NATS is waited for.

use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::time::sleep;

use super::StartError;
use crate::{
    clock::Clock,
    config::Config,
    lifecycle::Shutdown,
    store::{
        self, JetStream, Logs, Place,
        jetstream::{self, OpenError},
    },
};

/// How long to wait before NATS is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the log; `None` if the order to stop comes first. A limit on webhooks that nobody chose is lowered to what NATS
/// takes.
pub(super) async fn open_log(
    config: &mut Config,
    clock: Clock,
    registry: &mut Registry,
    stop: &Shutdown,
) -> Result<Option<Logs>, StartError> {
    let metrics = store::Metrics::register(registry);
    let tenant = config.webhook.tenant.clone();
    match config.store.clone() {
        Place::Directory(directory) => {
            let opened = Logs::in_directory(directory, tenant, clock, metrics).await?;
            Ok(Some(opened))
        }
        Place::Nats(nats) => {
            let connected = wait_for_nats(&nats, &tenant, clock, metrics);
            let log = tokio::select! {
                () = stop.started() => return Ok(None),
                log = connected => log?,
            };
            config.webhook.max_bytes = webhook_limit(config, log.max_event_bytes())?;
            Ok(Some(Logs::on_nats(log)))
        }
    }
}

/// Tries until NATS answers.
async fn wait_for_nats(
    nats: &jetstream::Config,
    tenant: &str,
    clock: Clock,
    metrics: store::Metrics,
) -> Result<JetStream, OpenError> {
    loop {
        match JetStream::open(nats, tenant, clock.clone(), metrics.clone()).await {
            Err(error @ OpenError::Unreachable(_)) => {
                tracing::warn!(%error, "waiting for NATS");
                sleep(PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// A webhook's body is kept twice at most: as it came, and as the event that was read from it.
fn webhook_limit(config: &Config, max_event_bytes: usize) -> Result<usize, StartError> {
    let largest = max_event_bytes / 2;
    match config.webhook.max_bytes {
        chosen if chosen <= largest => Ok(chosen),
        _ if config.is_webhook_limit_chosen => Err(StartError::WebhookLimit(largest)),
        _ => Ok(largest),
    }
}
