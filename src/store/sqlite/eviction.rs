//! Request records that change without their caller: answers that are evicted at the size bound, and requests that an
//! earlier process left open.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::{
    request_row::{SELECT, insert_end, verified},
    request_usage::Usage,
};
use crate::store::{StoredRequest, StoredState};

/// How many records one transaction changes at most, so that others do not wait for long.
pub(super) const STEP: usize = 512;

/// How many bytes of answers one transaction evicts at most, unless more are added at the same time.
pub(super) const STEP_BYTES: i64 = 16 << 20;

/// Up to which end answers were evicted. Those before it that still have their answer are damaged.
#[derive(Clone, Copy, Debug)]
pub(super) struct EvictedTo {
    log_time: i64,
    number: i64,
}

impl Default for EvictedTo {
    fn default() -> Self {
        EvictedTo {
            log_time: i64::MIN,
            number: i64::MIN,
        }
    }
}

/// Evicts answers, the oldest ends first, while records take more than `bound` bytes; some at a time, but no less than
/// were `added`. Returns how many records were looked at, and how many lost their answer.
pub(super) fn evict(
    connection: &Connection,
    usage: &mut Usage,
    evicted_to: &mut EvictedTo,
    bound: u64,
    added: i64,
) -> rusqlite::Result<(usize, u64)> {
    let enough = usage.answer_bytes - added.max(STEP_BYTES);
    let (mut seen, mut evicted) = (0, 0);
    while usage.bytes() > bound && usage.answer_bytes > enough && seen < STEP {
        let Some(next) = next_answer(connection, *evicted_to)? else {
            break;
        };
        *evicted_to = next;
        seen += 1;
        let Some(before) = record(connection, next.number)? else {
            continue;
        };
        let Some(after) = before.clone().evicted() else {
            continue;
        };
        connection
            .prepare_cached(
                "UPDATE request_ends SET has_answer = 0, result_id = ?, reason = ?, checksum = ?, answer = x'' \
                 WHERE number = ?",
            )?
            .execute((
                &after.summary.result_id,
                &after.summary.reason,
                after.checksum() as i64,
                next.number,
            ))?;
        usage.evict(&before, &after);
        evicted += 1;
    }
    Ok((seen, evicted))
}

fn next_answer(connection: &Connection, after: EvictedTo) -> rusqlite::Result<Option<EvictedTo>> {
    connection
        .prepare_cached(
            // A damaged time has no place in their order, and must not end the search for the others.
            "SELECT log_time, number FROM request_ends \
             WHERE has_answer = 1 AND (log_time, number) > (?, ?) AND typeof(log_time) = 'integer' \
             ORDER BY log_time, number LIMIT 1",
        )?
        .query_row((after.log_time, after.number), |row| {
            Ok(EvictedTo {
                log_time: row.get(0)?,
                number: row.get(1)?,
            })
        })
        .optional()
}

/// The requests without an end: before anything is written, those that earlier processes left open.
pub(super) fn left_open(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare(
            "SELECT number FROM requests LEFT JOIN request_ends USING (number) WHERE state IS NULL",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

/// Marks these as abandoned: their age counts from now.
pub(super) fn abandon(
    connection: &Connection,
    log_time: Timestamp,
    numbers: &[i64],
) -> rusqlite::Result<()> {
    for number in numbers {
        if let Some(open) = record(connection, *number)?
            && open.state == StoredState::InFlight
        {
            insert_end(connection, *number, &open.abandoned(), log_time)?;
        }
    }
    Ok(())
}

/// The record with this number; `None` if it is damaged or gone.
fn record(connection: &Connection, number: i64) -> rusqlite::Result<Option<StoredRequest>> {
    let found = connection
        .prepare_cached(&format!("{SELECT} WHERE number = ?"))?
        .query_row([number], verified)
        .optional()?;
    Ok(found.and_then(Result::ok))
}
