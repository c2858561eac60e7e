//! Starts real gateways, many in one process, each on free ports.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use kora_gateway::{
    app::{self, Listeners, StartError, Surroundings},
    clock::Clock,
    config::{Config, Environment, Flags},
    lifecycle::{Phase, Readiness, Reload, Shutdown},
    listener::Listener,
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};

/// The key and the tenant that test gateways send.
pub const API_KEY: &str = "test-api-key";
pub const TENANT_ID: &str = "9d1f7a3c-2b64-4e7e-8f0a-6f1f5f0c7a11";

/// The secret that test gateways verify webhooks with.
pub const WEBHOOK_SECRET: &str = "test-webhook-secret";

/// A gauge of the one tenant's.
pub fn of_tenant(gauge: &str) -> String {
    format!("{gauge}{{tenant=\"{TENANT_ID}\"}}")
}

/// The calls that wait in a lane for their turn in the one tenant's rate limit.
pub fn calls_waiting(lane: &str, count: usize) -> String {
    format!("kora_calls_waiting{{lane=\"{lane}\",tenant=\"{TENANT_ID}\"}} {count}\n")
}

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway that serves.
pub struct Gateway {
    pub grpc: SocketAddr,
    pub webhook: SocketAddr,
    pub admin: SocketAddr,
    /// Of its own, unless a flag names one.
    _data: Option<TempDir>,
    shutdown: Shutdown,
    served: JoinHandle<Result<(), StartError>>,
}

type SettingValues = BTreeMap<&'static str, String>;

fn free_ports() -> SettingValues {
    ["grpc-addr", "webhook-addr", "admin-addr"]
        .map(|name| (name, "127.0.0.1:0".to_owned()))
        .into()
}

fn owned(flags: &[(&'static str, &str)]) -> SettingValues {
    let flags = flags.iter();
    flags
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

impl Gateway {
    /// Starts a gateway whose Kora is at `base_url`, with these flags besides.
    pub async fn start(base_url: &str, flags: &[(&'static str, &str)]) -> Gateway {
        Self::run(base_url, flags, Clock::system(), |_| {}).await
    }

    /// The same, on a day of the test's choice.
    pub async fn start_on(base_url: &str, flags: &[(&'static str, &str)], clock: Clock) -> Gateway {
        Self::run(base_url, flags, clock, |_| {}).await
    }

    /// The same with what is no setting changed.
    pub async fn start_with(
        base_url: &str,
        flags: &[(&'static str, &str)],
        change: impl FnOnce(&mut Config),
    ) -> Gateway {
        Self::run(base_url, flags, Clock::system(), change).await
    }

    async fn run(
        base_url: &str,
        flags: &[(&'static str, &str)],
        clock: Clock,
        change: impl FnOnce(&mut Config),
    ) -> Gateway {
        let data = tempfile::tempdir().unwrap();
        let mut all = free_ports();
        all.extend([
            ("event-log", format!("file:{}", data.path().display())),
            ("kora-base-url", base_url.to_owned()),
            ("kora-tenant-id", TENANT_ID.to_owned()),
        ]);
        all.extend(owned(flags));
        let environment = Environment::from([
            ("KORA_API_KEY".to_owned(), API_KEY.to_owned()),
            ("KORA_WEBHOOK_SECRET".to_owned(), WEBHOOK_SECRET.to_owned()),
        ]);
        let mut config = Config::load(Flags(all), &environment, false)
            .unwrap()
            .config;
        change(&mut config);
        Self::serve(config, clock, Some(data)).await
    }

    /// Starts a gateway as this file says, on free ports, with these flags besides.
    pub async fn start_by(file: &Path, flags: &[(&'static str, &str)]) -> Gateway {
        let mut all = free_ports();
        all.insert("config", file.display().to_string());
        all.extend(owned(flags));
        let loaded = Config::load(Flags(all), &Environment::new(), false).unwrap();
        Self::serve(loaded.config, Clock::system(), None).await
    }

    async fn serve(config: Config, clock: Clock, data: Option<TempDir>) -> Gateway {
        let listeners = Listeners::bind(&config).await.unwrap();
        let [grpc, webhook, admin] =
            [&listeners.grpc, &listeners.webhook, &listeners.admin].map(Listener::addr);
        let surroundings = Surroundings {
            clock,
            readiness: Readiness::default(),
            shutdown: Shutdown::default(),
            reload: Reload::default(),
        };
        let shutdown = surroundings.shutdown.clone();
        let mut phase = surroundings.readiness.subscribe();
        let served = tokio::spawn(app::run(config, listeners, surroundings));
        let is_ready = phase.wait_for(|phase| *phase == Phase::Ready).await.is_ok();
        if !is_ready {
            panic!("the gateway does not start: {:?}", served.await);
        }
        Gateway {
            grpc,
            webhook,
            admin,
            _data: data,
            shutdown,
            served,
        }
    }

    /// The present metrics.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.admin);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// Asks until a line with `part` is there.
    pub async fn wait_for_metric(&self, part: &str) {
        let wait = async { while !self.metrics().await.contains(part) {} };
        timeout(PATIENCE, wait).await.unwrap();
    }

    /// Gives the order to stop, and does not wait.
    pub fn start_stop(&self) {
        self.shutdown.start();
    }

    /// Stops it and sees that it ended well.
    pub async fn stop(self) {
        self.shutdown.start();
        self.served.await.unwrap().unwrap();
    }
}
