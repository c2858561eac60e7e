//! Requests to Kora, counted and timed by endpoint and status.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::Endpoint;
use crate::telemetry::DURATION_BUCKETS;

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

/// The metrics of the client.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
    status: String,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let requests = Family::new_with_constructor(
            (|| Histogram::new(DURATION_BUCKETS)) as fn() -> Histogram,
        );
        registry.register_with_unit(
            "kora_request_duration",
            "Requests to Kora by endpoint and HTTP status (or not_sent, lost, timed_out)",
            Unit::Seconds,
            requests.clone(),
        );
        Metrics { requests }
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
}
