//! What a reader asks one state of the file for.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, Row};

use super::log_row::{End, time};
use crate::{
    event::{Keys, LogId, Position},
    memory::{Charge, FREE_BYTES},
    store::{
        Page, ReadError, Record,
        hot_tail::{PAGE_BYTES, PAGE_RECORDS},
        record::FORMAT,
    },
};

pub(super) const COLUMNS: &str = "SELECT sequence, receive_time, end_offset, event_id, type, screening_id, \
                       subject_id, format, event, raw, checksum FROM events";

/// SQLite knows the length of a blob without reading it.
const LENGTHS: &str = "SELECT length(event), length(raw) FROM events WHERE sequence > ? AND sequence <= ? \
                       ORDER BY sequence LIMIT ?";

/// One state of the file.
pub(super) struct Snapshot<'a> {
    pub(super) connection: &'a Connection,
    pub(super) id: LogId,
    pub(super) trimmed: End,
}

/// What is large in a page.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LargeParts {
    /// How many bytes that is.
    pub(super) bytes: usize,
    /// How many records come before.
    pub(super) before: u64,
}

impl Snapshot<'_> {
    /// What is large in the page after `sequence`, and is to be charged. Reads none of it.
    pub(super) fn large_parts(&self, sequence: u64, head: u64) -> Result<LargeParts, ReadError> {
        let mut select = self
            .connection
            .prepare_cached(LENGTHS)
            .map_err(unreadable(sequence))?;
        let places = [sequence as i64, head as i64, PAGE_RECORDS as i64];
        let mut rows = select.query(places).map_err(unreadable(sequence))?;
        let (mut large, mut bytes) = (LargeParts::default(), 0);
        while bytes < PAGE_BYTES
            && let Some(row) = rows.next().map_err(unreadable(sequence))?
        {
            let length = |column| row.get::<_, i64>(column).map(|length| length as usize);
            for column in [0, 1] {
                let length = length(column).map_err(unreadable(sequence))?;
                bytes += length;
                large.bytes += if length > FREE_BYTES { length } else { 0 };
            }
            large.before += u64::from(large.bytes == 0);
            bytes += size_of::<Record>();
        }
        Ok(large)
    }

    /// The page after `sequence`, no further than `head`: what is newer is in the file, but not shown yet, so
    /// that nobody may have its position. Large parts keep their part of the charge, where there is one.
    pub(super) fn page(
        &self,
        sequence: u64,
        head: u64,
        mut charge: Option<Charge>,
    ) -> Result<Page, ReadError> {
        if sequence < self.trimmed.position.sequence {
            return Err(ReadError::Trimmed(self.trimmed.position));
        }
        let (mut page, mut bytes) = (Page::new(), 0);
        for next in (sequence + 1..=head).take(PAGE_RECORDS) {
            if bytes >= PAGE_BYTES {
                break;
            }
            match self.record(next) {
                Ok(Some(mut record)) => {
                    if let Some(charge) = &mut charge {
                        record.attach(charge);
                    }
                    bytes += record.size();
                    page.push(Arc::new(record));
                }
                Ok(None) => return or_page(page, missing(next)),
                Err(error) => return or_page(page, error),
            }
        }
        Ok(page)
    }

    /// By halves: `receive_time` never goes back.
    pub(super) fn position_before(
        &self,
        time: Timestamp,
        head: u64,
    ) -> Result<Position, ReadError> {
        let mut before = self.trimmed.position;
        if before.sequence > 0 && self.trimmed.receive_time >= time {
            return Err(ReadError::Trimmed(self.trimmed.position));
        }
        let mut after = head + 1;
        while before.sequence + 1 < after {
            let middle = before.sequence + (after - before.sequence) / 2;
            let record = self.record(middle)?.ok_or_else(|| missing(middle))?;
            match record.receive_time < time {
                true => before = record.position(),
                false => after = middle,
            }
        }
        Ok(before)
    }

    fn record(&self, sequence: u64) -> Result<Option<Record>, ReadError> {
        let mut select = self
            .connection
            .prepare_cached(&format!("{COLUMNS} WHERE sequence = ?"))
            .map_err(unreadable(sequence))?;
        let mut rows = select
            .query([sequence as i64])
            .map_err(unreadable(sequence))?;
        match rows.next().map_err(unreadable(sequence))? {
            None => Ok(None),
            Some(row) => record_of(row)
                .map_err(unreadable(sequence))?
                .ok_or(ReadError::Corrupt {
                    sequence,
                    what: "its format is unknown",
                })?
                .verified(self.id)
                .map(Some),
        }
    }
}

/// `None` for a format that this gateway does not know.
pub(super) fn record_of(row: &Row<'_>) -> rusqlite::Result<Option<Record>> {
    if row.get::<_, u32>(7)? != FORMAT {
        return Ok(None);
    }
    let blob = |column| Ok::<_, rusqlite::Error>(Bytes::from(row.get::<_, Vec<u8>>(column)?));
    Ok(Some(Record {
        sequence: row.get::<_, i64>(0)? as u64,
        receive_time: time(row.get(1)?),
        end_offset: row.get::<_, i64>(2)? as u64,
        event_id: row.get(3)?,
        keys: Keys {
            kind: row.get(4)?,
            screening_id: row.get(5)?,
            subject_id: row.get(6)?,
        },
        event: blob(8)?,
        raw: blob(9)?,
        checksum: row.get::<_, i64>(10)? as u64,
    }))
}

/// The records before a damaged one are sound.
fn or_page(page: Page, error: ReadError) -> Result<Page, ReadError> {
    match page.is_empty() {
        true => Err(error),
        false => Ok(page),
    }
}

fn missing(sequence: u64) -> ReadError {
    ReadError::Corrupt {
        sequence,
        what: "it is missing",
    }
}

/// A file or a column that is not what was written, or a file that cannot be read now.
pub(super) fn unreadable(sequence: u64) -> impl FnOnce(rusqlite::Error) -> ReadError {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => ReadError::Corrupt {
            sequence,
            what: "the file is damaged there",
        },
        Some(_) => ReadError::Unavailable(error.to_string()),
    }
}
