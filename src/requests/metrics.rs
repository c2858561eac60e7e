//! What operators see of requests.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::screening::{CutCounter, Cuts};

/// The counters of requests.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Requests with an id, by what became of them.
    requests: Family<Labels, Counter>,
    /// SYNC screenings that went on as ASYNC, by how the caller was answered.
    continued: Family<Labels, Counter>,
    /// Answers that came and could not be recorded.
    unrecorded: Counter,
    /// Answers that were too large for the store, by what was left out of their records.
    stored_cuts: CutCounter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Metrics {
            requests: Family::default(),
            continued: Family::default(),
            unrecorded: Counter::default(),
            stored_cuts: CutCounter::default(),
        };
        registry.register(
            "requests_with_id",
            "Requests with a request_id: new ones, replayed and joined ones, and reused ids",
            metrics.requests.clone(),
        );
        registry.register(
            "screenings_continued",
            "SYNC screenings that Kora gave up on and that went on as ASYNC, by how their callers were answered",
            metrics.continued.clone(),
        );
        registry.register(
            "requests_unrecorded",
            "Answers that came and could not be recorded; the same request again is UNKNOWN",
            metrics.unrecorded.clone(),
        );
        registry.register(
            "requests_answers_cut",
            "Stored answers that were too large, by the part that was left out",
            metrics.stored_cuts.clone(),
        );
        metrics
    }

    pub(super) fn new_request(&self) {
        self.count("new");
    }

    pub(super) fn replayed(&self) {
        self.count("replayed");
    }

    pub(super) fn joined(&self) {
        self.count("joined");
    }

    pub(super) fn reused(&self) {
        self.count("reused");
    }

    pub(super) fn continued(&self, kind: &'static str) {
        self.continued.get_or_create(&Labels { kind }).inc();
    }

    pub(super) fn unrecorded(&self) {
        self.unrecorded.inc();
    }

    pub(super) fn stored_cut(&self, cuts: &Cuts) {
        cuts.count(&self.stored_cuts);
    }

    fn count(&self, kind: &'static str) {
        self.requests.get_or_create(&Labels { kind }).inc();
    }
}
