//! How long a call would wait for its turn.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    budget::{Budget, SETTLED},
    window::LENGTH,
};

/// The forecast starts where the budget stands, and takes it that answers go on as they came.
impl Budget {
    /// How long a call waits that `ahead` others go before.
    pub(super) fn wait(&self, ahead: u32, now: Instant) -> Duration {
        let on_their_way = self.unsettled(now);
        if let Some(until) = self.refused_until {
            let ahead = ahead + on_their_way;
            return until.saturating_duration_since(now) + self.one_by_one(ahead, u32::MAX, now);
        }
        let Some(window) = &self.window else {
            return Duration::ZERO;
        };
        let (start, ahead) = match self.expected(window) {
            _ if now >= window.end => (Duration::ZERO, ahead + on_their_way),
            left if ahead < left => {
                let (ahead, left) = (ahead + on_their_way, left.saturating_add(on_their_way));
                return match self.is_fresh(window, now) {
                    true => self.rounds(ahead, left, now),
                    false => self.one_by_one(ahead, left, now),
                };
            }
            left => (window.end - now, ahead - left),
        };
        let limit = window.limit.max(1);
        start + LENGTH * (ahead / limit) + self.one_by_one(ahead % limit, limit, now)
    }

    /// The time between two sendings while there is room for one.
    pub(super) fn step(&self) -> Duration {
        self.answer_time.min(SETTLED)
    }

    /// Nothing recent is known of `left`: one at a time, until the first answer.
    fn one_by_one(&self, ahead: u32, left: u32, now: Instant) -> Duration {
        let until_known = self.answer_time.div_duration_f64(SETTLED).ceil().max(1.0) as u32;
        match ahead < until_known {
            true => self.step() * ahead,
            false => {
                let left = left.saturating_sub(until_known);
                self.answer_time + self.rounds(ahead - until_known, left, now)
            }
        }
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
