//! How long to wait: for a stream to open, for the next message, and before coming back.

use std::time::Duration;

/// How long a stream may take from connecting to its first message, which the gateway sends at once.
const OPENING: Duration = Duration::from_secs(15);

/// The heartbeat interval of a gateway that does not tell its own: the API's default.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// The longest heartbeat interval of the API; what a gateway tells beyond it counts as it.
const MAX_HEARTBEAT: Duration = Duration::from_secs(60);

/// How many heartbeat intervals a stream may be silent: two heartbeats are missing for certain then.
const SILENT_INTERVALS: f64 = 2.5;

/// The most that the first wait before coming back can be; each further one in a row can be twice that.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// The most that any of these waits can be.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The shortest and the longest wait that a gateway can ask for.
const MIN_ASKED: Duration = Duration::from_millis(50);
const MAX_ASKED: Duration = Duration::from_secs(300);

/// The waits of a watcher.
pub(super) struct Waits {
    /// From connecting to the first message.
    pub(super) opening: Duration,
    /// The most that the first wait before coming back can be.
    pub(super) first_backoff: Duration,
    /// The most that any of these waits can be.
    pub(super) max_backoff: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Waits {
            opening: OPENING,
            first_backoff: FIRST_BACKOFF,
            max_backoff: MAX_BACKOFF,
        }
    }
}

impl Waits {
    /// How long to wait before coming back, after so many failures in a row before this one: what the
    /// gateway asked for, else anything up to a limit that grows, so that watchers who lost the same
    /// gateway do not come back all at once.
    pub(super) fn before_return(&self, failures: u32, asked: Option<Duration>) -> Duration {
        match asked.filter(|wait| !wait.is_zero()) {
            Some(wait) => wait.clamp(MIN_ASKED, MAX_ASKED),
            None => self.most(failures).mul_f64(fastrand::f64()),
        }
    }

    fn most(&self, failures: u32) -> Duration {
        self.first_backoff
            .saturating_mul(2_u32.saturating_pow(failures))
            .min(self.max_backoff)
    }
}

/// How long a stream with this heartbeat interval may be silent.
pub(super) fn silence(interval: Option<prost_types::Duration>) -> Duration {
    interval
        .and_then(|interval| Duration::try_from(interval).ok())
        .filter(|interval| !interval.is_zero())
        .unwrap_or(HEARTBEAT)
        .min(MAX_HEARTBEAT)
        .mul_f64(SILENT_INTERVALS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_gateways_wish_wins_within_limits() {
        let waits = Waits::default();
        assert_eq!(waits.before_return(9, Some(7 * SECOND)), 7 * SECOND);
        assert_eq!(
            waits.before_return(0, Some(Duration::from_nanos(1))),
            MIN_ASKED
        );
        assert_eq!(waits.before_return(0, Some(Duration::MAX)), MAX_ASKED);
    }

    #[test]
    fn the_limit_grows_to_its_own_limit() {
        let waits = Waits::default();
        assert_eq!(waits.most(0), FIRST_BACKOFF);
        assert_eq!(waits.most(1), 2 * FIRST_BACKOFF);
        assert_eq!(waits.most(2), 4 * FIRST_BACKOFF);
        assert_eq!(waits.most(6), MAX_BACKOFF);
        assert_eq!(waits.most(u32::MAX), MAX_BACKOFF);
    }

    #[test]
    fn waits_differ_and_stay_within_the_limit() {
        let waits = Waits::default();
        let drawn: Vec<_> = (0..100).map(|_| waits.before_return(3, None)).collect();
        assert!(drawn.iter().all(|wait| *wait <= waits.most(3)));
        assert!(
            drawn.iter().any(|wait| *wait != drawn[0]),
            "all are the same"
        );
        let zero = (0..100).map(|_| waits.before_return(3, Some(Duration::ZERO)));
        assert!(zero.into_iter().any(|wait| wait > MIN_ASKED), "no wish");
    }

    #[test]
    fn silence_is_measured_in_the_streams_own_heartbeats() {
        let interval = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        assert_eq!(silence(interval(10)), 25 * SECOND);
        assert_eq!(silence(interval(3600)), 150 * SECOND);
        for none in [None, interval(0), interval(-1)] {
            assert_eq!(silence(none), 50 * SECOND);
        }
    }
}
