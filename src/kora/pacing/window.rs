//! A window of Kora's rate limit, as its answers tell it.
//!
//! Kora counts a request when it arrives, and tells in the answer what was left then (Kora docs:
//! rate-limits). Answers overtake one another, so within a window the least that was told is the latest.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use tokio::time::Instant;

use super::budget::Ticket;

/// How long a window is: limits are per minute (Kora docs: rate-limits). No end further away is believed.
pub(super) const LENGTH: Duration = Duration::from_secs(60);

/// The end is told in whole seconds; the window may last up to so much longer.
const RESET_UNIT: Duration = Duration::from_secs(1);

/// What the three headers of one answer say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    /// Requests in a window (`X-RateLimit-Limit`).
    pub(super) limit: u32,
    /// Those left when this one had been counted (`X-RateLimit-Remaining`).
    pub(super) remaining: u32,
    /// When the window ends, in Unix seconds (`X-RateLimit-Reset`). It also names the window.
    pub(super) reset: i64,
}

/// What is known of the window that was told last.
pub(super) struct Window {
    pub(super) limit: u32,
    /// The least that an answer told to be left.
    pub(super) remaining: u32,
    /// The request whose answer told it.
    pub(super) told_by: Ticket,
    /// From here on nothing is known of what is left.
    pub(super) end: Instant,
    /// Requests of ours that may have been counted in it.
    pub(super) ours: u32,
    reset: i64,
}

impl Announced {
    /// Reads the headers; `None` unless all three are there and can be read.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim());
        Some(Announced {
            limit: text("x-ratelimit-limit")?.parse().ok()?,
            remaining: text("x-ratelimit-remaining")?.parse().ok()?,
            reset: text("x-ratelimit-reset")?.parse().ok()?,
        })
    }

    /// How long the window lasts from `now` on. Clocks differ: one that is over by ours lasts a little
    /// longer, because Kora has just told of it.
    fn lasts(self, now: Timestamp) -> Duration {
        Timestamp::from_second(self.reset)
            .map_or(LENGTH, |reset| {
                Duration::try_from(reset.duration_since(now)).unwrap_or(Duration::ZERO)
            })
            .saturating_add(RESET_UNIT)
            .min(LENGTH)
    }
}

impl Window {
    /// The window that an answer tells of, `unanswered` requests of ours being on their way.
    pub(super) fn new(
        announced: Announced,
        told_by: Ticket,
        unanswered: u32,
        (now, time_of_day): (Instant, Timestamp),
    ) -> Self {
        Window {
            limit: announced.limit,
            remaining: announced.remaining,
            told_by,
            end: now + announced.lasts(time_of_day),
            ours: unanswered + 1,
            reset: announced.reset,
        }
    }

    /// Follows one more answer. A window that began before this one has nothing to say, unless this one
    /// was over when the request was sent: then its end was wrong.
    pub(super) fn told(
        &mut self,
        announced: Announced,
        told_by: Ticket,
        unanswered: u32,
        times: (Instant, Timestamp),
    ) {
        let is_same = announced.reset == self.reset;
        if announced.reset > self.reset || told_by.sent >= self.end {
            let ours = self.ours;
            *self = Window::new(announced, told_by, unanswered, times);
            if is_same {
                self.ours = ours;
            }
        } else if is_same && announced.remaining <= self.remaining {
            self.limit = announced.limit;
            self.remaining = announced.remaining;
            self.told_by = self.told_by.max(told_by);
        }
    }

    /// Whether somebody else spends the same key's budget: more is gone than we can have used.
    pub(super) fn is_shared(&self) -> bool {
        self.limit.saturating_sub(self.remaining) > self.ours
    }
}
