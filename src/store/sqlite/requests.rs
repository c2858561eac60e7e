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

const SELECT: &str = "SELECT caller, request_id, rpc, fingerprint, attempt, state, answer, create_time, \
                      finish_time, checksum FROM requests WHERE caller = ? AND request_id = ?";

/// A record that is not what was written.
pub(super) struct Damaged;

/// Records an intent, unless there is a record that stands in its way. Not durable until the transaction is
/// committed.
pub(super) fn begin(
    connection: &Connection,
    now: Timestamp,
    intent: Intent,
) -> rusqlite::Result<Begun> {
    match find(connection, &intent.key)? {
        Some(Err(Damaged)) => return Ok(Begun::Damaged),
        Some(Ok(found))
            if found.state != StoredState::MayBeRepeated || found.content != intent.content =>
        {
            return Ok(Begun::Found(found));
        }
        Some(Ok(_)) | None => {}
    }
    let record = StoredRequest {
        key: intent.key,
        content: intent.content,
        attempt: intent.attempt,
        state: StoredState::InFlight,
        answer: Bytes::new(),
        create_time: time(now.as_millisecond()),
        finish_time: None,
    };
    write(connection, &record)?;
    Ok(Begun::New)
}

/// Records how an attempt ended, if it is still the one that is recorded.
pub(super) fn finish(
    connection: &Connection,
    now: Timestamp,
    ending: Ending,
) -> rusqlite::Result<bool> {
    let Some(Ok(found)) = find(connection, &ending.key)? else {
        return Ok(false);
    };
    if found.attempt != ending.attempt || found.state != StoredState::InFlight {
        return Ok(false);
    }
    let record = StoredRequest {
        state: ending.state,
        answer: ending.answer,
        finish_time: Some(time(now.as_millisecond())),
        ..found
    };
    write(connection, &record)?;
    Ok(true)
}

/// Removes records that were begun before `oldest`, some at a time. Returns how many.
pub(super) fn trim(connection: &Connection, oldest: Timestamp) -> rusqlite::Result<u64> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM requests WHERE (caller, request_id) IN (SELECT caller, request_id FROM requests \
             WHERE create_time < ? ORDER BY create_time LIMIT ?)",
        )?
        .execute((oldest.as_millisecond(), STEP))?;
    Ok(removed as u64)
}

/// Reads a record for whoever asks for it.
pub(super) fn read(
    connection: &Connection,
    key: &RequestKey,
) -> Result<Option<StoredRequest>, ReadError> {
    match find(connection, key).map_err(unreadable(0))? {
        None => Ok(None),
        Some(Ok(found)) => Ok(Some(found)),
        Some(Err(Damaged)) => Err(ReadError::Corrupt {
            sequence: 0,
            what: "a request record differs from its checksum",
        }),
    }
}

fn find(
    connection: &Connection,
    key: &RequestKey,
) -> rusqlite::Result<Option<Result<StoredRequest, Damaged>>> {
    connection
        .prepare_cached(SELECT)?
        .query_row((&key.caller, key.request_id.as_bytes()), verified)
        .optional()
}

/// A row as a record, if it is what was written.
fn verified(row: &Row<'_>) -> rusqlite::Result<Result<StoredRequest, Damaged>> {
    let state = StoredState::from_number(row.get(5)?);
    let (Ok(fingerprint), Some(state)) = (row.get::<_, [u8; 32]>(3), state) else {
        return Ok(Err(Damaged));
    };
    let (Ok(request_id), Ok(attempt)) = (row.get(1), row.get(4)) else {
        return Ok(Err(Damaged));
    };
    let record = StoredRequest {
        key: RequestKey {
            caller: row.get(0)?,
            request_id: Uuid::from_bytes(request_id),
        },
        content: RequestContent {
            rpc: row.get(2)?,
            fingerprint,
        },
        attempt: Uuid::from_bytes(attempt),
        state,
        answer: row.get::<_, Vec<u8>>(6)?.into(),
        create_time: time(row.get(7)?),
        finish_time: row.get::<_, Option<i64>>(8)?.map(time),
    };
    Ok(match row.get::<_, i64>(9)? as u64 == record.checksum() {
        true => Ok(record),
        false => Err(Damaged),
    })
}

fn write(connection: &Connection, record: &StoredRequest) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute((
            &record.key.caller,
            record.key.request_id.as_bytes(),
            &record.content.rpc,
            record.content.fingerprint,
            record.attempt.as_bytes(),
            record.state.number(),
            &record.answer[..],
            record.create_time.as_millisecond(),
            record.finish_time.map(Timestamp::as_millisecond),
            record.checksum() as i64,
        ))?;
    Ok(())
}
