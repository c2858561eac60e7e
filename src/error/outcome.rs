//! What is certain about a failed Screen or CreateSubject, also of one that took several attempts.
//!
//! The outcome of a call is the highest that any of its attempts had, and code and reason are that
//! attempt's: an attempt that could not connect does not take back that Kora had answered an earlier one.

use super::CallError;

/// Whether a failed Screen or CreateSubject may have happened at Kora. Ordered: a call that had several
/// attempts reports the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It is certain that no byte of the request left the gateway.
    NotSent,
    /// Kora refused it and said so.
    Rejected,
    /// Kora took it and answered finally, with a failure.
    Accepted,
    /// It may or may not have happened.
    Unknown,
}

impl Outcome {
    /// The name that callers see, such as `NOT_SENT`.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::NotSent => "NOT_SENT",
            Outcome::Rejected => "REJECTED",
            Outcome::Accepted => "ACCEPTED",
            Outcome::Unknown => "UNKNOWN",
        }
    }
}

impl CallError {
    /// The error of a Screen or CreateSubject of which an earlier attempt failed with this error, and
    /// the next one with `later`. Of two that say the same about what happened, the later one is news.
    #[must_use]
    pub fn worse(self, later: CallError) -> CallError {
        let (_, outcome) = self.reason.of_paid_call();
        let (_, later_outcome) = later.reason.of_paid_call();
        if outcome > later_outcome { self } else { later }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Reason;

    /// Marked with the number of the attempt, to tell errors of one reason apart.
    fn attempt(number: u64, reason: Reason) -> CallError {
        CallError {
            retry_after: Some(Duration::from_secs(number)),
            ..CallError::new(reason)
        }
    }

    fn reported(reasons: &[Reason]) -> CallError {
        (1..)
            .zip(reasons)
            .map(|(number, reason)| attempt(number, *reason))
            .reduce(CallError::worse)
            .expect("a call has an attempt")
    }

    /// The promise, word for word: the highest outcome, and the last attempt that had it.
    fn promised(reasons: &[Reason]) -> (Reason, u64) {
        let outcome = |reason: &Reason| reason.of_paid_call().1;
        let highest = reasons.iter().map(outcome).max().unwrap();
        (1..)
            .zip(reasons)
            .filter(|(_, reason)| outcome(reason) == highest)
            .map(|(number, reason)| (*reason, number))
            .last()
            .unwrap()
    }

    #[test]
    fn every_sequence_of_attempts_reports_the_highest_outcome() {
        let check = |sequence: &[Reason]| {
            let error = reported(sequence);
            let (reason, number) = promised(sequence);
            assert_eq!(error.reason, reason, "{sequence:?}");
            let marked = Some(Duration::from_secs(number));
            assert_eq!(error.retry_after, marked, "{sequence:?}");
        };
        for first in Reason::all() {
            check(&[first]);
            for second in Reason::all() {
                check(&[first, second]);
                for third in Reason::all() {
                    check(&[first, second, third]);
                }
            }
        }
    }

    #[test]
    fn a_refusal_is_not_taken_back_by_an_attempt_that_was_not_sent() {
        use Reason::{DeadlineBeforeSend, KoraOutcomeUnknown, KoraRateLimited, KoraUnreachable};
        let reason = |sequence: &[Reason]| reported(sequence).reason;
        assert_eq!(reason(&[KoraRateLimited, KoraUnreachable]), KoraRateLimited);
        assert_eq!(reason(&[KoraUnreachable, KoraRateLimited]), KoraRateLimited);
        let mixed = [KoraUnreachable, KoraRateLimited, DeadlineBeforeSend];
        assert_eq!(reason(&mixed), KoraRateLimited);
        let lost = [KoraRateLimited, KoraOutcomeUnknown, KoraRateLimited];
        assert_eq!(reason(&lost), KoraOutcomeUnknown);
    }

    #[test]
    fn a_reason_that_says_nothing_of_a_paid_call_is_not_talked_down() {
        assert_eq!(Reason::KoraInternal.outcome(), None);
        let error = reported(&[Reason::KoraInternal, Reason::KoraUnreachable]);
        assert_eq!(error.reason.of_paid_call().1, Outcome::Unknown);
    }
}
