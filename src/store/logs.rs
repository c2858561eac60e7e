//! One tenant's open log, whichever backend keeps it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{sync::watch, task};

use super::{
    BackupError, Config, Copied, Directory, EventLog, JetStream, Metrics, OpenError, PollLog,
    RequestLog, Sqlite, directory, jetstream,
};
use crate::clock::Clock;

/// Where a log is kept.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a directory of this machine, for one gateway.
    Directory(Config),
    /// On NATS JetStream, for any number of gateways.
    Nats(jetstream::Config),
}

impl Place {
    /// How many bytes of events a log in it keeps.
    pub fn retention_bytes(&self) -> u64 {
        match self {
            Place::Directory(config) => config.retention_bytes,
            Place::Nats(config) => config.retention_bytes,
        }
    }

    /// What a tenant's log in it is called, for people.
    pub fn log_name(&self, tenant: &str) -> String {
        match self {
            Place::Directory(config) => {
                let file = directory::log_file(&config.directory, tenant);
                file.display().to_string()
            }
            Place::Nats(config) => jetstream::stream_name(config, tenant),
        }
    }
}

/// A log's three laws behind one handle. Clones share it.
#[derive(Clone)]
pub struct Logs {
    /// The events.
    pub events: Arc<dyn EventLog>,
    /// The requests' records.
    pub requests: Arc<dyn RequestLog>,
    /// The screenings that wait for their end.
    pub polls: Arc<dyn PollLog>,
    backend: Backend,
}

#[derive(Clone)]
enum Backend {
    Sqlite(Arc<Sqlite>),
    JetStream(Arc<JetStream>),
}

impl Logs {
    /// Opens a log in the directory of `config`, which is open already, on a thread that may block.
    ///
    /// # Errors
    /// See [`Sqlite::open_in`].
    pub async fn in_directory(
        directory: Arc<Directory>,
        config: Config,
        tenant: String,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let open = move || Sqlite::open_in(directory, &config, &tenant, clock, metrics);
        let log = task::spawn_blocking(open)
            .await
            .expect("opening a log does not panic")?;
        let log = Arc::new(log);
        Ok(Logs {
            events: log.clone(),
            requests: log.clone(),
            polls: log.clone(),
            backend: Backend::Sqlite(log),
        })
    }

    /// A log on NATS.
    pub fn on_nats(log: JetStream) -> Self {
        let log = Arc::new(log);
        Logs {
            events: log.clone(),
            requests: log.clone(),
            polls: log.clone(),
            backend: Backend::JetStream(log),
        }
    }

    /// Whether it is on NATS.
    pub fn is_on_nats(&self) -> bool {
        matches!(self.backend, Backend::JetStream(_))
    }

    /// Copies the log into a file in `directory` while it is in use.
    ///
    /// # Errors
    /// See [`BackupError`] and [`Sqlite::back_up`].
    pub async fn back_up(
        &self,
        directory: &Path,
        progress: watch::Sender<Copied>,
    ) -> Result<PathBuf, BackupError> {
        match &self.backend {
            Backend::Sqlite(log) => log.back_up(directory, progress).await,
            Backend::JetStream(_) => Err(BackupError::OnNats),
        }
    }

    /// Writes what waits, and lets go of the place.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(log) => log.close().await,
            Backend::JetStream(log) => log.close().await,
        }
    }
}
