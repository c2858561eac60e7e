//! One event into the file, inside the writer's transaction.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::{
    known::free_id,
    log_row::{End, SELECT_END, State, sound_end, time},
    transaction::Terms,
};
use crate::{
    event::{Identity, NewEvent},
    store::{
        Record,
        record::{FORMAT, body_id_prefix, receive_time},
    },
};

/// An event that was appended.
pub(super) struct Inserted {
    pub(super) record: Record,
    /// Whether an event with another body had its id.
    pub(super) has_id_conflict: bool,
}

/// Appends the event after the head of `state`, unless it is there. Not visible to anybody until the
/// transaction is committed.
pub(super) fn append(
    connection: &Connection,
    terms: Terms,
    state: &mut State,
    mut event: NewEvent,
) -> rusqlite::Result<Option<Inserted>> {
    let log_time = time(terms.log_time.as_millisecond()).max(state.head.log_time);
    let mut has_id_conflict = false;
    if let Identity::Vendor(id) = &event.identity {
        let Some(free) = free_id(connection, terms.log_id, id, &event.raw)? else {
            return Ok(None);
        };
        has_id_conflict = free != *id;
        event.identity = Identity::Vendor(free);
    }
    if let Identity::Body(hash) = &event.identity
        && let Some(newest) = newest_of_body(connection, hash)?
        && is_within(terms.dedup_window, newest.log_time, log_time)
    {
        return Ok(None);
    }
    let receive_time = receive_time(terms.now, state.head.receive_time, &event.identity);
    let last = (state.head.position.sequence, state.head.end_offset);
    let record = Record::seal(terms.log_id, last, receive_time, event);
    insert(connection, &record, log_time)?;
    state.head = End::after(&record, log_time);
    Ok(Some(Inserted {
        record,
        has_id_conflict,
    }))
}

/// The newest event that is known by the hash of its body. The ids of those differ only in their time, which the newest has
/// last.
fn newest_of_body(connection: &Connection, hash: &[u8; 32]) -> rusqlite::Result<Option<End>> {
    let prefix = body_id_prefix(hash);
    let above_all_times = format!("{prefix}:");
    connection
        .prepare_cached(&format!(
            "{SELECT_END} WHERE event_id > ? AND event_id < ? ORDER BY event_id DESC LIMIT 1"
        ))?
        .query_row([&prefix, &above_all_times], sound_end)
        .optional()
        .map(Option::flatten)
}

fn is_within(window: Duration, since: Timestamp, now: Timestamp) -> bool {
    let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX).max(1);
    now.as_millisecond() - since.as_millisecond() < window
}

/// Writes a row.
pub(super) fn insert(
    connection: &Connection,
    record: &Record,
    log_time: Timestamp,
) -> rusqlite::Result<()> {
    let log_time = (log_time != record.receive_time).then(|| log_time.as_millisecond());
    connection
        .prepare_cached("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute((
            record.sequence as i64,
            record.receive_time.as_millisecond(),
            record.end_offset as i64,
            &record.event_id,
            &record.keys.kind,
            &record.keys.screening_id,
            &record.keys.subject_id,
            FORMAT,
            &record.event[..],
            &record.raw[..],
            record.checksum as i64,
            log_time,
        ))?;
    Ok(())
}
