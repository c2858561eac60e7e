//! One event into the file, inside the writer's transaction.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    log_row::{State, time},
    transaction::Terms,
};
use crate::{
    event::{Identity, NewEvent},
    store::{
        Record,
        record::{FORMAT, body_id_prefix},
    },
};

/// Appends the event after the head of `state`, unless it is there. Not visible to anybody until the
/// transaction is committed.
pub(super) fn append(
    connection: &Connection,
    terms: Terms,
    state: &mut State,
    mut event: NewEvent,
) -> rusqlite::Result<Option<Record>> {
    // As the file keeps it, so that memory and disk tell the same time. The clock can be set back; a log's
    // time never goes back.
    let receive_time = time(terms.now.as_millisecond()).max(state.head.receive_time);
    if let Identity::Vendor(id) = &event.identity {
        match is_of_type(connection, id, &event.keys.kind)? {
            None => {}
            Some(true) => return Ok(None),
            // An id that two types share is no event's own: better twice than lost.
            Some(false) => event.identity = event.body_identity(),
        }
    }
    if let Identity::Body(hash) = &event.identity
        && has_body_since(connection, hash, receive_time, terms.dedup_window)?
    {
        return Ok(None);
    }
    let last = (state.head.position.sequence, state.head.end_offset);
    let record = Record::seal(terms.log_id, last, receive_time, event);
    insert(connection, &record)?;
    state.head = (&record).into();
    Ok(Some(record))
}

/// Whether the event with this id is of this type, if there is one.
pub(super) fn is_of_type(
    connection: &Connection,
    event_id: &str,
    kind: &str,
) -> rusqlite::Result<Option<bool>> {
    connection
        .prepare_cached("SELECT type FROM events WHERE event_id = ?")?
        .query_row([event_id], |row| is_text(row, 0, kind))
        .optional()
}

/// Whether a column is this text. One that is damaged need not be a text at all, and must not fail the
/// transaction, in which others have their writes.
pub(super) fn is_text(row: &Row<'_>, column: usize, text: &str) -> rusqlite::Result<bool> {
    let stored = row.get_ref(column)?;
    Ok(stored
        .as_bytes()
        .is_ok_and(|stored| stored == text.as_bytes()))
}

/// The ids of a body's events differ only in their time, which the newest has last.
fn has_body_since(
    connection: &Connection,
    hash: &[u8; 32],
    now: Timestamp,
    window: Duration,
) -> rusqlite::Result<bool> {
    let prefix = body_id_prefix(hash);
    let above_all_times = format!("{prefix}:");
    let newest: Option<i64> = connection
        .prepare_cached(
            "SELECT receive_time FROM events WHERE event_id > ? AND event_id < ? \
             ORDER BY event_id DESC LIMIT 1",
        )?
        .query_row([&prefix, &above_all_times], |row| row.get(0))
        .optional()?;
    let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX).max(1);
    Ok(newest.is_some_and(|newest| now.as_millisecond() - newest < window))
}

/// Writes a row.
pub(super) fn insert(connection: &Connection, record: &Record) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
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
        ))?;
    Ok(())
}
