//! What the wall clock may do: the rules of gateway time, over readings that are handed in.
//!
//! - While the wall clock is within [`STEP_TOLERANCE`] of the time that the boot clock foretells, it is followed at once.
//! - Any larger difference is a *step*, forward or back. It is not followed until it has stood for the hold, or an
//!   operator accepted it. One that goes away again before was never acted on.
//! - When a process starts, a [`Mark`] of an earlier one on the same boot of the machine tells gateway time exactly. Without
//!   one the newest durable records vouch for the wall clock. If all of them are older than [`MAX_START_GAP`], or are from
//!   the future, the difference waits like a step, and time goes on from the newest record.
//! - A step that is followed while the process runs is a correction: the boot clock shows that the time did not elapse.
//!   Only a gap across a start can be time that elapsed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// From which difference on the wall clock has stepped.
pub const STEP_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// How old the newest record may be at a start without making the wall clock doubtful.
const MAX_START_GAP: SignedDuration = SignedDuration::from_hours(24);

/// How often the trusted time is taken anew from a wall clock that agrees. In between its deviations are measured from one
/// point, so that many small ones do not add up unnoticed.
const RENEW_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What the machine's clocks read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: Timestamp,
    /// The time since the machine booted, suspends included.
    pub since_boot: SignedDuration,
}

/// A moment at which a process knew gateway time, for the next one on the same machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Gateway time.
    pub time: Timestamp,
    /// Which boot of which machine it was.
    pub boot_id: Uuid,
    /// The time since then, suspends included.
    pub since_boot: SignedDuration,
}

/// A step of the wall clock that is not followed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingStep {
    /// By how much the wall clock differs from gateway time; negative where it is behind.
    pub step: SignedDuration,
    /// How much longer it has to stand before it is followed.
    pub follows_in: SignedDuration,
}

/// What a reading changed about the steps of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A step was seen for the first time.
    Seen(SignedDuration),
    /// The pending step is followed from now on.
    Followed(SignedDuration),
    /// The wall clock agrees again; the step was never followed.
    Withdrawn,
}

/// The steps of the wall clock that were followed so far, in parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Followed {
    /// Corrections: gateway time less this is a clock that only elapses.
    pub(super) corrections: SignedDuration,
    /// The gap before the start, once it counts as time that elapsed.
    pub(super) gap: SignedDuration,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    step: SignedDuration,
    /// When it was first seen, by the boot clock.
    first_seen: SignedDuration,
}

/// The state of gateway time.
#[derive(Debug)]
pub(super) struct GatewayTime {
    step_hold: SignedDuration,
    /// A moment at which gateway time was certain: its `wall` is the trusted time.
    trusted: Reading,
    pending: Option<Pending>,
    followed: Followed,
    start: Start,
}

/// What the records of earlier processes say about the wall clock at the start.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// There are none so far.
    NoRecords,
    /// None of them vouches for the wall clock.
    Doubtful {
        newest_past: Option<Timestamp>,
        oldest_future: Option<Timestamp>,
        /// How much of a difference can be time that elapsed before the start.
        gap: SignedDuration,
    },
    /// The wall clock was trusted at least once, on the word of records of the last hours.
    Vouched,
    /// Gateway time is known by the boot clock.
    Certain {
        /// The age of the newest mark that says so.
        marked: SignedDuration,
    },
}

impl GatewayTime {
    /// The time of a process that starts: records of earlier ones can make the wall clock doubtful.
    pub(super) fn starting_at(reading: Reading, step_hold: Duration) -> Self {
        GatewayTime {
            start: Start::NoRecords,
            ..Self::trusting(reading, step_hold)
        }
    }

    /// The time where the wall clock is certain.
    pub(super) fn trusting(reading: Reading, step_hold: Duration) -> Self {
        GatewayTime {
            step_hold: SignedDuration::try_from(step_hold).unwrap_or(SignedDuration::MAX),
            trusted: reading,
            pending: None,
            followed: Followed::default(),
            start: Start::Certain {
                marked: reading.since_boot,
            },
        }
    }

    /// Gateway time at this reading.
    pub(super) fn observe(&mut self, reading: Reading) -> (Timestamp, Option<Change>) {
        let expected = self.expected(reading);
        let step = reading.wall.duration_since(expected);
        if step.abs() < STEP_TOLERANCE {
            if reading.since_boot - self.trusted.since_boot >= RENEW_EVERY {
                self.trusted = reading;
            }
            let withdrawn = self.pending.take().map(|_| Change::Withdrawn);
            return (reading.wall, withdrawn);
        }
        if self.is_plausible_gap(step) {
            return (reading.wall, Some(self.follow(reading, step)));
        }
        match self.pending {
            Some(pending) if (pending.step - step).abs() < STEP_TOLERANCE => {
                if reading.since_boot - pending.first_seen < self.step_hold {
                    return (expected, None);
                }
                (reading.wall, Some(self.follow(reading, step)))
            }
            _ => (expected, Some(self.hold(reading, step))),
        }
    }

    /// Goes on from a mark of an earlier process on the same boot of the machine, unless a newer one is known.
    pub(super) fn note_mark(&mut self, reading: Reading, mark: Mark) -> Option<Change> {
        let newest = match self.start {
            Start::Certain { marked } => marked,
            _ => SignedDuration::MIN,
        };
        if mark.since_boot > reading.since_boot || mark.since_boot <= newest {
            return None;
        }
        self.start = Start::Certain {
            marked: mark.since_boot,
        };
        self.trusted = Reading {
            wall: mark.time,
            since_boot: mark.since_boot,
        };
        let was_pending = self.pending.take();
        let (_, change) = self.observe(reading);
        change.or(was_pending.map(|_| Change::Withdrawn))
    }

    /// Takes the time of a record of an earlier process into account.
    pub(super) fn note_record(&mut self, reading: Reading, record: Timestamp) -> Option<Change> {
        let (mut newest_past, mut oldest_future) = match self.start {
            Start::Vouched | Start::Certain { .. } => return None,
            Start::NoRecords => (None, None),
            Start::Doubtful {
                newest_past,
                oldest_future,
                ..
            } => (newest_past, oldest_future),
        };
        let age = reading.wall.duration_since(record);
        if age > -STEP_TOLERANCE && age <= MAX_START_GAP {
            self.start = Start::Vouched;
            self.trusted = reading;
            return self.pending.take().map(|_| Change::Withdrawn);
        }
        if age.is_positive() {
            newest_past = newest_past.max(Some(record));
        } else {
            oldest_future = Some(oldest_future.map_or(record, |oldest| oldest.min(record)));
        }
        let time = newest_past.or(oldest_future).unwrap_or(record);
        let gap = reading.wall.duration_since(time);
        self.start = Start::Doubtful {
            newest_past,
            oldest_future,
            gap,
        };
        self.trusted = Reading {
            wall: time,
            since_boot: reading.since_boot,
        };
        Some(self.hold(reading, gap))
    }

    /// Follows the pending step if it is this one.
    pub(super) fn accept(&mut self, reading: Reading, step: SignedDuration) -> Option<Change> {
        let _ = self.observe(reading);
        let is_pending = self
            .pending
            .is_some_and(|pending| (pending.step - step).abs() < STEP_TOLERANCE);
        let step = reading.wall.duration_since(self.expected(reading));
        is_pending.then(|| self.follow(reading, step))
    }

    /// The step that is not followed yet.
    pub(super) fn pending(&self, reading: Reading) -> Option<PendingStep> {
        let pending = self.pending?;
        let stood = reading.since_boot - pending.first_seen;
        Some(PendingStep {
            step: pending.step,
            follows_in: (self.step_hold - stood).max(SignedDuration::ZERO),
        })
    }

    /// The steps that were followed.
    pub(super) fn followed(&self) -> Followed {
        self.followed
    }

    /// The trusted time, and what has elapsed since.
    fn expected(&self, reading: Reading) -> Timestamp {
        let elapsed = reading.since_boot - self.trusted.since_boot;
        let expected = self.trusted.wall.checked_add(elapsed);
        expected.unwrap_or(self.trusted.wall)
    }

    /// Whether the wall clock, doubtful at the start, now shows no more than a short time of standing still.
    fn is_plausible_gap(&self, step: SignedDuration) -> bool {
        matches!(self.start, Start::Doubtful { .. }) && step.is_positive() && step <= MAX_START_GAP
    }

    fn hold(&mut self, reading: Reading, step: SignedDuration) -> Change {
        self.pending = Some(Pending {
            step,
            first_seen: reading.since_boot,
        });
        Change::Seen(step)
    }

    fn follow(&mut self, reading: Reading, step: SignedDuration) -> Change {
        let elapsed = match self.start {
            Start::Doubtful { gap, .. } => gap.min(step).max(SignedDuration::ZERO),
            Start::NoRecords | Start::Vouched | Start::Certain { .. } => SignedDuration::ZERO,
        };
        let Followed { corrections, gap } = &mut self.followed;
        *corrections = corrections.saturating_add(step - elapsed);
        *gap = gap.saturating_add(elapsed);
        self.start = Start::Certain {
            marked: reading.since_boot,
        };
        self.trusted = reading;
        self.pending = None;
        Change::Followed(step)
    }
}

#[cfg(test)]
mod tests;
