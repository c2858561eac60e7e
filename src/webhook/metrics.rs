//! What operators see of the webhooks.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::answer::Ending;
use crate::{
    screening::{CutCounter, OddFields},
    telemetry::DURATION_BUCKETS,
};

/// The metrics of the webhook port.
#[derive(Clone, Debug)]
pub struct Metrics {
    received: Family<ResultLabel, Counter>,
    too_large: Counter,
    /// Events whose content was left out because it could not be read.
    pub(super) payloads_dropped: Counter,
    /// Events that say one thing in two ways that differ.
    pub(super) contradictory: Counter,
    odd_fields: Family<FieldLabel, Counter>,
    /// Events that were too large for clients, by what was left out of them.
    pub(super) events_cut: CutCounter,
    duration: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FieldLabel {
    field: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Metrics {
            received: Family::default(),
            too_large: Counter::default(),
            payloads_dropped: Counter::default(),
            contradictory: Counter::default(),
            odd_fields: Family::default(),
            events_cut: CutCounter::default(),
            duration: Histogram::new(DURATION_BUCKETS),
        };
        // An alert on what never happened yet needs its zero.
        for ending in Ending::ALL {
            metrics.counter(ending);
        }
        registry.register(
            "webhooks",
            "Requests to the webhook port by result",
            metrics.received.clone(),
        );
        registry.register(
            "webhooks_too_large",
            "Webhooks refused for their size, which Kora may not offer again",
            metrics.too_large.clone(),
        );
        registry.register(
            "webhook_payloads_dropped",
            "Events kept without a typed payload because their data could not be read",
            metrics.payloads_dropped.clone(),
        );
        registry.register(
            "webhooks_contradictory",
            "Events that name a screening, subject, status, decision or outcome in two spellings with two values; kept without ids and payload",
            metrics.contradictory.clone(),
        );
        registry.register(
            "webhook_odd_fields",
            "Optional fields of webhooks that were left out because they could not be read, by field",
            metrics.odd_fields.clone(),
        );
        registry.register(
            "webhook_events_cut",
            "Events that were too large for clients, by the part that was left out",
            metrics.events_cut.clone(),
        );
        registry.register_with_unit(
            "webhook_duration",
            "How long a webhook took from its head to its answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        metrics
    }

    /// Counts one webhook.
    pub(super) fn observe(&self, ending: Ending, took: Duration) {
        self.counter(ending).inc();
        if ending == Ending::TooLarge {
            self.too_large.inc();
        }
        self.duration.observe(took.as_secs_f64());
    }

    /// These fields of an event were left out.
    pub(super) fn left_out(&self, odd: &OddFields) {
        for field in odd.names() {
            self.odd_fields.get_or_create(&FieldLabel { field }).inc();
        }
    }

    fn counter(&self, ending: Ending) -> Counter {
        let result = ending.name();
        self.received.get_or_create_owned(&ResultLabel { result })
    }
}
