//! Whether the last append succeeded, for all who want to know.

use tokio::sync::watch;

use crate::store::Metrics;

/// The one log's word on that. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Writable {
    sender: watch::Sender<bool>,
    metrics: Metrics,
}

impl Writable {
    pub(super) fn new(is_writable: bool, metrics: Metrics) -> Self {
        metrics.writable.set(i64::from(is_writable));
        Writable {
            sender: watch::Sender::new(is_writable),
            metrics,
        }
    }

    pub(super) fn set(&self, is_writable: bool) {
        self.metrics.writable.set(i64::from(is_writable));
        self.sender.send_if_modified(|was_writable| {
            let is_news = *was_writable != is_writable;
            *was_writable = is_writable;
            is_news
        });
    }

    pub(super) fn get(&self) -> bool {
        *self.sender.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.sender.subscribe()
    }
}
