//! The size bound of request records as operators see it: gauges, and a log line when a mark is crossed.

use super::Metrics;

/// From which part of the bound on an operator is warned, in percent.
const WARN_PERCENT: u64 = 80;

/// What one log's request records take of their bound.
#[derive(Debug)]
pub(super) struct RequestSpace {
    log: String,
    bound: u64,
    metrics: Metrics,
    is_nearly_full: bool,
    is_refusing: bool,
}

impl RequestSpace {
    /// For the log with this name, for people.
    pub(super) fn new(log: String, bound: u64, metrics: Metrics) -> Self {
        metrics.request_bytes_limit.set(clamped(bound));
        RequestSpace {
            log,
            bound,
            metrics,
            is_nearly_full: false,
            is_refusing: false,
        }
    }

    /// The bound in bytes.
    pub(super) fn bound(&self) -> u64 {
        self.bound
    }

    /// Shows what there is now. Warns once each time the mark is crossed.
    pub(super) fn show(&mut self, records: u64, bytes: u64) {
        self.metrics.request_records.set(clamped(records));
        self.metrics.request_bytes.set(clamped(bytes));
        let is_nearly_full = bytes >= self.bound / 100 * WARN_PERCENT;
        if is_nearly_full && !self.is_nearly_full {
            tracing::warn!(
                log = self.log,
                bytes,
                request_size = self.bound,
                "request records take {WARN_PERCENT} % of --request-size; at the bound the oldest answers are evicted"
            );
        }
        self.is_nearly_full = is_nearly_full;
    }

    /// Counts answers that were evicted.
    pub(super) fn evicted(&self, answers: u64) {
        self.metrics.answers_evicted.inc_by(answers);
    }

    /// Whether new requests are refused at the moment. Logs the change, not each refusal.
    pub(super) fn set_refusing(&mut self, is_refusing: bool) {
        if is_refusing == self.is_refusing {
            return;
        }
        self.is_refusing = is_refusing;
        let (log, request_size) = (&self.log, self.bound);
        if is_refusing {
            tracing::error!(
                log,
                request_size,
                "request records fill --request-size even without their answers: calls with a new request_id are \
                 refused until records age out or the bound is raised"
            );
        } else {
            tracing::info!(
                log,
                request_size,
                "calls with a new request_id are accepted again: request records fit into --request-size"
            );
        }
    }
}

fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
