//! What operators see of the webhooks.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::answer::Ending;
use crate::telemetry::DURATION_BUCKETS;

/// The metrics of the webhook port.
#[derive(Clone, Debug)]
pub struct Metrics {
    received: Family<ResultLabel, Counter>,
    too_large: Counter,
    /// Events whose content was left out because it could not be read.
    pub(super) payloads_dropped: Counter,
    duration: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Metrics {
            received: Family::default(),
            too_large: Counter::default(),
            payloads_dropped: Counter::default(),
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

    fn counter(&self, ending: Ending) -> Counter {
        let result = ending.name();
        self.received.get_or_create_owned(&ResultLabel { result })
    }
}
