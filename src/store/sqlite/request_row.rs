//! A request record as rows of the file: one for the request, and one for its end.

use jiff::Timestamp;
use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::log_row::time;
use crate::store::{ReadError, RequestContent, RequestKey, StoredRequest, StoredState, Summary};

/// The columns that make a record, and its number.
pub(super) const SELECT: &str = "\
    SELECT caller, request_id, rpc, fingerprint, attempt, state, answer, create_time, finish_time, \
           coalesce(request_ends.checksum, requests.checksum), number, result_id, reason, has_answer \
    FROM requests LEFT JOIN request_ends USING (number)";

/// The checksum of a request that has an end: the end's is over both.
const VOID: u64 = 0;

/// A record that is not what was written.
pub(super) struct Damaged;

impl From<Damaged> for ReadError {
    fn from(Damaged: Damaged) -> Self {
        ReadError::Corrupt {
            sequence: 0,
            what: "a request record differs from its checksum",
        }
    }
}

/// Writes a record of another log as it is. If it has ended, its age counts from `log_time`.
pub(super) fn insert(
    connection: &Connection,
    record: &StoredRequest,
    log_time: Timestamp,
) -> rusqlite::Result<()> {
    if record.state == StoredState::InFlight {
        return insert_request(connection, record, record.checksum());
    }
    insert_request(connection, record, VOID)?;
    let number = connection.last_insert_rowid();
    insert_end(connection, number, record, log_time)
}

/// Writes the row of a request.
pub(super) fn insert_request(
    connection: &Connection,
    record: &StoredRequest,
    checksum: u64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO requests VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)")?
        .execute((
            &record.key.caller,
            record.key.request_id.as_bytes(),
            &record.content.rpc,
            record.content.fingerprint,
            record.attempt.as_bytes(),
            record.create_time.as_millisecond(),
            checksum as i64,
        ))?;
    Ok(())
}

/// Writes the row of an end, whose age counts from `log_time`.
pub(super) fn insert_end(
    connection: &Connection,
    number: i64,
    record: &StoredRequest,
    log_time: Timestamp,
) -> rusqlite::Result<()> {
    let has_answer = !record.is_evicted && record.state != StoredState::Abandoned;
    connection
        .prepare_cached("INSERT INTO request_ends VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute((
            number,
            record.state.number(),
            record.finish_time.map(Timestamp::as_millisecond),
            log_time.as_millisecond(),
            has_answer,
            &record.summary.result_id,
            &record.summary.reason,
            record.checksum() as i64,
            &record.answer[..],
        ))?;
    Ok(())
}

/// A row as a record, if it is what was written. A column that cannot be read is damaged like any other: it
/// must not fail the transaction, in which others have their writes.
pub(super) fn verified(row: &Row<'_>) -> rusqlite::Result<Result<StoredRequest, Damaged>> {
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
    let has_end = !matches!(state, StoredState::InFlight | StoredState::Abandoned);
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
        summary: Summary {
            result_id: row.get::<_, Option<String>>(11)?.unwrap_or_default(),
            reason: row.get::<_, Option<String>>(12)?.unwrap_or_default(),
        },
        is_evicted: has_end && !row.get::<_, bool>(13)?,
        create_time: time(row.get(7)?),
        finish_time: row.get::<_, Option<i64>>(8)?.map(time),
        // One process at a time has the file.
        is_held_elsewhere: false,
    };
    Ok(Some((record, row.get::<_, i64>(9)? as u64)))
}
