//! Where the log of a schedule is: a directory, or a NATS server that many schedules share.

use std::{fs, path::Path, sync::Arc};

use futures_util::TryStreamExt;
use kora_gateway::{
    clock::Clock,
    store::{Config, EventLog, JetStream, Metrics, PollLog, RequestLog, Sqlite, jetstream},
};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use uuid::Uuid;

use super::operation::Settings;
use crate::{log_laws::TENANT, nats_server::NatsServer};

/// No schedule has that many requests.
const REQUEST_BYTES: u64 = 64 << 20;

/// What outlives the processes of a schedule.
pub trait Place: Send + Sized + 'static {
    type Log: EventLog + PollLog + RequestLog;

    /// Whether the log's own clock decides what is too old, and it keeps marks of the time.
    const KEEPS_TIME: bool;

    fn open(&self, settings: Settings, clock: Clock) -> impl Future<Output = Self::Log> + Send;

    fn close(&mut self, log: Self::Log, is_crash: bool) -> impl Future<Output = ()> + Send;

    /// Frees what the log takes, once it is closed.
    fn remove(self) -> impl Future<Output = ()> + Send;
}

pub struct Embedded(TempDir);

impl Embedded {
    pub fn new() -> Self {
        Embedded(tempfile::tempdir().unwrap())
    }
}

impl Place for Embedded {
    type Log = Sqlite;
    const KEEPS_TIME: bool = true;

    async fn open(&self, settings: Settings, clock: Clock) -> Sqlite {
        let config = Config {
            directory: self.0.path().to_owned(),
            retention_age: settings.retention_age,
            retention_bytes: settings.retention_bytes,
            dedup_window: settings.dedup_window,
            request_retention: settings.request_retention,
            request_bytes: REQUEST_BYTES,
        };
        let metrics = Metrics::register(&mut Registry::default());
        Sqlite::open(&config, TENANT, clock, metrics).unwrap()
    }

    async fn close(&mut self, log: Sqlite, is_crash: bool) {
        let left = is_crash.then(|| copy(self.0.path()));
        log.close().await;
        if let Some(left) = left {
            self.0 = left;
        }
    }

    async fn remove(self) {
        drop(self.0);
    }
}

/// What is on the disk at this moment.
fn copy(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    // The log itself before what is written ahead of it.
    files.sort();
    for file in files {
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    copy
}

pub struct Nats {
    server: Arc<NatsServer>,
    prefix: String,
}

impl Nats {
    pub fn on(server: Arc<NatsServer>) -> Self {
        let prefix = format!("log-{}", Uuid::new_v4());
        Nats { server, prefix }
    }
}

impl Place for Nats {
    type Log = JetStream;
    const KEEPS_TIME: bool = false;

    async fn open(&self, settings: Settings, clock: Clock) -> JetStream {
        let config = jetstream::Config {
            servers: vec![self.server.url()],
            credentials_file: None,
            ca_file: None,
            stream_prefix: self.prefix.clone(),
            replicas: 1,
            retention_age: settings.retention_age,
            retention_bytes: settings.retention_bytes,
            dedup_window: settings.dedup_window,
            request_retention: settings.request_retention,
            request_bytes: REQUEST_BYTES,
        };
        let metrics = Metrics::register(&mut Registry::default());
        let log = JetStream::open(&config, TENANT, clock, metrics).await;
        log.unwrap()
    }

    /// To NATS a process that crashed is one that is silent; nothing else differs.
    async fn close(&mut self, log: JetStream, _is_crash: bool) {
        log.close().await;
    }

    /// The server would become slow.
    async fn remove(self) {
        let client = self.server.client().await;
        let names: Vec<String> = client.stream_names().try_collect().await.unwrap();
        for name in names.iter().filter(|name| name.contains(&self.prefix)) {
            client.delete_stream(name).await.unwrap();
        }
    }
}
