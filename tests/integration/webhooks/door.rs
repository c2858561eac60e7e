//! The webhook port on a log of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use kora_gateway::{
    clock::Clock,
    event::{LogId, NewEvent, Position},
    lifecycle::Shutdown,
    listener::{self, Http1Patience, Listener, Protocol},
    memory::{Allowance, Budget},
    secret::Secret,
    store::{self, AppendError, Appended, EventLog, HotTail, Page, ReadError, Sqlite},
    telemetry, webhook,
};
use tempfile::TempDir;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};

use super::client::{Answer, Client};

pub const SECRETS: [&str; 2] = ["whsec_now", "whsec_next"];
pub const MAX_BYTES: usize = 64 << 10;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What appending does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Append,
    /// Waits for the word, and appends then.
    Wait,
    TooSlow,
    Unavailable,
    Broken,
    Panic,
}

/// The port.
pub struct Door {
    pub addr: SocketAddr,
    log: Arc<TestLog>,
    metrics: telemetry::Metrics,
    stop: Shutdown,
    drained: Shutdown,
    served: JoinHandle<()>,
    _directory: TempDir,
}

/// A log that can be told to fail.
struct TestLog {
    kept: Sqlite,
    act: Act,
    appending: watch::Sender<usize>,
    word: Semaphore,
}

impl Door {
    pub async fn open() -> Door {
        Self::open_with(Act::Append).await
    }

    pub async fn open_with(act: Act) -> Door {
        Self::open_for(act, webhook::HEADER_TIMEOUT).await
    }

    /// One with this limit for heads, and for idle connections too.
    pub async fn open_for(act: Act, header_timeout: Duration) -> Door {
        let patience = Http1Patience {
            header: header_timeout,
            idle: header_timeout,
        };
        Self::open_patiently(act, patience).await
    }

    pub async fn open_patiently(act: Act, patience: Http1Patience) -> Door {
        let directory = tempfile::tempdir().unwrap();
        let mut registry = telemetry::Metrics::registry();
        let log = Arc::new(TestLog {
            kept: open_log(&directory, store::Metrics::register(&mut registry)),
            act,
            appending: watch::Sender::new(0),
            word: Semaphore::new(0),
        });
        let config = webhook::Config {
            max_bytes: MAX_BYTES,
        };
        let tenant = webhook::Tenant {
            name: "tenant-1".to_owned(),
            secrets: Secret::fixed(SECRETS.join("\n").into()),
            log: Arc::clone(&log) as Arc<dyn EventLog>,
        };
        let ports = listener::Metrics::register(&mut registry);
        let webhook_metrics = webhook::Metrics::register(&mut registry);
        let service = webhook::service(&config, vec![tenant], webhook_metrics, &Budget::default());
        let metrics = telemetry::Metrics::default();
        metrics.show(registry);
        let listening = listener::Config {
            protocol: Protocol::Http1(patience),
            tls: None,
            max_connections: 64,
            max_streams_per_connection: 1,
            patience: listener::Patience::default(),
        };
        let addr = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = Listener::bind("webhook", addr).await.unwrap();
        let addr = listener.addr();
        let [stop, drained] = [(); 2].map(|()| Shutdown::default());
        let served = listener.serve(service, listening, ports, stop.clone(), drained.clone());
        Door {
            addr,
            log,
            metrics,
            stop,
            drained,
            served: tokio::spawn(served),
            _directory: directory,
        }
    }

    /// The answer to one request on a connection of its own.
    pub async fn ask(&self, request: &[u8]) -> Answer {
        let mut client = Client::connect(self).await;
        client.send(request).await;
        client.answer().await
    }

    /// All that was kept.
    pub async fn records(&self) -> Page {
        self.log.read(0).await.unwrap()
    }

    pub async fn wait_for_records(&self, count: u64) {
        let mut head = self.log.tail().head();
        let wait = timeout(PATIENCE, head.wait_for(|head| *head == count));
        wait.await.unwrap().unwrap();
    }

    /// Waits until so many appends have begun.
    pub async fn appending(&self, begun: usize) {
        let mut appending = self.log.appending.subscribe();
        let wait = timeout(PATIENCE, appending.wait_for(|count| *count >= begun));
        wait.await.unwrap().unwrap();
    }

    /// Gives the word to appends that wait.
    pub fn go_on(&self) {
        self.log.word.add_permits(1);
    }

    pub fn metrics(&self) -> String {
        self.metrics.encode()
    }

    /// Sees that the webhooks ended so, and none otherwise.
    pub fn expect_counts(&self, counts: &[(&str, u64)]) {
        let text = self.metrics();
        let mut found: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("kora_gateway_webhooks_total{result=\""))
            .filter_map(|line| line.split_once("\"} "))
            .map(|(name, count)| (name, count.parse().unwrap()))
            .filter(|(_, count)| *count > 0)
            .collect();
        found.sort_unstable();
        let mut expected = counts.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    /// Waits until webhooks ended so.
    pub async fn wait_for_count(&self, name: &str, count: u64) {
        let line = format!("webhooks_total{{result=\"{name}\"}} {count}");
        let wait = async {
            while !self.metrics().contains(&line) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap();
    }

    /// Stops the port and sees that it ends as soon as what is in hand is answered.
    pub async fn stop(&mut self) {
        self.stop.start();
        timeout(PATIENCE, &mut self.served).await.unwrap().unwrap();
    }

    /// The same, but what is in hand is not waited for.
    pub async fn cut(&mut self) {
        self.drained.start();
        self.stop().await;
    }
}

fn open_log(directory: &TempDir, metrics: store::Metrics) -> Sqlite {
    let config = store::Config {
        directory: directory.path().join("data"),
        retention_age: Duration::from_secs(3600),
        retention_bytes: 1 << 30,
        dedup_window: Duration::from_secs(3600),
        request_retention: Duration::from_secs(7 * 86_400),
        request_bytes: 2 << 30,
    };
    Sqlite::open(&config, "tenant-1", Clock::system(), metrics).unwrap()
}

impl EventLog for TestLog {
    fn id(&self) -> LogId {
        self.kept.id()
    }

    fn tail(&self) -> &HotTail {
        self.kept.tail()
    }

    fn append(&self, event: NewEvent) -> BoxFuture<'_, Result<Appended, AppendError>> {
        async move {
            self.appending.send_modify(|count| *count += 1);
            match self.act {
                Act::Append => {}
                Act::Wait => self.word.acquire().await.unwrap().forget(),
                Act::TooSlow => return Err(AppendError::TooSlow),
                Act::Unavailable => return Err(AppendError::Unavailable),
                Act::Broken => return Err(AppendError::Broken),
                Act::Panic => panic!("a defect"),
            }
            self.kept.append(event).await
        }
        .boxed()
    }

    fn read_charged<'a>(
        &'a self,
        sequence: u64,
        memory: Option<&'a Allowance>,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        self.kept.read_charged(sequence, memory)
    }

    fn position_before(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        self.kept.position_before(time)
    }

    fn writable(&self) -> watch::Receiver<bool> {
        self.kept.writable()
    }
}
