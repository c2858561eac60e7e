//! How long a call would wait for its turn.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    budget::{Budget, SETTLED},
    opening::Pace,
    window::LENGTH,
};

/// The forecast starts where the budget stands, and takes it that answers go on as they came.
impl Budget {
    /// How long a call waits that `ahead` others go before.
    pub(super) fn wait(&self, ahead: u32, now: Instant) -> Duration {
        let on_their_way = self.unsettled(now);
        if let Some(until) = self.refused_until {
            let wait = self.until_known(ahead + on_their_way, u32::MAX, Pace::SINGLE, now);
            return until.saturating_duration_since(now) + wait;
        }
        let Some(window) = &self.window else {
            return Duration::ZERO;
        };
        let limit = window.limit.max(1);
        if now >= window.end {
            let pace = self.opening(limit, now - window.end, now);
            let sent = self.sent_since(window.end);
            let before = if pace.then < pace.at_once { sent } else { 0 };
            return self.until_known(ahead + on_their_way.max(before), limit, pace, now);
        }
        let left = self.expected(window);
        if ahead < left {
            let (ahead, left) = (ahead + on_their_way, left.saturating_add(on_their_way));
            return if self.is_fresh(window, now) {
                self.rounds(ahead, left, now)
            } else {
                self.until_known(ahead, left, self.reopening(limit, left, now), now)
            };
        }
        let ahead = ahead - left;
        let pace = self.opening(limit, Duration::ZERO, now);
        let in_window = self.until_known(ahead % limit, limit, pace, now);
        window.end - now + LENGTH * (ahead / limit) + in_window
    }

    /// The time between two sendings while there is room for one.
    pub(super) fn step(&self) -> Duration {
        self.answer_time.min(SETTLED)
    }

    /// Nothing recent is known of `left`: at this pace until the first answer.
    fn until_known(&self, ahead: u32, left: u32, pace: Pace, now: Instant) -> Duration {
        if ahead < pace.at_once {
            return Duration::ZERO;
        }
        let steps_until_known = self.answer_time.div_duration_f64(SETTLED).ceil().max(1.0) as u32;
        let steps = (ahead - pace.at_once) / pace.then + 1;
        if steps < steps_until_known {
            return self.step() * steps;
        }
        let sent = pace.at_once + (steps_until_known - 1).saturating_mul(pace.then);
        self.answer_time + self.rounds(ahead - sent, left.saturating_sub(sent), now)
    }

    /// As many as may be on their way at once, then the next as many.
    fn rounds(&self, mut ahead: u32, mut left: u32, now: Instant) -> Duration {
        let mut wait = Duration::ZERO;
        loop {
            let round = self.share(left, now);
            if ahead < round {
                return wait;
            }
            wait += self.step();
            ahead -= round;
            left = left.saturating_sub(round);
        }
    }
}
