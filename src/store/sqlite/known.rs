//! Whether the log has an event with an id, and which id an event gets whose own is taken.

use rusqlite::{Connection, OptionalExtension, Row};

use super::snapshot::{COLUMNS, record_of};
use crate::{
    event::{BodyHash, LogId, are_bodies_equal},
    store::Record,
};

/// The row that has an id.
enum Kept {
    Nothing,
    Record(Record),
    /// It is not what was written, and says nothing about its event.
    Damaged,
}

/// The id under which an event with this body is kept: its own, or where an event with another body has that, one with
/// the hash of the body. `None` if the event is kept already.
pub(super) fn free_id(
    connection: &Connection,
    log_id: LogId,
    id: &str,
    raw: &[u8],
) -> rusqlite::Result<Option<String>> {
    let mut free = id.to_owned();
    let mut kept = find(connection, log_id, id)?;
    if matches!(kept, Kept::Nothing) && has_qualified(connection, id)? {
        // The first event with this id is trimmed, and this can be one of those that came after it.
        let qualified = BodyHash::of_raw(raw).qualify(id);
        let is_known = match find(connection, log_id, &qualified)? {
            Kept::Record(record) => are_bodies_equal(&record.raw, raw),
            Kept::Nothing | Kept::Damaged => false,
        };
        return Ok((!is_known).then_some(free));
    }
    loop {
        match kept {
            Kept::Nothing => return Ok(Some(free)),
            Kept::Record(record) if are_bodies_equal(&record.raw, raw) => return Ok(None),
            // Better twice than lost. A hash that collides is appended once more.
            Kept::Record(_) | Kept::Damaged => {
                free = BodyHash::of_raw(raw).qualify(&free);
                kept = find(connection, log_id, &free)?;
            }
        }
    }
}

fn find(connection: &Connection, log_id: LogId, id: &str) -> rusqlite::Result<Kept> {
    let found = connection
        .prepare_cached(&format!("{COLUMNS} WHERE event_id = ?"))?
        .query_row([id], |row| sound(row, log_id))
        .optional()?;
    Ok(match found {
        None => Kept::Nothing,
        Some(record) => record.map_or(Kept::Damaged, Kept::Record),
    })
}

/// The record of a row, if it is what was written. A damaged column need not even have its type, and must not fail the
/// transaction, in which others have their writes.
fn sound(row: &Row<'_>, log_id: LogId) -> rusqlite::Result<Option<Record>> {
    match record_of(row) {
        Ok(record) => Ok(record.and_then(|record| record.verified(log_id).ok())),
        Err(error) if error.sqlite_error_code().is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an event has this id with a hash after it.
fn has_qualified(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    let (above, below) = (format!("{id}~"), format!("{id}~g"));
    connection
        .prepare_cached("SELECT 1 FROM events WHERE event_id > ? AND event_id < ? LIMIT 1")?
        .exists([&above, &below])
}
