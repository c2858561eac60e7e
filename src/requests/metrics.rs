//! What operators see of requests.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
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
    /// Ends that the store has not taken yet, and that are written again and again.
    pending_records: Gauge,
    /// Events that would have ended a screening whose caller waits for it, and did not.
    unfit_ends: Family<Labels, Counter>,
    /// Answers that were too large for the store, by what was left out of their records.
    stored_cuts: CutCounter,
}

/// An end that the store has not taken yet, until this is dropped.
pub(super) struct PendingRecord(Gauge);

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
            pending_records: Gauge::default(),
            unfit_ends: Family::default(),
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
            "requests_pending_records",
            "Ends of requests that the store has not taken yet, and that are written again until it does",
            metrics.pending_records.clone(),
        );
        registry.register(
            "screening_ends_not_used",
            "Ends of continued screenings that were not answered: about another subject, or disputed by Kora's answer",
            metrics.unfit_ends.clone(),
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

    pub(super) fn pending_record(&self) -> PendingRecord {
        self.pending_records.inc();
        PendingRecord(self.pending_records.clone())
    }

    pub(super) fn end_of_another_subject(&self) {
        self.unfit_ends
            .get_or_create(&Labels {
                kind: "other subject",
            })
            .inc();
    }

    pub(super) fn disputed_end(&self) {
        self.unfit_ends
            .get_or_create(&Labels { kind: "disputed" })
            .inc();
    }

    pub(super) fn stored_cut(&self, cuts: &Cuts) {
        cuts.count(&self.stored_cuts);
    }

    fn count(&self, kind: &'static str) {
        self.requests.get_or_create(&Labels { kind }).inc();
    }
}

impl Drop for PendingRecord {
    fn drop(&mut self) {
        self.0.dec();
    }
}
