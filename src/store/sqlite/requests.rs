//! Request records in the file: the writer begins and ends them, readers look them up.

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use uuid::Uuid;

use super::{log_row::time, snapshot::unreadable};
use crate::store::{
    Begun, Ending, Intent, ReadError, RequestContent, RequestKey, StoredRequest, StoredState,
};

/// How many records one transaction removes at most, so that others do not wait for long.
const STEP: i64 = 512;

const SELECT: &str = "\
    SELECT caller, request_id, rpc, fingerprint, attempt, state, answer, create_time, finish_time, \
           coalesce(request_ends.checksum, requests.checksum), number \
    FROM requests LEFT JOIN request_ends USING (number) WHERE request_id = ? AND caller = ?";

/// A record that is not what was written.
pub(super) struct Damaged;

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
    connection
        .prepare_cached("INSERT INTO requests VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)")?
        .execute((
            &record.key.caller,
            record.key.request_id.as_bytes(),
            &record.content.rpc,
            record.content.fingerprint,
            record.attempt.as_bytes(),
            record.create_time.as_millisecond(),
            record.checksum() as i64,
        ))?;
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
    connection
        .prepare_cached("INSERT INTO request_ends VALUES (?, ?, ?, ?, ?)")?
        .execute((
            number,
            record.state.number(),
            &record.answer[..],
            now.as_millisecond(),
            record.checksum() as i64,
        ))?;
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
    record.map_err(|Damaged| ReadError::Corrupt {
        sequence: 0,
        what: "a request record differs from its checksum",
    })
}

fn find(connection: &Connection, key: &RequestKey) -> rusqlite::Result<Option<Found>> {
    let found = |row: &Row<'_>| {
        Ok(Found {
            number: row.get(10)?,
            record: verified(row)?,
        })
    };
    connection
        .prepare_cached(SELECT)?
        .query_row((key.request_id.as_bytes(), &key.caller), found)
        .optional()
}

/// A row as a record, if it is what was written. A column that cannot be read is damaged like any other: it
/// must not fail the transaction, in which others have their writes.
fn verified(row: &Row<'_>) -> rusqlite::Result<Result<StoredRequest, Damaged>> {
    let (record, checksum) = match record_of(row) {
        Ok(Some(record)) => record,
        Ok(None) | Err(_) => return Ok(Err(Damaged)),
    };
    Ok(match checksum == record.checksum() {
        true => Ok(record),
        false => Err(Damaged),
    })
}

/// A row as it is, with its checksum; `None` if its state is none.
fn record_of(row: &Row<'_>) -> rusqlite::Result<Option<(StoredRequest, u64)>> {
    let state = match row.get(5)? {
        None => Some(StoredState::InFlight),
        Some(number) => StoredState::from_number(number),
    };
    let Some(state) = state else {
        return Ok(None);
    };
    let record = StoredRequest {
        key: RequestKey {
            caller: row.get(0)?,
            request_id: Uuid::from_bytes(row.get(1)?),
        },
        content: RequestContent {
            rpc: row.get(2)?,
            fingerprint: row.get(3)?,
        },
        attempt: Uuid::from_bytes(row.get(4)?),
        state,
        answer: row.get::<_, Option<Vec<u8>>>(6)?.unwrap_or_default().into(),
        create_time: time(row.get(7)?),
        finish_time: row.get::<_, Option<i64>>(8)?.map(time),
        // One process at a time has the file.
        is_held_elsewhere: false,
    };
    Ok(Some((record, row.get::<_, i64>(9)? as u64)))
}
