//! How the key's budget is spent, and who waits for it.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::lanes::Lane;
use crate::telemetry::DURATION_BUCKETS;

/// The metrics of the pacer.
#[derive(Clone, Debug)]
pub(in crate::kora) struct Metrics {
    left: Gauge,
    waiting: Family<LaneLabel, Gauge>,
    waited: Family<LaneLabel, Histogram, fn() -> Histogram>,
    refused: Family<LaneLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub(in crate::kora) fn register(registry: &mut Registry) -> Self {
        let waited = Family::new_with_constructor(
            (|| Histogram::new(DURATION_BUCKETS)) as fn() -> Histogram,
        );
        let metrics = Metrics {
            left: Gauge::default(),
            waiting: Family::default(),
            waited,
            refused: Family::default(),
        };
        registry.register(
            "kora_rate_limit_left",
            "Requests that Kora's rate limit leaves in the window told last (0 before the first answer)",
            metrics.left.clone(),
        );
        registry.register(
            "kora_calls_waiting",
            "Calls that wait for their turn in Kora's rate limit, by lane",
            metrics.waiting.clone(),
        );
        registry.register_with_unit(
            "kora_turn_wait",
            "How long calls waited for their turn in Kora's rate limit, by lane",
            Unit::Seconds,
            metrics.waited.clone(),
        );
        registry.register(
            "kora_calls_paced",
            "Calls refused because their turn would have come after their deadline, by lane",
            metrics.refused.clone(),
        );
        metrics
    }

    pub(super) fn left(&self, left: u32) {
        self.left.set(left.into());
    }

    pub(super) fn waiting(&self, lane: Lane, calls: u32) {
        self.waiting.get_or_create(&label(lane)).set(calls.into());
    }

    pub(super) fn waited(&self, lane: Lane, wait: Duration) {
        let waited = self.waited.get_or_create(&label(lane));
        waited.observe(wait.as_secs_f64());
    }

    pub(super) fn refused(&self, lane: Lane) {
        self.refused.get_or_create(&label(lane)).inc();
    }
}

fn label(lane: Lane) -> LaneLabel {
    LaneLabel { lane: lane.name() }
}
