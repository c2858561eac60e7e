//! How long to wait between polls.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Config;

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
}

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
    fn chance_moves_a_pause_by_no_more_than_a_quarter() {
        let config = Config::default();
        assert_eq!(config.pause(1, 0.0), Duration::from_secs(45));
        assert_eq!(config.pause(1, 1.0), Duration::from_secs(75));
    }
}
