//! One life of a gateway, on a directory that outlives it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::Timestamp;
use kora_gateway::{
    clock::Clock,
    pb::{self, watch_events_response::Signal},
};
use tempfile::TempDir;
use tokio::time::timeout;

use super::log::{DEDUP_WINDOW, RETENTION};
use crate::{
    deliveries::Webhooks,
    harness::Gateway,
    subscriber::{EventStream, PATIENCE, Subscriber, after, from_earliest},
};

/// Nothing asks Kora here.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// What every gateway of a run is started with.
pub struct Setting {
    pub hands: Arc<AtomicI64>,
    pub retention_kib: u64,
}

/// One life of the gateway.
pub struct Running {
    pub gateway: Gateway,
    pub webhooks: Webhooks,
    pub subscriber: Subscriber,
    /// Unfiltered, from before the first event of this life on.
    reference: EventStream,
    data: TempDir,
}

impl Running {
    /// Starts a gateway, and tells its head.
    pub async fn start(data: TempDir, setting: &Setting, head: Option<&str>) -> (Running, String) {
        let hands = Arc::clone(&setting.hands);
        let clock = Clock::from_fn(move || {
            Timestamp::from_millisecond(hands.load(Ordering::SeqCst)).unwrap()
        });
        let flags = [
            ("event-log", format!("file:{}", data.path().display())),
            ("retention-age", format!("{RETENTION}ms")),
            ("retention-size", format!("{}KiB", setting.retention_kib)),
            ("dedup-window", format!("{DEDUP_WINDOW}ms")),
        ];
        let flags = flags
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let gateway = Gateway::start_on(NO_KORA, &flags, clock).await;
        let subscriber = Subscriber::connect(gateway.grpc).await;
        let mut request = head.map_or_else(from_earliest, after);
        request.include_raw_json = true;
        let mut reference = subscriber.watch(request).await.unwrap();
        let (opened, token) = reference.opened().await;
        assert_eq!(token, opened.head_token);
        assert_eq!(reference.past().await, vec![]);
        let webhooks = Webhooks::to(gateway.webhook);
        let running = Running {
            gateway,
            webhooks,
            subscriber,
            reference,
            data,
        };
        (running, token)
    }

    /// Stops it, and hands its directory on.
    pub async fn stop(self) -> TempDir {
        drop((self.reference, self.subscriber, self.webhooks));
        let stopped = timeout(PATIENCE, self.gateway.stop());
        stopped.await.expect("a bounded stop");
        self.data
    }

    /// The event that was appended last.
    pub async fn appended(&mut self) -> (pb::Event, String) {
        loop {
            let mut message = self.reference.message().await;
            match (message.events.len(), &message.signal) {
                (1, None) => return (message.events.remove(0), message.resume_token),
                (0, Some(Signal::Heartbeat(_))) => {}
                _ => panic!("{message:?} for one event"),
            }
        }
    }

    /// What a backup of the directory, or a disk after a power cut, has: nothing is being written.
    pub fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.data.path()).unwrap() {
            let from = entry.unwrap().path();
            if is_of_the_log(&from) {
                std::fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
            }
        }
        copy
    }
}

/// Not the lock, and not what SQLite makes anew.
fn is_of_the_log(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.ends_with(".db") || name.ends_with(".db-wal")
}
