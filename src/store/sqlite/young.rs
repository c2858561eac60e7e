//! What was written since the log was opened. When log time jumps over a gap before that, it does not become older.

use jiff::SignedDuration;
use rusqlite::Connection;

use super::log_row::State;
use crate::clock::LogMoment;

/// The records since the log was opened.
#[derive(Debug)]
pub(super) struct Young {
    /// They are those after this sequence.
    after: u64,
    /// What they were moved by so far.
    moved: SignedDuration,
}

impl Young {
    /// Those after the newest record.
    pub(super) fn after(state: &State) -> Self {
        Young {
            after: state.head.position.sequence,
            moved: SignedDuration::ZERO,
        }
    }

    /// Moves them along if log time has jumped since the last transaction. The mark is written in the same one: a step is
    /// followed.
    pub(super) fn move_along(
        &self,
        connection: &Connection,
        now: &LogMoment,
        state: &mut State,
    ) -> rusqlite::Result<()> {
        let jump = now.gap.saturating_sub(self.moved);
        if jump.is_zero() || state.head.position.sequence <= self.after {
            return Ok(());
        }
        let milliseconds = i64::try_from(jump.as_millis()).unwrap_or(i64::MAX);
        connection.execute(
            "UPDATE events SET log_time = coalesce(log_time, receive_time) + ? WHERE sequence > ?",
            (milliseconds, self.after as i64),
        )?;
        let head = &mut state.head;
        head.log_time = head.log_time.checked_add(jump).unwrap_or(head.log_time);
        Ok(())
    }

    /// The transaction is on disk.
    pub(super) fn moved(&mut self, now: &LogMoment) {
        self.moved = now.gap;
    }
}
