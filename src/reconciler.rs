//! Screenings whose end never came: Kora is asked for it.
//!
//! A screening that Kora took and has not finished waits as a durable poll. The end removes it when it comes by
//! webhook. Where none comes, the gateway reads the screening until it is over, and what Kora answers then goes on
//! the log as an event with source RECONCILED.

mod metrics;
mod pause;
mod result;
mod rounds;

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, oneshot};

pub use metrics::Metrics;

use crate::{
    clock::Clock,
    kora,
    store::{PollLog, until_written},
};
use pause::after;

/// When screenings are polled.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a webhook has before the first poll, and what the pauses grow from.
    pub first_pause: Duration,
    /// How long the pauses get.
    pub max_pause: Duration,
    /// For how long a screening is polled, as the sum of the pauses before its polls. No clock decides it: a gateway that was
    /// down, or whose clock was wrong, has not asked.
    pub max_age: Duration,
}

/// One tenant's polls. Clones share everything.
#[derive(Clone)]
pub struct Reconciler {
    config: Config,
    kora: kora::Client,
    log: Arc<dyn PollLog>,
    clock: Clock,
    metrics: Metrics,
    /// A screening waits that did not before.
    added: Arc<Notify>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            first_pause: Duration::from_secs(30),
            max_pause: Duration::from_secs(15 * 60),
            max_age: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

impl Reconciler {
    /// Polls `kora` for the screenings that wait in `log`. Nothing is polled before [`Reconciler::run`].
    pub fn new(
        config: Config,
        kora: kora::Client,
        log: Arc<dyn PollLog>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Reconciler {
            config,
            kora,
            log,
            clock,
            metrics,
            added: Arc::default(),
        }
    }

    /// Has a screening of this subject, whose id is empty where it is not known, wait for its end. Says when the store
    /// was asked once. Returns when it is durable, however long that takes, or when the store cannot take it before
    /// `stop`, which is counted.
    pub async fn expect(
        &self,
        screening_id: String,
        subject_id: String,
        asked: oneshot::Sender<()>,
        stop: impl Future<Output = ()>,
    ) {
        let first_poll = after(self.clock.now(), self.config.first_pause);
        let add = || {
            let (screening_id, subject_id) = (screening_id.clone(), subject_id.clone());
            self.log.add_poll(screening_id, subject_id, first_poll)
        };
        let first_try = add().await;
        // Whoever waited for it may have gone.
        let _ = asked.send(());
        let added = match first_try {
            Ok(is_added) => Ok(is_added),
            Err(_) => {
                let _pending = self.metrics.pending_poll();
                until_written(add, stop).await
            }
        };
        match added {
            Ok(true) => self.added.notify_one(),
            Ok(false) => {}
            Err(error) => {
                self.metrics.unrecorded();
                tracing::error!(screening_id, %error, "the gateway will not ask Kora how a screening ends");
            }
        }
    }
}

#[cfg(test)]
mod tests;
