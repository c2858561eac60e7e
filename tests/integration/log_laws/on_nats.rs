//! The backend on NATS: a server of its own for each place.

use std::time::Duration;

use kora_gateway::store::{JetStream, Metrics, jetstream};
use prometheus_client::registry::Registry;

use super::{DEDUP_WINDOW, Hands, Place, SMALL, TENANT, TIGHT};
use crate::nats_server::NatsServer;

/// How long a brief log keeps events. The server's clock counts, which nobody can set.
const BRIEF: Duration = Duration::from_secs(1);

/// How many replicas a test has.
const REPLICAS: usize = 3;

/// A server, and how logs on it are opened.
pub struct NatsPlace {
    pub server: NatsServer,
    pub config: jetstream::Config,
    pub hands: Hands,
}

impl NatsPlace {
    pub fn on(server: NatsServer) -> Self {
        NatsPlace {
            config: jetstream::Config {
                servers: vec![server.url()],
                credentials_file: None,
                ca_file: None,
                stream_prefix: "kora-gateway".to_owned(),
                replicas: 1,
                retention_age: Duration::from_secs(30 * 86_400),
                retention_bytes: 10 << 30,
                dedup_window: DEDUP_WINDOW,
                request_retention: Duration::from_secs(7 * 86_400),
                request_bytes: 2 << 30,
            },
            hands: Hands::default(),
            server,
        }
    }

    pub async fn try_open(&self) -> Result<JetStream, jetstream::OpenError> {
        let metrics = Metrics::register(&mut Registry::default());
        JetStream::open(&self.config, TENANT, self.hands.clock(), metrics).await
    }
}

impl Place for NatsPlace {
    type Log = JetStream;

    /// The server deletes by age.
    const KEEPS_NEWEST: bool = false;

    async fn new() -> Self {
        NatsPlace::on(NatsServer::start())
    }

    async fn small() -> Self {
        let mut place = Self::new().await;
        place.config.retention_bytes = SMALL;
        place
    }

    async fn brief() -> Self {
        let mut place = Self::new().await;
        place.config.retention_age = BRIEF;
        place.config.dedup_window = BRIEF;
        place
    }

    async fn tight() -> Self {
        let mut place = Self::new().await;
        place.config.request_bytes = TIGHT;
        place
    }

    async fn open(&self) -> JetStream {
        self.try_open().await.unwrap()
    }

    async fn open_all(&self) -> Vec<JetStream> {
        let mut logs = Vec::new();
        for _ in 0..REPLICAS {
            logs.push(self.open().await);
        }
        logs
    }

    async fn close(log: &JetStream) {
        log.close().await;
    }

    fn hands(&self) -> &Hands {
        &self.hands
    }

    /// It passes while the test waits for what comes of it.
    fn outlast(&self) {}
}
