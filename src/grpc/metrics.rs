//! Calls, counted and timed by method and code.

use std::time::{Duration, Instant};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tonic::Code;

use super::rpc::Rpc;
use crate::{screening::CutCounter, telemetry::DURATION_BUCKETS};

/// The metrics of the callers' API.
#[derive(Clone, Debug)]
pub struct Metrics {
    calls: Family<CallLabels, Histogram, fn() -> Histogram>,
    /// Answers that were too large for clients, by what was left out of them.
    pub(super) answers_cut: CutCounter,
}

/// Counts one call, however it ends: a call that is dropped was cancelled by its caller.
pub(super) struct CallTimer {
    metrics: Metrics,
    method: &'static str,
    start: Instant,
    code: Code,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: &'static str,
    code: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let calls = Family::new_with_constructor(
            (|| Histogram::new(DURATION_BUCKETS)) as fn() -> Histogram,
        );
        registry.register_with_unit(
            "call_duration",
            "Calls by method and gRPC code",
            Unit::Seconds,
            calls.clone(),
        );
        let answers_cut = CutCounter::default();
        registry.register(
            "answers_cut",
            "Answers that were too large for clients, by the part that was left out",
            answers_cut.clone(),
        );
        Metrics { calls, answers_cut }
    }

    /// Starts the clock of a call. Methods that do not exist share one name, whatever callers make up.
    pub(super) fn start(&self, rpc: Option<Rpc>) -> CallTimer {
        CallTimer {
            metrics: self.clone(),
            method: rpc.map_or("unknown", Rpc::name),
            start: Instant::now(),
            code: Code::Cancelled,
        }
    }

    fn observe(&self, method: &'static str, code: Code, took: Duration) {
        let code = code_name(code);
        self.calls
            .get_or_create(&CallLabels { method, code })
            .observe(took.as_secs_f64());
    }
}

impl CallTimer {
    /// The call was answered.
    pub(super) fn answered(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for CallTimer {
    fn drop(&mut self) {
        self.metrics
            .observe(self.method, self.code, self.start.elapsed());
    }
}

/// The code's name as the gRPC specification writes it.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
