//! The memory budget: one bound on everything large that the gateway holds at a time.
//!
//! The budget is split into [`Pool`]s, so that subscribers that read nothing cannot make webhooks fail, and webhooks
//! cannot make calls fail. What is larger than [`FREE_BYTES`] is charged to its pool by what it costs in memory, and
//! the [`Charge`] is released with the memory itself. What is smaller is free: there is a limit on how many of those
//! there can be, and most requests, webhooks and messages never touch a pool.

mod allowance;
mod metrics;
mod pool;

use std::sync::Arc;

use prometheus_client::registry::Registry;

pub use allowance::{Allowance, Allowances, NoMemory};
pub use pool::{Charge, PORTION_BYTES, Pool};

/// What is not larger is not charged.
pub const FREE_BYTES: usize = 16 << 10;

/// The smallest budget.
pub const MIN_BUDGET_BYTES: usize = 32 << 20;

/// How many times the largest message the budget has to be, so that one message of the largest size always has room.
pub const MESSAGES_IN_BUDGET: usize = 8;

/// The budget, split among its uses. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bodies of webhooks that are being received or appended: 3/16.
    pub webhook_bodies: Pool,
    /// Webhooks that are being parsed: 5/16, because JSON takes many times its size while it is read.
    pub webhook_parsing: Pool,
    /// Messages of callers, until their calls are over: 2/16.
    pub requests: Pool,
    /// Filters of streams: 2/16.
    pub filters: Pool,
    /// Large events in the hot tails: 1/16.
    pub recent_events: Pool,
    /// What streams read from the log and send: 2/16.
    pub streams: Pool,
    /// The rest, 1/16: small events in the hot tails.
    pub small_recent_events: usize,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        let part = bytes / 16;
        Budget {
            webhook_bodies: Pool::new("webhook_bodies", 3 * part),
            webhook_parsing: Pool::new("webhook_parsing", 5 * part),
            requests: Pool::new("requests", 2 * part),
            filters: Pool::new("filters", 2 * part),
            recent_events: Pool::new("recent_events", part),
            streams: Pool::new("streams", 2 * part),
            small_recent_events: part,
        }
    }

    /// Registers the metrics of all pools.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let pools = [
            &self.webhook_bodies,
            &self.webhook_parsing,
            &self.requests,
            &self.filters,
            &self.recent_events,
            &self.streams,
        ];
        metrics::register(pools.map(Pool::clone).into(), registry);
    }

    /// What the streams of each caller may charge for messages: where there are several callers, none has more than half.
    pub fn allowances_of_streams(&self) -> Allowances {
        Allowances::new(self.streams.clone())
    }

    /// The same for their filters.
    pub fn allowances_of_filters(&self) -> Allowances {
        Allowances::new(self.filters.clone())
    }
}

impl Default for Budget {
    /// The budget where none is configured: 256 MiB.
    fn default() -> Self {
        Budget::new(256 << 20)
    }
}

/// Shares a name cheaply.
type Name = Arc<str>;
