//! Kora's rate limit: so many requests a minute for one API key.
//!
//! Kora does not say how its windows run. Here they are the minutes of the clock.

/// Requests a minute, the number of Kora's highest tier (Kora docs: rate-limits).
pub(super) const REQUESTS_PER_MINUTE: u32 = 10_000;

/// Length of a window, in seconds.
const WINDOW_SECONDS: u64 = 60;

/// The use of the current window. Every method takes the time, in Unix seconds.
#[derive(Debug, Default)]
pub(super) struct Window {
    minute: u64,
    used: u32,
}

impl Window {
    /// Counts one request. `false` when the window has none left.
    pub(super) fn spend(&mut self, now: u64) -> bool {
        self.turn(now);
        if self.used == REQUESTS_PER_MINUTE {
            return false;
        }
        self.used += 1;
        true
    }

    /// Requests left in the window.
    pub(super) fn remaining(&mut self, now: u64) -> u32 {
        self.turn(now);
        REQUESTS_PER_MINUTE - self.used
    }

    /// When the window ends, in Unix seconds. Always later than `now`.
    pub(super) fn reset(now: u64) -> u64 {
        (now / WINDOW_SECONDS + 1) * WINDOW_SECONDS
    }

    fn turn(&mut self, now: u64) {
        let minute = now / WINDOW_SECONDS;
        if minute != self.minute {
            *self = Self { minute, used: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_its_limit_and_no_more() {
        let mut window = Window::default();
        for spent in 1..=REQUESTS_PER_MINUTE {
            assert!(window.spend(600));
            assert_eq!(window.remaining(600), REQUESTS_PER_MINUTE - spent);
        }
        assert!(!window.spend(659));
        assert_eq!(window.remaining(659), 0);
    }

    #[test]
    fn the_next_minute_is_a_new_window() {
        let mut window = Window::default();
        while window.spend(659) {}
        assert_eq!(Window::reset(659), 660);
        assert!(window.spend(660));
        assert_eq!(window.remaining(660), REQUESTS_PER_MINUTE - 1);
        assert_eq!(Window::reset(660), 720);
    }
}
