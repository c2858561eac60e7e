//! How long to wait between polls.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Config;
use crate::clock::STEP_TOLERANCE;

/// By which part of itself a pause is made longer or shorter at most, so that screenings that came together are
/// not polled together for ever.
const JITTER: f64 = 0.25;

impl Config {
    /// The pause after a number of polls; `chance` is between 0 and 1.
    pub(super) fn pause(&self, polls: u32, chance: f64) -> Duration {
        let growth = 2_u32.saturating_pow(polls);
        let pause = self.first_pause.saturating_mul(growth).min(self.max_pause);
        pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance)
    }

    /// Whether a screening that was polled this many times before is polled for the last time now.
    pub(super) fn is_last_poll(&self, polls_before: u32) -> bool {
        let mut waited = Duration::ZERO;
        for polls in 0..=polls_before {
            waited = waited.saturating_add(self.pause(polls, 0.5));
            if waited >= self.max_age {
                return true;
            }
            if polls >= u32::BITS {
                // From here on all pauses are the same.
                let rest = self.max_pause.saturating_mul(polls_before - polls);
                return waited.saturating_add(rest) >= self.max_age;
            }
        }
        false
    }

    /// Further away than this no poll is due.
    pub(super) fn longest_wait(&self) -> Duration {
        2 * self.first_pause.max(self.max_pause) + CLOCK_TOLERANCE
    }
}

/// How far gateway time can go back without a step.
const CLOCK_TOLERANCE: Duration = STEP_TOLERANCE.unsigned_abs();

/// So long after `time`.
pub(super) fn after(time: Timestamp, pause: Duration) -> Timestamp {
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX);
    time.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_limit() {
        let config = Config::default();
        let pauses: Vec<_> = (0..=6).map(|polls| config.pause(polls, 0.5)).collect();
        let seconds = [30, 60, 120, 240, 480, 900, 900].map(Duration::from_secs);
        assert_eq!(pauses, seconds);
        assert_eq!(config.pause(u32::MAX, 0.5), config.max_pause);
    }

    #[test]
    fn the_last_poll_is_the_one_that_has_been_waited_for_long_enough() {
        let config = Config::default();
        let waited =
            |polls| -> Duration { (0..=polls).map(|polls| config.pause(polls, 0.5)).sum() };
        let last = (0..)
            .find(|polls| config.max_age <= waited(*polls))
            .unwrap();
        assert!((600..700).contains(&last), "{last}");
        assert!(!config.is_last_poll(0));
        assert!(!config.is_last_poll(last - 1));
        assert!(config.is_last_poll(last));
        assert!(config.is_last_poll(u32::MAX));
    }

    #[test]
    fn chance_moves_a_pause_by_no_more_than_a_quarter() {
        let config = Config::default();
        assert_eq!(config.pause(1, 0.0), Duration::from_secs(45));
        assert_eq!(config.pause(1, 1.0), Duration::from_secs(75));
    }
}
