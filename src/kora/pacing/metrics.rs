//! How the key's budget is spent, and who waits for it.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::lanes::Lane;
use crate::telemetry::{DURATION_BUCKETS, TenantLabel};

/// The metrics of the pacers. Each tenant has its own gauges, see [`Metrics::of_tenant`].
#[derive(Clone, Debug)]
pub(in crate::kora) struct Metrics {
    left: Gauge,
    waiting: Waiting,
    all_left: Family<TenantLabel, Gauge>,
    all_waiting: Family<WaitingLabel, Gauge>,
    waited: Family<LaneLabel, Histogram, fn() -> Histogram>,
    refused: Family<LaneLabel, Counter>,
}

/// The calls that wait, in each lane.
#[derive(Clone, Debug, Default)]
struct Waiting {
    interactive: Gauge,
    background: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitingLabel {
    lane: &'static str,
    tenant: String,
}

impl Metrics {
    /// Registers the metrics, once for all tenants.
    pub(in crate::kora) fn register(registry: &mut Registry) -> Self {
        let waited = Family::new_with_constructor(
            (|| Histogram::new(DURATION_BUCKETS)) as fn() -> Histogram,
        );
        let metrics = Metrics {
            left: Gauge::default(),
            waiting: Waiting::default(),
            all_left: Family::default(),
            all_waiting: Family::default(),
            waited,
            refused: Family::default(),
        };
        registry.register(
            "kora_rate_limit_left",
            "Requests that Kora's rate limit leaves in the window told last (0 before the first answer), by tenant",
            metrics.all_left.clone(),
        );
        registry.register(
            "kora_calls_waiting",
            "Calls that wait for their turn in Kora's rate limit, by lane and tenant",
            metrics.all_waiting.clone(),
        );
        registry.register_with_unit(
            "kora_turn_wait",
            "How long calls waited for their turn in Kora's rate limit, by lane",
            Unit::Seconds,
            metrics.waited.clone(),
        );
        registry.register(
            "kora_calls_paced",
            "Calls refused because their turn would have come too late for an answer before their deadline, by lane",
            metrics.refused.clone(),
        );
        metrics
    }

    /// Those of the tenant with this name.
    pub(in crate::kora) fn of_tenant(&self, name: &str) -> Self {
        let waiting = |lane: Lane| {
            self.all_waiting.get_or_create_owned(&WaitingLabel {
                lane: lane.name(),
                tenant: name.to_owned(),
            })
        };
        Metrics {
            left: self.all_left.get_or_create_owned(&TenantLabel::of(name)),
            waiting: Waiting {
                interactive: waiting(Lane::Interactive),
                background: waiting(Lane::Background),
            },
            ..self.clone()
        }
    }

    pub(super) fn left(&self, left: u32) {
        self.left.set(left.into());
    }

    pub(super) fn waiting(&self, lane: Lane, calls: u32) {
        let waiting = match lane {
            Lane::Interactive => &self.waiting.interactive,
            Lane::Background => &self.waiting.background,
        };
        waiting.set(calls.into());
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
