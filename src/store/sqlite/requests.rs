//! Request records in the file: the writer begins and ends them, readers look them up.

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    eviction::{STEP, STEP_BYTES},
    log_row::time,
    request_row::{Damaged, SELECT, insert_end, insert_request, verified},
    request_usage::Usage,
    retention::Removed,
    snapshot::unreadable,
    transaction::Terms,
};
use crate::store::{
    Begun, Ending, Intent, ReadError, RequestKey, StoredRequest, StoredState, Summary,
};

/// A record, and where it is.
struct Found {
    number: i64,
    record: Result<StoredRequest, Damaged>,
}

/// Records an intent, unless there is a record that stands in its way, or no room for another one. Not durable until
/// the transaction is committed.
pub(super) fn begin(
    connection: &Connection,
    terms: Terms,
    usage: &mut Usage,
    intent: Intent,
) -> rusqlite::Result<Begun> {
    match find(connection, &intent.key)? {
        Some(Found { number, record }) => {
            let Ok(record) = record else {
                return Ok(Begun::Damaged);
            };
            if record.state != StoredState::MayBeRepeated || record.content != intent.content {
                return Ok(Begun::Found(record));
            }
            remove(connection, usage, number)?;
        }
        None if !usage.has_room(terms.request_bytes) => return Ok(Begun::Full),
        None => {}
    }
    let record = StoredRequest {
        key: intent.key,
        content: intent.content,
        attempt: intent.attempt,
        state: StoredState::InFlight,
        answer: Bytes::new(),
        summary: Summary::default(),
        is_evicted: false,
        create_time: time(terms.now.as_millisecond()),
        finish_time: None,
        is_held_elsewhere: false,
    };
    insert_request(connection, &record, record.checksum())?;
    usage.begin(&record);
    Ok(Begun::New)
}

/// Records how an attempt ended, if it is still the one that is recorded.
pub(super) fn finish(
    connection: &Connection,
    terms: Terms,
    usage: &mut Usage,
    ending: Ending,
) -> rusqlite::Result<bool> {
    let Some(Found { number, record }) = find(connection, &ending.key)? else {
        return Ok(false);
    };
    let Ok(begun) = record else {
        return Ok(false);
    };
    if begun.attempt != ending.attempt {
        return Ok(false);
    }
    if begun.state != StoredState::InFlight {
        // Only the answer to an earlier try was lost, where it is the same.
        return Ok(begun.has_ended_so(&ending));
    }
    let record = StoredRequest {
        state: ending.state,
        answer: ending.answer,
        summary: ending.summary,
        finish_time: Some(time(terms.now.as_millisecond())),
        ..begun
    };
    insert_end(connection, number, &record, terms.log_time)?;
    usage.end(&record);
    Ok(true)
}

/// Removes records that ended before `oldest`, some at a time. One without an end is never removed.
pub(super) fn trim(
    connection: &Connection,
    usage: &mut Usage,
    oldest: Timestamp,
) -> rusqlite::Result<Removed> {
    let old: Vec<(i64, i64)> = connection
        .prepare_cached(
            // A damaged age must not have its request forgotten: it could be sent again.
            "SELECT number, coalesce(length(answer), 0) FROM request_ends \
             WHERE has_answer IN (0, 1) AND log_time < ? AND typeof(log_time) = 'integer' LIMIT ?",
        )?
        .query_map((oldest.as_millisecond(), STEP as i64), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let (mut count, mut bytes) = (0, 0);
    for (number, answer_bytes) in &old {
        if bytes >= STEP_BYTES {
            break;
        }
        remove(connection, usage, *number)?;
        count += 1;
        bytes += answer_bytes;
    }
    Ok(Removed {
        count: count as u64,
        has_more: count < old.len() || count == STEP,
    })
}

fn remove(connection: &Connection, usage: &mut Usage, number: i64) -> rusqlite::Result<()> {
    usage.remove(connection, number)?;
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
