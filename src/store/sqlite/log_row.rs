//! The ends of a log, and the row that keeps the old one.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    event::{LogId, Position},
    store::{Record, hot_tail::Bounds},
};

/// The ends of a log, as the writer knows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) head: End,
    pub(super) trimmed: End,
}

/// One end of a log: right after this record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct End {
    pub(super) position: Position,
    pub(super) receive_time: Timestamp,
    /// When it was written, by the clock that ages are measured with.
    pub(super) log_time: Timestamp,
    pub(super) end_offset: u64,
}

/// Writes which log it is, and how far it was trimmed.
pub(super) fn write_log_row(
    connection: &Connection,
    id: LogId,
    trimmed: &End,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO log VALUES (1, ?, ?, ?, ?, ?, ?)",
        (
            id.0,
            trimmed.position.sequence as i64,
            trimmed.position.checksum as i64,
            trimmed.receive_time.as_millisecond(),
            trimmed.end_offset as i64,
            log_row_checksum(id, trimmed) as i64,
        ),
    )?;
    Ok(())
}

/// Reads it back; `None` if it is not what was written.
pub(super) fn read_log_row(connection: &Connection) -> rusqlite::Result<Option<(LogId, End)>> {
    let row = connection
        .prepare_cached("SELECT * FROM log")?
        .query_row([], |row| {
            let end = End {
                position: Position {
                    sequence: row.get::<_, i64>(2)? as u64,
                    checksum: row.get::<_, i64>(3)? as u64,
                },
                receive_time: time(row.get(4)?),
                log_time: time(row.get(4)?),
                end_offset: row.get::<_, i64>(5)? as u64,
            };
            Ok((LogId(row.get(1)?), end, row.get::<_, i64>(6)? as u64))
        })
        .optional()?;
    Ok(row
        .filter(|(id, trimmed, checksum)| *checksum == log_row_checksum(*id, trimmed))
        .map(|(id, trimmed, _)| (id, trimmed)))
}

/// The columns that make an end.
pub(super) const SELECT_END: &str = "\
    SELECT sequence, checksum, receive_time, end_offset, coalesce(log_time, receive_time) FROM events";

/// A row as the end right after it, taken as it is stored.
pub(super) fn end_of(row: &Row<'_>) -> rusqlite::Result<End> {
    Ok(End {
        position: Position {
            sequence: row.get::<_, i64>(0)? as u64,
            checksum: row.get::<_, i64>(1)? as u64,
        },
        receive_time: time(row.get(2)?),
        end_offset: row.get::<_, i64>(3)? as u64,
        log_time: time(row.get(4)?),
    })
}

/// The same; `None` if a column is none: a damaged one must not fail the transaction, in which others have their writes.
pub(super) fn sound_end(row: &Row<'_>) -> rusqlite::Result<Option<End>> {
    match end_of(row) {
        Err(error) if error.sqlite_error_code().is_none() => Ok(None),
        end => end.map(Some),
    }
}

/// The end right after the newest record. Where that one is damaged, the log's time and size go on from the last sound one.
pub(super) fn read_head(connection: &Connection) -> rusqlite::Result<Option<End>> {
    let mut select = connection.prepare(&format!("{SELECT_END} ORDER BY sequence DESC"))?;
    let mut rows = select.query([])?;
    let mut newest = None;
    while let Some(row) = rows.next()? {
        let position = Position {
            sequence: row.get::<_, i64>(0)? as u64,
            checksum: row.get_ref(1)?.as_i64().unwrap_or_default() as u64,
        };
        let position = *newest.get_or_insert(position);
        if let Some(end) = sound_end(row)? {
            return Ok(Some(End { position, ..end }));
        }
    }
    Ok(newest.map(|position| End {
        position,
        ..End::default()
    }))
}

fn log_row_checksum(id: LogId, trimmed: &End) -> u64 {
    let mut bytes = id.0.to_vec();
    for number in [
        trimmed.position.sequence,
        trimmed.position.checksum,
        trimmed.receive_time.as_millisecond() as u64,
        trimmed.end_offset,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    xxh3_64(&bytes)
}

/// A time that was stored. One that no clock tells is damaged, which the record's checksum shows.
pub(super) fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl State {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            trimmed: self.trimmed.position,
            head: self.head.position,
            head_time: self.head.receive_time,
        }
    }
}

impl End {
    /// The end right after a record that is written at `log_time`.
    pub(super) fn after(record: &Record, log_time: Timestamp) -> Self {
        End {
            position: record.position(),
            receive_time: record.receive_time,
            log_time,
            end_offset: record.end_offset,
        }
    }
}
