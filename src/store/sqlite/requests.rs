//! Request records in the file: the writer begins and ends them, readers look them up.

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    log_row::time,
    request_row::{Damaged, SELECT, insert_end, insert_request, verified},
    snapshot::unreadable,
};
use crate::store::{Begun, Ending, Intent, ReadError, RequestKey, StoredRequest, StoredState};

/// How many records one transaction removes at most, so that others do not wait for long.
const STEP: i64 = 512;

/// A record, and where it is.
struct Found {
    number: i64,
    record: Result<StoredRequest, Damaged>,
}

/// Records an intent, unless there is a record that stands in its way. Not durable until the transaction is
/// committed.
pub(super) fn begin(
    connection: &Connection,
    now: Timestamp,
    intent: Intent,
) -> rusqlite::Result<Begun> {
    if let Some(Found { number, record }) = find(connection, &intent.key)? {
        let Ok(record) = record else {
            return Ok(Begun::Damaged);
        };
        if record.state != StoredState::MayBeRepeated || record.content != intent.content {
            return Ok(Begun::Found(record));
        }
        remove(connection, number)?;
    }
    let record = StoredRequest {
        key: intent.key,
        content: intent.content,
        attempt: intent.attempt,
        state: StoredState::InFlight,
        answer: Bytes::new(),
        create_time: time(now.as_millisecond()),
        finish_time: None,
        is_held_elsewhere: false,
    };
    insert_request(connection, &record, record.checksum())?;
    Ok(Begun::New)
}

/// Records how an attempt ended, if it is still the one that is recorded.
pub(super) fn finish(
    connection: &Connection,
    now: Timestamp,
    ending: Ending,
) -> rusqlite::Result<bool> {
    let Some(Found { number, record }) = find(connection, &ending.key)? else {
        return Ok(false);
    };
    let Ok(begun) = record else {
        return Ok(false);
    };
    if begun.attempt != ending.attempt || begun.state != StoredState::InFlight {
        return Ok(false);
    }
    let record = StoredRequest {
        state: ending.state,
        answer: ending.answer,
        finish_time: Some(time(now.as_millisecond())),
        ..begun
    };
    insert_end(connection, number, &record, now)?;
    Ok(true)
}

/// Removes records that were begun before `oldest`, some at a time. Returns how many.
pub(super) fn trim(connection: &Connection, oldest: Timestamp) -> rusqlite::Result<u64> {
    let numbers: Vec<i64> = connection
        .prepare_cached(
            "SELECT number FROM requests WHERE create_time < ? ORDER BY create_time LIMIT ?",
        )?
        .query_map((oldest.as_millisecond(), STEP), |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for number in &numbers {
        remove(connection, *number)?;
    }
    Ok(numbers.len() as u64)
}

fn remove(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    for delete in [
        "DELETE FROM request_ends WHERE number = ?",
        "DELETE FROM requests WHERE number = ?",
    ] {
        connection.prepare_cached(delete)?.execute([number])?;
    }
    Ok(())
}

/// Reads a record for whoever asks for it.
pub(super) fn read(
    connection: &Connection,
    key: &RequestKey,
) -> Result<Option<StoredRequest>, ReadError> {
    let found = find(connection, key).map_err(unreadable(0))?;
    let record = found.map(|found| found.record).transpose();
    record.map_err(ReadError::from)
}

/// Hands over all records, until one is not taken.
pub(super) fn for_each(
    connection: &Connection,
    mut takes: impl FnMut(StoredRequest) -> bool,
) -> Result<(), ReadError> {
    let mut select = connection
        .prepare(&format!("{SELECT} ORDER BY number"))
        .map_err(unreadable(0))?;
    let mut rows = select.query([]).map_err(unreadable(0))?;
    while let Some(row) = rows.next().map_err(unreadable(0))? {
        let record = verified(row).map_err(unreadable(0))??;
        if !takes(record) {
            break;
        }
    }
    Ok(())
}

fn find(connection: &Connection, key: &RequestKey) -> rusqlite::Result<Option<Found>> {
    let found = |row: &Row<'_>| {
        Ok(Found {
            number: row.get(10)?,
            record: verified(row)?,
        })
    };
    connection
        .prepare_cached(&format!("{SELECT} WHERE request_id = ? AND caller = ?"))?
        .query_row((key.request_id.as_bytes(), &key.caller), found)
        .optional()
}
