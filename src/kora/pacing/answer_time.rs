//! How long Kora's answers take, by kind of request.
//!
//! Only a call that has to wait for a turn is held against it: sent at a moment that leaves less than this
//! until its deadline, it would be paid for and its caller would not learn the result. A call whose turn is
//! now is never refused for it, and what is not confirmed by answers is forgotten, so that a Kora that was
//! slow and has recovered gets its calls again.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{super::Endpoint, lanes::Lane};

/// How long an estimate lasts without answers: it goes linearly towards zero.
const MEMORY: Duration = Duration::from_secs(60);

/// One answer's weight in the mean: one in so many (as in TCP's estimate of the round trip, RFC 6298).
const MEAN_WEIGHT: u32 = 8;

/// One answer's weight in the mean excess over the mean.
const EXCESS_WEIGHT: u32 = 4;

/// How many times the mean excess is added to the mean, so that about nine answers in ten come
/// earlier.
const EXCESS_FACTOR: u32 = 4;

/// Requests whose answers take about the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::kora) struct Kind {
    pub(in crate::kora) endpoint: Endpoint,
    /// A screening is synchronous or asynchronous, and a read a caller's or a poll.
    pub(in crate::kora) lane: Lane,
}

impl Kind {
    /// Whether it is a read that no caller asked for.
    pub(in crate::kora) fn is_poll(self) -> bool {
        self.endpoint == Endpoint::GetScreening && self.lane == Lane::Background
    }
}

/// The estimates of one key's requests.
#[derive(Default)]
pub(super) struct AnswerTimes {
    by_kind: HashMap<Kind, AnswerTime>,
    /// Nothing can be sent, and so nothing is forgotten, before this time.
    held_until: Option<Instant>,
}

#[derive(Clone, Copy)]
struct AnswerTime {
    mean: Duration,
    excess: Duration,
    last: Instant,
}

impl AnswerTimes {
    /// An answer came after `took`.
    pub(super) fn answered(&mut self, kind: Kind, took: Duration, now: Instant) {
        let known = self.by_kind.get(&kind).copied();
        let known = known.filter(|known| self.idle(known, now) < MEMORY);
        let (mean, excess) = known.map_or((took, Duration::ZERO), |known| {
            let over = took.saturating_sub(known.mean);
            (
                moved(known.mean, took, MEAN_WEIGHT),
                moved(known.excess, over, EXCESS_WEIGHT),
            )
        });
        let last = now;
        self.by_kind.insert(kind, AnswerTime { mean, excess, last });
    }

    /// The rate limit lets nothing through until `until`.
    pub(super) fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    /// How long the next answer is expected to take; zero where nothing recent is known.
    pub(super) fn expected(&self, kind: Kind, now: Instant) -> Duration {
        self.by_kind.get(&kind).map_or(Duration::ZERO, |known| {
            let left = MEMORY.saturating_sub(self.idle(known, now));
            let estimate = known.mean + known.excess * EXCESS_FACTOR;
            estimate.mul_f64(left.div_duration_f64(MEMORY))
        })
    }

    /// How long answers could have come, and did not.
    fn idle(&self, known: &AnswerTime, now: Instant) -> Duration {
        let since = self.held_until.unwrap_or(known.last).max(known.last);
        now.saturating_duration_since(since)
    }
}

fn moved(mean: Duration, next: Duration, weight: u32) -> Duration {
    (mean * (weight - 1) + next) / weight
}
