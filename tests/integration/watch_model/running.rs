//! One life of a gateway: on the machine's own, or as a process.

use std::{net::SocketAddr, time::Duration};

use kora_gateway::pb;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::{hands::clock, process::Process, setting::Setting};
use crate::{
    deliveries::Webhooks,
    harness::Gateway,
    subscriber::{PATIENCE, Subscriber, after, assert_failure},
};

/// Nothing asks Kora here.
pub const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// How long a gateway has to find NATS again, or to see what was trimmed there.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One life of a gateway.
pub struct Running {
    pub webhooks: Webhooks,
    pub subscriber: Subscriber,
    /// The newest sequence that it has shown to somebody; what came later it may not have seen yet.
    pub shown: usize,
    /// What it has shown as trimmed.
    pub trimmed: usize,
    grpc: SocketAddr,
    admin: SocketAddr,
    life: Life,
}

/// How it runs.
enum Life {
    Here(Gateway),
    /// For SIGKILL.
    Process(Box<Process>),
}

impl Running {
    /// Starts one of the run's gateways on the run's log.
    pub async fn start(setting: &Setting, number: usize) -> Running {
        let flags = setting.flags();
        let hands = setting.hands[number].path();
        let (life, [grpc, webhook, admin]) = match setting.place.is_on_nats() {
            true => {
                let process = Process::start(&flags, hands).await;
                let addresses = process.addresses;
                (Life::Process(Box::new(process)), addresses)
            }
            false => {
                let flags: Vec<_> = flags.iter().map(|(name, it)| (*name, &**it)).collect();
                let gateway = Gateway::start_on(NO_KORA, &flags, clock(hands)).await;
                let addresses = [gateway.grpc, gateway.webhook, gateway.admin];
                (Life::Here(gateway), addresses)
            }
        };
        Running {
            webhooks: Webhooks::to(webhook),
            subscriber: Subscriber::connect(grpc).await,
            shown: 0,
            trimmed: 0,
            grpc,
            admin,
            life,
        }
    }

    /// A connection of its own, for a subscriber that may stand still.
    pub async fn new_subscriber(&self) -> Subscriber {
        Subscriber::connect(self.grpc).await
    }

    /// What the log's ends are there now.
    pub async fn opened(&self) -> pb::Opened {
        let latest = pb::WatchEventsRequest::default();
        let mut stream = self.subscriber.watch(latest).await.unwrap();
        stream.opened().await.0
    }

    /// Asks until this is so of the log's ends.
    pub async fn wait_for_ends(&self, are_so: impl Fn(&pb::Opened) -> bool) {
        let wait = async {
            while !are_so(&self.opened().await) {
                sleep(LOOK_AGAIN).await;
            }
        };
        let waited = timeout(LONG_PATIENCE, wait).await;
        waited.expect("a log that looks after itself");
    }

    /// Asks until it knows that no log has this token's record: NATS says so.
    pub async fn wait_for_nats(&self, of_the_future: &str) {
        let wait = async {
            loop {
                match self.subscriber.watch(after(of_the_future)).await {
                    Ok(_) => panic!("it was taken for this log's"),
                    Err(status) if status.code() == Code::OutOfRange => return,
                    Err(status) => {
                        assert_failure(&status, Code::Unavailable, "STORE_UNAVAILABLE");
                        sleep(LOOK_AGAIN).await;
                    }
                }
            }
        };
        timeout(LONG_PATIENCE, wait).await.expect("NATS is there");
    }

    /// Asks until a line with `part` is among the metrics.
    pub async fn wait_for_metric(&self, part: &str) {
        let url = format!("http://{}/metrics", self.admin);
        let client = &self.webhooks.client;
        let wait = async {
            loop {
                let answer = client.get(&url).send().await.unwrap();
                if answer.text().await.unwrap().contains(part) {
                    return;
                }
                sleep(LOOK_AGAIN).await;
            }
        };
        let waited = timeout(LONG_PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("never {part}"));
    }

    /// Gives the order to stop, and does not wait.
    pub async fn start_stop(&self) {
        match &self.life {
            Life::Here(gateway) => gateway.start_stop(),
            Life::Process(process) => process.start_stop().await,
        }
    }

    /// Stops it, or lets it go on, where it is.
    pub async fn freeze(&self, is_frozen: bool) {
        match &self.life {
            Life::Here(_) => unreachable!("only a process can be frozen"),
            Life::Process(process) => process.freeze(is_frozen).await,
        }
    }

    /// Stops it in order.
    pub async fn stop(self) {
        self.start_stop().await;
        drop((self.subscriber, self.webhooks));
        match self.life {
            Life::Here(gateway) => {
                let stopped = timeout(PATIENCE, gateway.stop());
                stopped.await.expect("a bounded stop");
            }
            Life::Process(process) => process.ended().await,
        }
    }

    /// Ends it at once.
    pub async fn kill(self) {
        match self.life {
            Life::Here(_) => unreachable!("only a process can be killed"),
            Life::Process(process) => process.kill().await,
        }
    }
}
