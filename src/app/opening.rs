//! Opening the tenants' logs, several at a time. Those on NATS are waited for.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    task,
    time::{Instant, sleep},
};

use super::{StartError, stop::close_all};
use crate::{
    clock::Clock,
    config::Config,
    lifecycle::{Readiness, Shutdown},
    memory::Budget,
    store::{
        self, Directory, Logs, Place, RecentEvents,
        jetstream::{Nats, OpenError},
    },
};

/// How long to wait before NATS is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a start waits for somebody to correct a setting of NATS or a right on it. Then it ends.
const MISTAKE_PATIENCE: Duration = Duration::from_secs(30);

/// How many logs are opened at a time: each waits for the disk, or for NATS, again and again.
const OPENED_AT_ONCE: usize = 16;

/// Where the logs are, open for them.
#[derive(Clone)]
pub(super) enum Storage {
    Directory(store::Config, Arc<Directory>),
    Nats(Box<Nats>),
}

/// Opens the logs, in the order of the tenants; `None` if the order to stop comes first. A limit on webhooks that nobody
/// chose is lowered to what NATS takes.
pub(super) async fn open_logs(
    config: &mut Config,
    clock: &Clock,
    metrics: &store::Metrics,
    budget: &Budget,
    stop: &Shutdown,
    readiness: &Readiness,
) -> Result<Option<(Storage, Vec<Logs>)>, StartError> {
    let storage = tokio::select! {
        () = stop.started() => return Ok(None),
        storage = Storage::open(&config.store, readiness) => storage?,
    };
    if let Storage::Nats(nats) = &storage {
        config.webhook.max_bytes = webhook_limit(config, nats.max_event_bytes())?;
    }
    let logs = config.tenants.iter().map(|tenant| {
        // The log keeps its name when a gateway gets more tenants.
        let (storage, name) = (storage.clone(), tenant.kora.tenant_id.clone());
        let metrics = metrics.of_tenant(&tenant.name);
        storage.open_log(name, clock.clone(), metrics, readiness)
    });
    let recent = RecentEvents::new(budget, config.tenants.len());
    let mut opening = stream::iter(logs.collect::<Vec<_>>()).buffered(OPENED_AT_ONCE);
    let mut logs = Vec::with_capacity(config.tenants.len());
    let not_opened = loop {
        let next = tokio::select! {
            () = stop.started() => break Ok(None),
            next = opening.next() => next,
        };
        match next {
            Some(Ok(log)) => {
                log.events.tail().share_memory(recent.clone());
                logs.push(log);
            }
            Some(Err(error)) => break Err(error),
            None => {
                drop(opening);
                return Ok(Some((storage, logs)));
            }
        }
    };
    drop(opening);
    close_all(logs, storage).await;
    not_opened
}

impl Storage {
    async fn open(place: &Place, readiness: &Readiness) -> Result<Self, StartError> {
        match place.clone() {
            Place::Directory(config) => {
                let path = config.directory.clone();
                let opened = task::spawn_blocking(move || Directory::open(&path)).await;
                let directory = opened.expect("opening a directory does not panic")?;
                Ok(Storage::Directory(config, Arc::new(directory)))
            }
            Place::Nats(config) => {
                let nats = until_open(readiness, || Nats::connect(&config)).await?;
                Ok(Storage::Nats(Box::new(nats)))
            }
        }
    }

    async fn open_log(
        self,
        name: String,
        clock: Clock,
        metrics: store::Metrics,
        readiness: &Readiness,
    ) -> Result<Logs, StartError> {
        match self {
            Storage::Directory(config, directory) => {
                Ok(Logs::in_directory(directory, config, name, clock, metrics).await?)
            }
            Storage::Nats(nats) => {
                let open = || nats.open(&name, clock.clone(), metrics.clone());
                Ok(Logs::on_nats(until_open(readiness, open).await?))
            }
        }
    }

    /// Lets go of it, once every log in it is closed.
    pub(super) async fn close(self) {
        if let Storage::Nats(nats) = self {
            nats.close().await;
        }
    }
}

/// Tries until it succeeds. A NATS that is away is waited for, however long; what it refuses for a mistake, as long as
/// somebody may correct that. Meanwhile `/readyz` says what the start waits for.
///
/// # Errors
/// What has to be changed.
async fn until_open<T, F: Future<Output = Result<T, OpenError>>>(
    readiness: &Readiness,
    mut open: impl FnMut() -> F,
) -> Result<T, OpenError> {
    let mut mistaken_since = None;
    loop {
        let error = match open().await {
            Ok(opened) => {
                readiness.set_waits_for(None);
                return Ok(opened);
            }
            Err(error) => error,
        };
        match &error {
            OpenError::Refused(_) => return Err(error),
            OpenError::Unreachable(_) => {
                mistaken_since = None;
                tracing::warn!(%error, "waiting for NATS");
            }
            OpenError::Misconfigured(_) => {
                let since = *mistaken_since.get_or_insert_with(Instant::now);
                let left = MISTAKE_PATIENCE.saturating_sub(since.elapsed());
                if left.is_zero() {
                    return Err(error);
                }
                let seconds = left.as_secs();
                tracing::error!(%error, seconds, "the start ends unless this is corrected");
            }
        }
        readiness.set_waits_for(Some(format!("waiting for NATS: {error}")));
        sleep(PAUSE).await;
    }
}

/// A webhook's body is kept twice at most: as it came, and as the event that was read from it.
fn webhook_limit(config: &Config, max_event_bytes: usize) -> Result<usize, StartError> {
    let largest = max_event_bytes / 2;
    match config.webhook.max_bytes {
        chosen if chosen <= largest => Ok(chosen),
        chosen if config.is_webhook_limit_chosen => Err(StartError::WebhookLimit {
            largest,
            max_payload: Nats::max_payload_for(2 * chosen),
        }),
        _ => Ok(largest),
    }
}
