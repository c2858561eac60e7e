//! How much may be sent now.
//!
//! What is left is what Kora told last, less the requests that it may not have counted by then. That is
//! certain for one gateway alone. Other gateways with the same key can spend what is left meanwhile, so
//! only a share of it is ever on its way uncounted, and few requests where nothing recent is known (see
//! [`opening`](super::opening)). The end of a window is then found one request at a time, which costs each
//! gateway one refusal at most.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    super::retry_hint::{answered_at, until_rate_limit_allows},
    window::{Announced, LENGTH, Window},
};

/// A request sent longer ago than this has been counted by Kora, answered or not. What was told longer ago
/// is out of date where others spend too.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// The share of what is left that may be on its way uncounted: one in so many, nobody else being seen.
const SHARE_ALONE: u32 = 2;

/// The same while others are seen: room for as many gateways.
const SHARE_WITH_OTHERS: u32 = 16;

/// For how long others who were seen are reckoned with.
const OTHERS_REMEMBERED: Duration = Duration::from_secs(600);

/// One answer's weight in the mean time of an answer: one in so many.
const ANSWER_TIME_WEIGHT: u32 = 8;

/// A request that got its turn, in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    number: u64,
    pub(super) sent: Instant,
}

/// The state of the key's budget. Every method takes the time.
#[derive(Default)]
pub(super) struct Budget {
    /// `None` before the first headers: nothing is held back.
    pub(super) window: Option<Window>,
    /// Requests without an answer; true: none will come.
    open: BTreeMap<Ticket, bool>,
    last_number: u64,
    /// A refusal that the window does not explain: nothing before this time, then one at a time until an
    /// answer shows that it is over.
    pub(super) refused_until: Option<Instant>,
    others_seen: Option<Instant>,
    /// The mean time from sending to the answer.
    pub(super) answer_time: Duration,
}

impl Budget {
    /// Takes one unit.
    pub(super) fn spend(&mut self, now: Instant) -> Ticket {
        self.forget_lost(now);
        self.last_number += 1;
        let ticket = Ticket {
            number: self.last_number,
            sent: now,
        };
        self.open.insert(ticket, false);
        if let Some(window) = &mut self.window {
            window.ours = window.ours.saturating_add(1);
        }
        ticket
    }

    /// The request was certainly not sent.
    pub(super) fn give_back(&mut self, ticket: Ticket) {
        if self.open.remove(&ticket).is_some()
            && let Some(window) = &mut self.window
        {
            window.ours = window.ours.saturating_sub(1);
        }
    }

    /// No answer will come; it counts as spent.
    pub(super) fn lost(&mut self, ticket: Ticket) {
        if let Some(is_lost) = self.open.get_mut(&ticket) {
            *is_lost = true;
        }
    }

    /// Follows an answer.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        status: StatusCode,
        headers: &HeaderMap,
        (now, time_of_day): (Instant, Timestamp),
    ) {
        self.open.remove(&ticket);
        let times = (now, answered_at(headers, time_of_day));
        self.answer_time = match (self.answer_time, now - ticket.sent) {
            (Duration::ZERO, first) => first,
            (mean, took) => (mean * (ANSWER_TIME_WEIGHT - 1) + took) / ANSWER_TIME_WEIGHT,
        };
        let announced = Announced::read(headers);
        let is_refused = status == StatusCode::TOO_MANY_REQUESTS;
        let unanswered = u32::try_from(self.open.len()).unwrap_or(u32::MAX - 1);
        match (&mut self.window, announced) {
            (Some(window), Some(announced)) => {
                window.told(announced, ticket, unanswered, times);
            }
            (None, Some(announced)) => {
                self.window = Some(Window::new(announced, ticket, unanswered, times));
            }
            // Kora does not tell any more.
            (Some(window), None) if status.is_success() && ticket.sent >= window.end => {
                self.window = None;
            }
            (_, None) => {}
        }
        if let Some(window) = self.window.as_mut().filter(|_| is_refused) {
            window.ours = window.ours.saturating_sub(1);
        }
        if self.window.as_ref().is_some_and(Window::is_shared) {
            self.others_seen = Some(now);
        }
        let is_spent = announced.is_some_and(|announced| announced.remaining == 0);
        if is_refused && !is_spent {
            // The window has not said until when.
            let until = now + until_rate_limit_allows(headers, time_of_day).min(LENGTH);
            self.refused_until = self.refused_until.max(Some(until));
        } else if self.refused_until.is_some_and(|until| ticket.sent >= until) {
            self.refused_until = None;
        }
        self.forget_lost(now);
    }

    /// When the next request may be sent, if nothing is answered before; not after `now`: at once.
    pub(super) fn opens(&self, now: Instant) -> Instant {
        if let Some(closed) = self.spent_until(now) {
            return closed;
        }
        let at_a_time = match &self.window {
            _ if self.refused_until.is_some() => 1,
            None => return now,
            Some(window) if now >= window.end => return self.opens_next_window(window, now),
            Some(window) => match window.remaining.saturating_sub(self.uncounted(window)) {
                0 => return window.end,
                left => {
                    let left = left + self.unsettled(now);
                    if self.is_fresh(window, now) {
                        self.share(left, now)
                    } else {
                        self.reopening(window.limit, left, now).at_once
                    }
                }
            },
        };
        self.last_but(at_a_time).map_or(now, |sent| sent + SETTLED)
    }

    /// Until when nothing can be sent, whatever is answered.
    pub(super) fn spent_until(&self, now: Instant) -> Option<Instant> {
        if let Some(until) = self.refused_until.filter(|until| now < *until) {
            return Some(until);
        }
        let window = self.window.as_ref().filter(|window| now < window.end)?;
        (self.expected(window) == 0).then_some(window.end)
    }

    /// What is left, as far as is known; 0 before the first headers.
    pub(super) fn left(&self) -> u32 {
        self.window
            .as_ref()
            .map_or(0, |window| self.expected(window))
    }

    /// What is left of the window if Kora counts requests in the order in which they were sent.
    pub(super) fn expected(&self, window: &Window) -> u32 {
        let later = self.open.keys().rev();
        let later = later.take_while(|ticket| **ticket > window.told_by).count();
        window.remaining.saturating_sub(later as u32)
    }

    /// How many may be on their way uncounted, of so many that are left.
    pub(super) fn share(&self, left: u32, now: Instant) -> u32 {
        let share = match self.is_alone(now) {
            true => SHARE_ALONE,
            false => SHARE_WITH_OTHERS,
        };
        (left / share).max(1)
    }

    /// Requests that Kora may not have counted yet.
    pub(super) fn unsettled(&self, now: Instant) -> u32 {
        self.open_since(now)
    }

    /// Whether what the window told is recent. Alone, it is if nothing more recent can be had.
    pub(super) fn is_fresh(&self, window: &Window, now: Instant) -> bool {
        let horizon = match self.is_alone(now) {
            true => SETTLED.max(2 * self.answer_time),
            false => SETTLED,
        };
        now < window.told_by.sent + horizon
    }

    /// When the last but `count` - 1 of the unanswered requests was sent.
    pub(super) fn last_but(&self, count: u32) -> Option<Instant> {
        let before = self.open.keys().rev().nth(count as usize - 1)?;
        Some(before.sent)
    }

    /// Unanswered requests that were sent at `time` or later.
    pub(super) fn sent_since(&self, time: Instant) -> u32 {
        let open = self.open.keys().rev();
        open.take_while(|ticket| ticket.sent >= time).count() as u32
    }

    pub(super) fn is_alone(&self, now: Instant) -> bool {
        self.others_seen
            .is_none_or(|seen| now > seen + OTHERS_REMEMBERED)
    }

    /// Requests that Kora may not have counted when it told what is left.
    fn uncounted(&self, window: &Window) -> u32 {
        self.open_since(window.told_by.sent)
    }

    /// Open requests that were not settled at `time`.
    fn open_since(&self, time: Instant) -> u32 {
        let open = self.open.keys().rev();
        open.take_while(|ticket| ticket.sent + SETTLED > time)
            .count() as u32
    }

    /// Lost requests that what is known of the window includes, or of a window that is over.
    fn forget_lost(&mut self, now: Instant) {
        let counted = match &self.window {
            Some(window) if now < window.end => window.told_by.sent,
            _ => now,
        };
        self.open
            .retain(|ticket, is_lost| !*is_lost || ticket.sent + SETTLED > counted);
    }
}
