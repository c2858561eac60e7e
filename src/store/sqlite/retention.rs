//! What a log does not keep any longer.

use jiff::Timestamp;
use rusqlite::Connection;

use super::log_row::{End, SELECT_END, State, sound_end, write_log_row};
use crate::event::LogId;

/// How many records one transaction removes at most, so that appends do not wait for long.
const STEP: u64 = 512;

/// What a log keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Records written before this log time are not kept.
    pub(super) oldest: Timestamp,
    /// How many bytes of events are kept.
    pub(super) bytes: u64,
}

/// Removes records from the old end up to `last` where a limit asks for it, some at a time. Returns how many. The newest
/// record always stays: it shows how far the log and its time are.
pub(super) fn trim(
    connection: &Connection,
    id: LogId,
    state: &mut State,
    limits: Limits,
    last: u64,
) -> rusqlite::Result<u64> {
    let Some(trimmed) = new_end(connection, state, limits, last)? else {
        return Ok(0);
    };
    connection
        .prepare_cached("DELETE FROM events WHERE sequence <= ?")?
        .execute([trimmed.position.sequence as i64])?;
    write_log_row(connection, id, &trimmed)?;
    let removed = trimmed.position.sequence - state.trimmed.position.sequence;
    state.trimmed = trimmed;
    Ok(removed)
}

/// The newest record to remove. It is taken as it is stored: a damaged record must not stay for ever.
fn new_end(
    connection: &Connection,
    state: &State,
    limits: Limits,
    last: u64,
) -> rusqlite::Result<Option<End>> {
    let first = state.trimmed.position.sequence + 1;
    let newest = state.head.position.sequence;
    let last = last.min(first + STEP - 1).min(newest.saturating_sub(1));
    let mut select = connection.prepare_cached(&format!(
        "{SELECT_END} WHERE sequence >= ? AND sequence <= ? ORDER BY sequence"
    ))?;
    let mut rows = select.query([first as i64, last as i64])?;
    let (mut end, mut kept_from) = (None, state.trimmed.end_offset);
    while let Some(row) = rows.next()? {
        // A damaged one goes together with the next sound one.
        let Some(record) = sound_end(row)? else {
            continue;
        };
        let is_too_old = record.log_time < limits.oldest;
        let is_too_much = state.head.end_offset.saturating_sub(kept_from) > limits.bytes;
        if !is_too_old && !is_too_much {
            break;
        }
        kept_from = record.end_offset;
        end = Some(record);
    }
    Ok(end)
}
