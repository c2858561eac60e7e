//! What a log does not keep any longer.

use jiff::Timestamp;
use rusqlite::Connection;

use super::log_row::{End, SELECT_END, State, sound_end, write_log_row};
use crate::event::LogId;

/// How many records one transaction removes at most, so that appends do not wait for long.
const STEP: u64 = 512;

/// How many bytes of them, unless one alone has more.
const STEP_BYTES: u64 = 16 << 20;

/// What a log keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Records written before this log time are not kept.
    pub(super) oldest: Timestamp,
    /// How many bytes of events are kept.
    pub(super) bytes: u64,
}

/// What one transaction removed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Removed {
    /// How many records.
    pub(super) count: u64,
    /// Whether the next transaction may find more.
    pub(super) has_more: bool,
}

/// Removes records from the old end up to `last` where a limit asks for it, some at a time. The newest record always stays:
/// it shows how far the log and its time are.
pub(super) fn trim(
    connection: &Connection,
    id: LogId,
    state: &mut State,
    limits: Limits,
    last: u64,
) -> rusqlite::Result<Removed> {
    let Some((trimmed, has_more)) = new_end(connection, state, limits, last)? else {
        return Ok(Removed::default());
    };
    connection
        .prepare_cached("DELETE FROM events WHERE sequence <= ?")?
        .execute([trimmed.position.sequence as i64])?;
    write_log_row(connection, id, &trimmed)?;
    let count = trimmed.position.sequence - state.trimmed.position.sequence;
    state.trimmed = trimmed;
    Ok(Removed { count, has_more })
}

/// The newest record to remove, and whether only the bound of a step kept it from being a newer one. It is taken as it is
/// stored: a damaged record must not stay for ever.
fn new_end(
    connection: &Connection,
    state: &State,
    limits: Limits,
    last: u64,
) -> rusqlite::Result<Option<(End, bool)>> {
    let first = state.trimmed.position.sequence + 1;
    let newest = state.head.position.sequence;
    let removable = last.min(newest.saturating_sub(1));
    let last = removable.min(first + STEP - 1);
    let enough = state.trimmed.end_offset.saturating_add(STEP_BYTES);
    let mut select = connection.prepare_cached(&format!(
        "{SELECT_END} WHERE sequence >= ? AND sequence <= ? ORDER BY sequence"
    ))?;
    let mut rows = select.query([first as i64, last as i64])?;
    let (mut end, mut kept_from) = (None, state.trimmed.end_offset);
    let mut has_more = last < removable;
    while let Some(row) = rows.next()? {
        // A damaged one goes together with the next sound one.
        let Some(record) = sound_end(row)? else {
            continue;
        };
        let is_too_old = record.log_time < limits.oldest;
        let is_too_much = state.head.end_offset.saturating_sub(kept_from) > limits.bytes;
        if !is_too_old && !is_too_much {
            has_more = false;
            break;
        }
        if end.is_some() && record.end_offset > enough {
            has_more = true;
            break;
        }
        kept_from = record.end_offset;
        end = Some(record);
    }
    Ok(end.map(|end| (end, has_more)))
}
