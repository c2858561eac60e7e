//! What operators see of the polls.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::screening::CutCounter;

/// The counters of the polls.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Polls that were made, by what became of them.
    polls: Family<Labels, Counter>,
    /// Screenings that are not polled any more, though their end is not known.
    given_up: Counter,
    /// Screenings that the store could not take.
    unrecorded: Counter,
    /// Screenings that the store has not taken yet, and that are written again and again.
    pending: Gauge,
    /// Answers that were about another subject than the screening's.
    other_subjects: Counter,
    /// Events that were too large for clients, by what was left out of them.
    pub(super) events_cut: CutCounter,
}

/// A screening that the store has not taken yet, until this is dropped.
pub(super) struct PendingPoll(Gauge);

/// What became of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The screening's end is on the log.
    Reconciled,
    /// Its end had come by webhook in the meantime.
    Overtaken,
    /// The screening is not over.
    Unfinished,
    /// Kora did not answer, or with an error, or the log could not take the end.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Metrics {
            polls: Family::default(),
            given_up: Counter::default(),
            unrecorded: Counter::default(),
            pending: Gauge::default(),
            other_subjects: Counter::default(),
            events_cut: CutCounter::default(),
        };
        registry.register(
            "reconciler_polls",
            "Polls of screenings whose end had not come by webhook, by result",
            metrics.polls.clone(),
        );
        registry.register(
            "reconciler_given_up",
            "Screenings that are not polled any more, though their end is not known",
            metrics.given_up.clone(),
        );
        registry.register(
            "reconciler_unrecorded",
            "Screenings that will not be polled, because the store could not take them",
            metrics.unrecorded.clone(),
        );
        registry.register(
            "reconciler_pending_records",
            "Screenings that the store has not taken yet, and that are written again until it does",
            metrics.pending.clone(),
        );
        registry.register(
            "reconciler_other_subjects",
            "Answers to polls that were about another subject than the screening's, and ended nothing",
            metrics.other_subjects.clone(),
        );
        registry.register(
            "reconciler_events_cut",
            "RECONCILED events that were too large for clients, by the part that was left out",
            metrics.events_cut.clone(),
        );
        metrics
    }

    pub(super) fn polled(&self, ending: Ending) {
        let result = match ending {
            Ending::Reconciled => "reconciled",
            Ending::Overtaken => "overtaken",
            Ending::Unfinished => "unfinished",
            Ending::Failed => "failed",
        };
        self.polls.get_or_create(&Labels { result }).inc();
    }

    pub(super) fn given_up(&self) {
        self.given_up.inc();
    }

    pub(super) fn pending_poll(&self) -> PendingPoll {
        self.pending.inc();
        PendingPoll(self.pending.clone())
    }

    pub(super) fn other_subject(&self) {
        self.other_subjects.inc();
    }

    pub(super) fn unrecorded(&self) {
        self.unrecorded.inc();
    }
}

impl Drop for PendingPoll {
    fn drop(&mut self) {
        self.0.dec();
    }
}
