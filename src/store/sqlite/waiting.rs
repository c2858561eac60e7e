//! How many polls wait. While none does, nobody has to read the file to find that out: most logs of many are quiet,
//! and a reader costs a connection.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use crate::store::Metrics;

/// The number for the readers, and for operators. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    polls: Arc<AtomicI64>,
    metrics: Metrics,
}

impl Waiting {
    pub(super) fn new(polls: i64, metrics: Metrics) -> Self {
        metrics.polls.set(polls);
        Waiting {
            polls: Arc::new(AtomicI64::new(polls)),
            metrics,
        }
    }

    /// So many more wait, in the file as well, before anybody hears of it.
    pub(super) fn add(&self, more: i64) {
        self.polls.fetch_add(more, Ordering::SeqCst);
        self.metrics.polls.inc_by(more);
    }

    /// Whether none waits.
    pub(super) fn is_none(&self) -> bool {
        self.polls.load(Ordering::SeqCst) == 0
    }
}
