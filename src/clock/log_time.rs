//! The clock that the age of a log's records is measured with.

use jiff::{SignedDuration, Timestamp};

use super::{Clock, Followed, Mark, Moment};

/// Log time: a clock of one log that only elapses. Steps of the wall clock that are followed while the process runs do not
/// move it, so that they make no record older or younger. It is written beside what is kept for a while, and goes on from
/// there after a restart. Its value is no time of day.
///
/// A gap before the start of the process that is doubtful at first can turn out to be time that elapsed. Then log time jumps
/// over it, which makes what was written before the start as old as it is. What was written since has to be moved along: see
/// [`LogMoment::gap`].
#[derive(Clone, Debug)]
pub struct LogTime {
    clock: Clock,
    /// What log time is ahead of the clock's elapsed time.
    offset: SignedDuration,
    /// The gap that had been counted before.
    counted: SignedDuration,
}

/// One moment by a log's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogMoment {
    /// Gateway time.
    pub time: Timestamp,
    /// Log time.
    pub log_time: Timestamp,
    /// The sum of the steps of the wall clock that were followed as corrections so far in this process.
    pub corrections: SignedDuration,
    /// What log time has jumped over since the log was opened.
    pub gap: SignedDuration,
    /// For the next process on this machine; `None` where boots cannot be told apart.
    pub mark: Option<Mark>,
}

impl LogTime {
    /// Goes on after a record that was written at this log time, when gateway time was `time`.
    pub(super) fn after(clock: Clock, time: Timestamp, log_time: Timestamp) -> Self {
        let Moment {
            time: now,
            followed,
            ..
        } = clock.moment();
        // A record from a wrong clock can be ahead of gateway time: log time goes on from it all the same.
        let ahead = time.duration_since(now).max(SignedDuration::ZERO);
        let offset = log_time.duration_since(time).saturating_add(ahead);
        LogTime {
            offset: offset.saturating_add(followed.corrections),
            counted: followed.gap,
            clock,
        }
    }

    /// This moment.
    pub fn now(&self) -> LogMoment {
        let Moment {
            time,
            followed: Followed { corrections, gap },
            mark,
        } = self.clock.moment();
        let log_time = time.checked_add(self.offset.saturating_sub(corrections));
        LogMoment {
            time,
            // What no calendar has is no reason to delete anything.
            log_time: log_time.unwrap_or(Timestamp::MIN),
            corrections,
            gap: gap.saturating_sub(self.counted),
            mark,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::{DEFAULT_STEP_HOLD, Reading};
    use super::*;

    const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);
    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    #[test]
    fn it_goes_on_from_a_record_that_is_ahead() {
        let now = Arc::new(Mutex::new(Timestamp::UNIX_EPOCH + 40 * YEAR));
        let clock = {
            let now = Arc::clone(&now);
            Clock::from_fn(move || *now.lock().unwrap())
        };
        let ahead = clock.now() + YEAR;
        let log = clock.log_time_after(ahead, ahead);
        assert_eq!(log.now().log_time, ahead);
        *now.lock().unwrap() += HOUR;
        assert_eq!(log.now().log_time, ahead + HOUR);
    }

    #[test]
    fn a_step_that_is_followed_moves_no_log_also_not_one_that_is_opened_later() {
        let reading = Arc::new(Mutex::new(Reading {
            wall: Timestamp::UNIX_EPOCH + 40 * YEAR,
            since_boot: HOUR,
        }));
        let clock = {
            let reading = Arc::clone(&reading);
            Clock::from_readings(DEFAULT_STEP_HOLD, None, move || *reading.lock().unwrap())
        };
        let first = clock.log_time_after(clock.now(), clock.now()).now();
        let (begin, begin_log) = (first.time, first.log_time);
        assert_eq!(begin, begin_log);
        let log = clock.log_time_after(begin, begin_log);
        for step in [10 * YEAR, -20 * YEAR] {
            reading.lock().unwrap().wall += step;
            clock.now();
            let mut now = reading.lock().unwrap();
            now.wall += HOUR;
            now.since_boot += HOUR;
        }
        let LogMoment { time, log_time, .. } = log.now();
        assert_eq!(log_time.duration_since(begin_log), 2 * HOUR);
        assert_eq!(time, begin + 2 * HOUR - 10 * YEAR);
        let reopened = clock.log_time_after(time, log_time);
        let now = reopened.now();
        assert_eq!((now.time, now.log_time), (time, log_time));
    }
}
