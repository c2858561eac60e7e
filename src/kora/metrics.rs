//! What operators see of the calls to Kora: requests by endpoint and status, retries, the
//! circuit, and the waits for the rate limit.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{Endpoint, breaker::Position, pacing};
use crate::{
    error::Reason,
    screening::OddFields,
    telemetry::{DURATION_BUCKETS, TenantLabel},
};

/// How a request to Kora ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With this HTTP status.
    Status(u16),
    /// Certainly not sent.
    NotSent,
    /// Without a whole answer.
    Lost,
    /// Without an answer in time.
    TimedOut,
}

/// The metrics of the clients. Each tenant has its own gauges, see [`Metrics::of_tenant`].
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Whose they are.
    pub(super) tenant: Arc<str>,
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    retries: Family<RetryLabels, Counter>,
    retries_refused: Counter,
    odd_fields: Family<FieldLabels, Counter>,
    circuit_state: Gauge,
    circuit_states: Family<TenantLabel, Gauge>,
    circuit_openings: Counter,
    pub(super) pacing: pacing::Metrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FieldLabels {
    field: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    reason: &'static str,
}

impl Metrics {
    /// Registers the metrics, once for all tenants. The gauges of no tenant are seen by nobody.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Metrics {
            tenant: Arc::default(),
            requests: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            retries: Family::default(),
            retries_refused: Counter::default(),
            odd_fields: Family::default(),
            circuit_state: Gauge::default(),
            circuit_states: Family::default(),
            circuit_openings: Counter::default(),
            pacing: pacing::Metrics::register(registry),
        };
        registry.register_with_unit(
            "kora_request_duration",
            "Requests to Kora by endpoint and HTTP status (or not_sent, lost, timed_out)",
            Unit::Seconds,
            metrics.requests.clone(),
        );
        registry.register(
            "kora_retries",
            "Retries by the reason of the attempt before",
            metrics.retries.clone(),
        );
        registry.register(
            "kora_retries_refused",
            "Retries refused because too few calls succeed to pay for them",
            metrics.retries_refused.clone(),
        );
        registry.register(
            "kora_odd_fields",
            "Optional fields of Kora's answers that were left out because they could not be read, by field",
            metrics.odd_fields.clone(),
        );
        registry.register(
            "kora_circuit_state",
            "Whether calls go to Kora: 0 closed (they do), 1 half-open (one is tried), 2 open (none does); by tenant",
            metrics.circuit_states.clone(),
        );
        registry.register(
            "kora_circuit_openings",
            "Times that calls to Kora were stopped because too many had failed",
            metrics.circuit_openings.clone(),
        );
        metrics
    }

    /// Those of the tenant with this name.
    #[must_use]
    pub fn of_tenant(&self, name: &str) -> Self {
        Metrics {
            tenant: name.into(),
            circuit_state: self
                .circuit_states
                .get_or_create_owned(&TenantLabel::of(name)),
            pacing: self.pacing.of_tenant(name),
            ..self.clone()
        }
    }

    pub(super) fn observe(&self, endpoint: Endpoint, ending: Ending, took: Duration) {
        let status = match ending {
            Ending::Status(status) => status.to_string(),
            Ending::NotSent => "not_sent".to_owned(),
            Ending::Lost => "lost".to_owned(),
            Ending::TimedOut => "timed_out".to_owned(),
        };
        self.requests
            .get_or_create(&RequestLabels {
                endpoint: endpoint.name(),
                status,
            })
            .observe(took.as_secs_f64());
    }

    /// Another attempt is made after one that failed for `reason`.
    pub(super) fn retried(&self, reason: Reason) {
        let labels = RetryLabels {
            reason: reason.name(),
        };
        self.retries.get_or_create(&labels).inc();
    }

    /// No other attempt is made, because the budget is spent.
    pub(super) fn retry_refused(&self) {
        self.retries_refused.inc();
    }

    /// These fields of an answer were left out.
    pub(super) fn left_out(&self, odd: &OddFields) {
        for field in odd.names() {
            self.odd_fields.get_or_create(&FieldLabels { field }).inc();
        }
    }

    pub(super) fn circuit_is(&self, position: Position) {
        self.circuit_state.set(position as i64);
        if position == Position::Open {
            self.circuit_openings.inc();
        }
    }
}
