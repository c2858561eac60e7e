//! Polls in the file, inside the writer's transaction, and the ends of screenings that they wait for.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{log_row::time, snapshot::unreadable};
use crate::{
    event::{NewEvent, reconciled_id},
    store::{Poll, Polls, ReadError, dispute::decisions_differ},
};

/// A RECONCILED event, and the webhook that came after it.
#[derive(Debug)]
pub(super) struct Superseded {
    /// The id of the event that is replaced.
    pub(super) event_id: String,
    /// Whether the two tell different ends.
    pub(super) is_disputed: bool,
}

/// Adds a poll, unless there is one or the screening has ended.
pub(super) fn add(
    connection: &Connection,
    now: Timestamp,
    (screening_id, subject_id): (String, String),
    next_poll: Timestamp,
) -> rusqlite::Result<bool> {
    if has_ended(connection, &screening_id, &subject_id)? {
        return Ok(false);
    }
    let poll = Poll {
        screening_id,
        subject_id,
        next_poll: time(next_poll.as_millisecond()),
        attempts: 0,
        create_time: time(now.as_millisecond()),
    };
    insert(connection, &poll)
}

/// Writes a poll; false if its screening has one.
pub(super) fn insert(connection: &Connection, poll: &Poll) -> rusqlite::Result<bool> {
    let added = connection
        .prepare_cached("INSERT OR IGNORE INTO polls VALUES (?, ?, ?, ?, ?, ?)")?
        .execute((
            &poll.screening_id,
            poll.next_poll.as_millisecond(),
            poll.attempts,
            poll.create_time.as_millisecond(),
            poll.checksum() as i64,
            &poll.subject_id,
        ))?;
    Ok(added > 0)
}

/// Postpones a poll, if it is still what was read.
pub(super) fn postpone(
    connection: &Connection,
    poll: Poll,
    next_poll: Timestamp,
) -> rusqlite::Result<bool> {
    let was = poll.checksum();
    let postponed = Poll {
        next_poll: time(next_poll.as_millisecond()),
        attempts: poll.attempts.saturating_add(1),
        ..poll
    };
    let changed = connection
        .prepare_cached(
            "UPDATE polls SET next_poll = ?, attempts = ?, checksum = ? \
             WHERE screening_id = ? AND checksum = ?",
        )?
        .execute((
            postponed.next_poll.as_millisecond(),
            postponed.attempts,
            postponed.checksum() as i64,
            &postponed.screening_id,
            was as i64,
        ))?;
    Ok(changed > 0)
}

/// Removes a poll; false if there is none. A damaged id need not be a text any more.
pub(super) fn remove(connection: &Connection, screening_id: &[u8]) -> rusqlite::Result<bool> {
    let removed = connection
        .prepare_cached("DELETE FROM polls WHERE screening_id = CAST(? AS TEXT)")?
        .execute([screening_id])?;
    if removed > 0 {
        return Ok(true);
    }
    // Not by the key, which has it as another type.
    let removed = connection
        .prepare_cached("DELETE FROM polls WHERE CAST(screening_id AS BLOB) = ?")?
        .execute([screening_id])?;
    Ok(removed > 0)
}

/// Removes the poll of a screening that ended with an event about this subject; false if there is none, or none of this
/// subject. Where either names no subject, it is the same.
pub(super) fn remove_ended(
    connection: &Connection,
    screening_id: &str,
    subject_id: &str,
) -> rusqlite::Result<bool> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM polls WHERE screening_id = ?1 AND (?2 = '' OR subject_id IN ('', ?2))",
        )?
        .execute([screening_id, subject_id])?;
    Ok(removed > 0)
}

/// How many there are.
pub(super) fn count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM polls", [], |row| row.get(0))
}

/// Those that are due after `latest`, and then those that are due first.
pub(super) fn read(
    connection: &Connection,
    limit: usize,
    latest: Timestamp,
) -> Result<Polls, ReadError> {
    let mut polls = Polls::default();
    // A damaged time need not be a number.
    for condition in ["(next_poll > ? OR next_poll IS NULL)", "next_poll <= ?"] {
        let mut select = connection
            .prepare_cached(&format!(
                "SELECT CAST(screening_id AS BLOB), next_poll, attempts, create_time, checksum, CAST(subject_id AS BLOB) FROM polls \
                 WHERE {condition} ORDER BY next_poll LIMIT ?"
            ))
            .map_err(unreadable(0))?;
        let room = limit.saturating_sub(polls.sound.len() + polls.damaged.len());
        let room = i64::try_from(room).unwrap_or(i64::MAX);
        let rows = select
            .query_map((latest.as_millisecond(), room), poll_of)
            .map_err(unreadable(0))?;
        for row in rows {
            match row.map_err(unreadable(0))? {
                Ok(poll) => polls.sound.push(poll),
                Err(screening_id) => polls.damaged.push(screening_id),
            }
        }
    }
    Ok(polls)
}

/// The RECONCILED event that a webhook with the end of this screening replaces, if there is one. One about another
/// subject is not replaced.
pub(super) fn superseded(
    connection: &Connection,
    screening_id: &str,
    webhook: &NewEvent,
) -> rusqlite::Result<Option<Superseded>> {
    let event_id = reconciled_id(screening_id);
    let reconciled: Option<(bool, Vec<u8>)> = connection
        .prepare_cached(
            "SELECT type, event FROM events \
             WHERE event_id = ?1 AND (?2 = '' OR subject_id IN ('', ?2))",
        )?
        .query_row([&event_id, &webhook.keys.subject_id], |row| {
            let event = row.get_ref(1)?.as_blob().unwrap_or_default();
            Ok((is_text(row, 0, &webhook.keys.kind)?, event.to_vec()))
        })
        .optional()?;
    Ok(reconciled.map(|(is_same_type, event)| Superseded {
        event_id,
        is_disputed: !is_same_type || decisions_differ(&event, &webhook.content),
    }))
}

/// Whether a column is this text. One that is damaged need not be a text at all, and must not fail the
/// transaction, in which others have their writes.
fn is_text(row: &Row<'_>, column: usize, text: &str) -> rusqlite::Result<bool> {
    let stored = row.get_ref(column)?;
    Ok(stored
        .as_bytes()
        .is_ok_and(|stored| stored == text.as_bytes()))
}

/// Whether the end of a screening of this subject is in the log. Where either names no subject, it is the same.
pub(super) fn has_ended(
    connection: &Connection,
    screening_id: &str,
    subject_id: &str,
) -> rusqlite::Result<bool> {
    // By the index over the ends alone: it is used only where its condition is repeated.
    connection
        .prepare_cached(
            "SELECT 1 FROM events WHERE screening_id = ?1 \
             AND type IN ('screening.completed', 'screening.failed') \
             AND (?2 = '' OR subject_id IN ('', ?2))",
        )?
        .exists([screening_id, subject_id])
}

/// A row as a poll, if it is what was written; else the screening's id as it is now.
fn poll_of(row: &Row<'_>) -> rusqlite::Result<Result<Poll, Vec<u8>>> {
    let screening_id = match String::from_utf8(row.get(0)?) {
        Ok(screening_id) => screening_id,
        Err(error) => return Ok(Err(error.into_bytes())),
    };
    // What is no number or no text any more is damaged, which the checksum shows.
    let number =
        |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_i64().unwrap_or_default());
    let subject_id = row.get_ref(5)?.as_bytes().unwrap_or_default();
    let poll = Poll {
        screening_id,
        subject_id: String::from_utf8_lossy(subject_id).into_owned(),
        next_poll: time(number(1)?),
        attempts: number(2)?.try_into().unwrap_or(u32::MAX),
        create_time: time(number(3)?),
    };
    Ok(match number(4)? as u64 == poll.checksum() {
        true => Ok(poll),
        false => Err(poll.screening_id.into_bytes()),
    })
}
