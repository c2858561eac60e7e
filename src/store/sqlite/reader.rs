//! Readers: connections of their own, on threads that may block.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, Row};
use tokio::{sync::Semaphore, task, time::timeout};

use super::schema::{self, End, open_for_reading, read_log_row};
use crate::{
    event::{Keys, LogId, Position},
    store::{
        HotTail, Metrics, Page, ReadError, Record,
        hot_tail::{PAGE_BYTES, PAGE_RECORDS},
        record::FORMAT,
    },
};

/// How many readers are at work; more wait.
const READERS: usize = 4;

/// How long a read may take, its wait included.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

const COLUMNS: &str = "SELECT sequence, receive_time, end_offset, event_id, type, screening_id, \
                       subject_id, format, event, raw, checksum FROM events";

/// The readers of one log. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    id: LogId,
    tail: Arc<HotTail>,
    metrics: Metrics,
    places: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, id: LogId, tail: Arc<HotTail>, metrics: Metrics) -> Self {
        Readers(Arc::new(Shared {
            path,
            id,
            tail,
            metrics,
            places: Semaphore::new(READERS),
            idle: Mutex::default(),
        }))
    }

    /// The page after `sequence`.
    pub(super) async fn page(&self, sequence: u64) -> Result<Page, ReadError> {
        let head = self.0.tail.bounds().head.sequence;
        self.read(move |snapshot| snapshot.page(sequence, head))
            .await
    }

    /// The position before the first record of `time` or later.
    pub(super) async fn position_before(&self, time: Timestamp) -> Result<Position, ReadError> {
        let head = self.0.tail.bounds().head.sequence;
        self.read(move |snapshot| snapshot.position_before(time, head))
            .await
    }

    /// Reads on a thread that may block, from one state of the file.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Snapshot<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = Arc::clone(&self.0);
        let work = async move {
            let _place = shared.places.acquire().await.map_err(|_| gone())?;
            let worker = Arc::clone(&shared);
            task::spawn_blocking(move || worker.query(query))
                .await
                .map_err(|_| gone())?
        };
        let result = timeout(READ_TIMEOUT, work)
            .await
            .unwrap_or_else(|_| Err(ReadError::Unavailable("the disk did not answer".to_owned())));
        if let Err(ReadError::Corrupt { .. }) = result {
            self.0.metrics.corrupt.inc();
        }
        result
    }
}

impl Shared {
    fn query<T>(
        &self,
        query: impl FnOnce(&Snapshot<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => open_for_reading(&self.path).map_err(unreadable(0))?,
        };
        let result = {
            let transaction = connection.unchecked_transaction().map_err(unreadable(0))?;
            let (_, trimmed) =
                read_log_row(&transaction)
                    .map_err(unreadable(0))?
                    .ok_or(ReadError::Corrupt {
                        sequence: 0,
                        what: "the log's own row is damaged",
                    })?;
            query(&Snapshot {
                connection: &transaction,
                id: self.id,
                trimmed,
            })
        };
        idle().push(connection);
        result
    }
}

/// One state of the file.
struct Snapshot<'a> {
    connection: &'a Connection,
    id: LogId,
    trimmed: End,
}

impl Snapshot<'_> {
    /// The page after `sequence`, no further than `head`: what is newer is in the file, but not shown yet, so
    /// that nobody may have its position.
    fn page(&self, sequence: u64, head: u64) -> Result<Page, ReadError> {
        if sequence < self.trimmed.position.sequence {
            return Err(ReadError::Trimmed);
        }
        let (mut page, mut bytes) = (Page::new(), 0);
        for next in (sequence + 1..=head).take(PAGE_RECORDS) {
            if bytes >= PAGE_BYTES {
                break;
            }
            match self.record(next) {
                Ok(Some(record)) => {
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
    fn position_before(&self, time: Timestamp, head: u64) -> Result<Position, ReadError> {
        let mut before = self.trimmed.position;
        if before.sequence > 0 && self.trimmed.receive_time >= time {
            return Err(ReadError::Trimmed);
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
fn record_of(row: &Row<'_>) -> rusqlite::Result<Option<Record>> {
    if row.get::<_, u32>(7)? != FORMAT {
        return Ok(None);
    }
    let blob = |column| Ok::<_, rusqlite::Error>(Bytes::from(row.get::<_, Vec<u8>>(column)?));
    Ok(Some(Record {
        sequence: row.get::<_, i64>(0)? as u64,
        receive_time: schema::time(row.get(1)?),
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

fn gone() -> ReadError {
    ReadError::Unavailable("the reader ended".to_owned())
}

/// A file or a column that is not what was written, or a file that cannot be read now.
fn unreadable(sequence: u64) -> impl FnOnce(rusqlite::Error) -> ReadError {
    move |error| match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => ReadError::Corrupt {
            sequence,
            what: "the file is damaged there",
        },
        Some(_) => ReadError::Unavailable(error.to_string()),
    }
}
