//! What was written since the log was opened. When log time jumps over a gap before that, it does not become older.

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::log_row::State;
use crate::clock::LogMoment;

/// What was written since the log was opened.
#[derive(Debug)]
pub(super) struct Young {
    /// The events after this sequence.
    after: u64,
    /// Log time when it was opened.
    opened: Timestamp,
    /// What it was moved by so far.
    moved: SignedDuration,
}

impl Young {
    /// What is written from now on.
    pub(super) fn since(state: &State, now: &LogMoment) -> Self {
        Young {
            after: state.head.position.sequence,
            opened: now.log_time,
            moved: now.gap,
        }
    }

    /// Moves it along if log time has jumped since the last transaction.
    pub(super) fn move_along(
        &self,
        connection: &Connection,
        now: &LogMoment,
        state: &mut State,
    ) -> rusqlite::Result<()> {
        let jump = now.gap.saturating_sub(self.moved);
        if jump.is_zero() {
            return Ok(());
        }
        let milliseconds = i64::try_from(jump.as_millis()).unwrap_or(i64::MAX);
        connection.execute(
            "UPDATE events SET log_time = coalesce(log_time, receive_time) + ? WHERE sequence > ?",
            (milliseconds, self.after as i64),
        )?;
        connection.execute(
            "UPDATE request_ends SET log_time = log_time + ? WHERE has_answer IN (0, 1) AND log_time >= ?",
            (milliseconds, self.opened.as_millisecond()),
        )?;
        if state.head.position.sequence > self.after {
            let head = &mut state.head;
            head.log_time = head.log_time.checked_add(jump).unwrap_or(head.log_time);
        }
        Ok(())
    }

    /// The transaction is on disk.
    pub(super) fn moved(&mut self, now: &LogMoment) {
        self.moved = now.gap;
    }
}
