//! The orders of a stop, and the order of death.

use std::time::Duration;

use futures_util::{StreamExt, future::join_all, stream};
use tokio::{task::JoinHandle, time};
use tokio_util::task::TaskTracker;

use super::opening::Storage;
use crate::{kora, lifecycle::Shutdown, requests, store::Logs};

/// How long before the bound on a stop the calls that are left are given up, so that the rest fits in.
const RESERVE: Duration = Duration::from_secs(2);

/// How many logs are closed at a time.
const CLOSED_AT_ONCE: usize = 256;

/// The orders, in the order in which they are given.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    /// The gateway is to stop.
    pub(super) stop: Shutdown,
    /// Whoever still waits is answered now.
    pub(super) give_up: Shutdown,
    /// The last call is over: callers and webhooks are let go.
    pub(super) calls_done: Shutdown,
    /// Everything is over but what tells of it.
    pub(super) all_done: Shutdown,
}

/// What ends, in the order in which it does.
pub(super) struct Living {
    pub(super) calls: TaskTracker,
    pub(super) grpc: JoinHandle<()>,
    pub(super) webhooks: JoinHandle<()>,
    pub(super) polling: Vec<JoinHandle<()>>,
    pub(super) logs: Vec<Logs>,
    pub(super) storage: Storage,
    pub(super) admin: JoinHandle<()>,
    pub(super) emulator: Option<JoinHandle<()>>,
}

impl Orders {
    pub(super) fn new(stop: Shutdown) -> Self {
        Orders {
            stop,
            ..Orders::default()
        }
    }

    /// Those that concern reads.
    pub(super) fn of_kora(&self) -> kora::Orders {
        kora::Orders {
            stop: self.stop.clone(),
            give_up: self.give_up.clone(),
        }
    }

    /// Those that concern calls.
    pub(super) fn of_requests(&self) -> requests::Orders {
        requests::Orders {
            stop: self.stop.clone(),
            give_up: self.give_up.clone(),
        }
    }
}

impl Living {
    /// Ends everything, once the order to stop was given, within the bound.
    pub(super) async fn end(self, orders: &Orders, bound: Duration) {
        let patience = bound.saturating_sub(RESERVE);
        if time::timeout(bound, self.end_in_order(orders, patience))
            .await
            .is_err()
        {
            tracing::warn!("the bound on a stop has passed");
        }
    }

    async fn end_in_order(self, orders: &Orders, patience: Duration) {
        self.calls.close();
        if time::timeout(patience, self.calls.wait()).await.is_err() {
            let calls = self.calls.len();
            tracing::warn!(calls, "giving up on the calls that are left");
            orders.give_up.start();
        }
        orders.calls_done.start();
        ended(self.grpc).await;
        ended(self.webhooks).await;
        join_all(self.polling.into_iter().map(ended)).await;
        close_all(self.logs, self.storage).await;
        orders.all_done.start();
        ended(self.admin).await;
        if let Some(emulator) = self.emulator {
            ended(emulator).await;
        }
    }
}

/// Closes the logs, many at a time, and then what they are kept in.
pub(super) async fn close_all(logs: Vec<Logs>, storage: Storage) {
    let closing = stream::iter(logs).for_each_concurrent(CLOSED_AT_ONCE, |log| async move {
        log.close().await;
    });
    closing.await;
    storage.close().await;
}

/// Waits for a part to end; one that panicked has ended too, and was reported by its panic.
pub(super) async fn ended(part: JoinHandle<()>) {
    let _ = part.await;
}
