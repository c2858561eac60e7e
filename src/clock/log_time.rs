//! The clock that the age of a log's records is measured with.

use jiff::{SignedDuration, Timestamp};

use super::{Clock, Mark};

/// Log time: a clock of one log that only elapses. Steps of the wall clock that are followed while the process runs do not
/// move it, so that they make no record older or younger. It is written beside what is kept for a while, and goes on from
/// there after a restart. Its value is no time of day.
#[derive(Clone, Debug)]
pub struct LogTime {
    clock: Clock,
    /// What log time is ahead of the clock's elapsed time.
    offset: SignedDuration,
}

impl LogTime {
    /// Goes on after a record that was written at this log time, when gateway time was `time`.
    pub(super) fn after(clock: Clock, time: Timestamp, log_time: Timestamp) -> Self {
        let (_, followed) = clock.time_and_followed_steps();
        LogTime {
            offset: log_time.duration_since(time).saturating_add(followed),
            clock,
        }
    }

    /// The sum of the steps of the wall clock that were followed so far in this process.
    pub fn followed_steps(&self) -> SignedDuration {
        self.clock.time_and_followed_steps().1
    }

    /// This moment and its log time, for the next process on this machine; `None` where boots cannot be told apart.
    pub fn mark(&self) -> Option<(Mark, Timestamp)> {
        let (mark, followed) = self.clock.mark()?;
        Some((mark, self.at(mark.time, followed)))
    }

    /// Gateway time and log time of one moment.
    pub fn now(&self) -> (Timestamp, Timestamp) {
        let (time, followed) = self.clock.time_and_followed_steps();
        (time, self.at(time, followed))
    }

    fn at(&self, time: Timestamp, followed: SignedDuration) -> Timestamp {
        let log_time = time.checked_add(self.offset.saturating_sub(followed));
        // What no calendar has is no reason to delete anything.
        log_time.unwrap_or(Timestamp::MIN)
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
    fn a_step_that_is_followed_moves_no_log_also_not_one_that_is_opened_later() {
        let reading = Arc::new(Mutex::new(Reading {
            wall: Timestamp::UNIX_EPOCH + 40 * YEAR,
            since_boot: HOUR,
        }));
        let clock = {
            let reading = Arc::clone(&reading);
            Clock::from_readings(DEFAULT_STEP_HOLD, None, move || *reading.lock().unwrap())
        };
        let (begin, begin_log) = clock.log_time_after(clock.now(), clock.now()).now();
        assert_eq!(begin, begin_log);
        let log = clock.log_time_after(begin, begin_log);
        for step in [10 * YEAR, -20 * YEAR] {
            reading.lock().unwrap().wall += step;
            clock.now();
            let mut now = reading.lock().unwrap();
            now.wall += HOUR;
            now.since_boot += HOUR;
        }
        let (time, log_time) = log.now();
        assert_eq!(log_time.duration_since(begin_log), 2 * HOUR);
        assert_eq!(time, begin + 2 * HOUR - 10 * YEAR);
        let reopened = clock.log_time_after(time, log_time);
        assert_eq!(reopened.now(), (time, log_time));
    }
}
