//! The file: its settings, its tables, and what is read of it when it is opened.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, config::DbConfig};
use xxhash_rust::xxh3::xxh3_64;

use super::{durable, failure};
use crate::{
    event::{LogId, Position},
    store::{AppendError, OpenError, Record, hot_tail::Bounds},
};

/// `koGW`, so that `file` and other gateways know what it is.
const APPLICATION_ID: i32 = 0x6b6f_4757;

/// The version of the tables.
const SCHEMA_VERSION: i32 = 1;

/// How long SQLite waits for a lock that another process holds for a moment, such as a backup's.
const BUSY_TIMEOUT_MS: u32 = 2000;

const TABLES: &str = "
CREATE TABLE log (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    id BLOB NOT NULL,                    -- 16 bytes, made up
    trimmed_sequence INTEGER NOT NULL,   -- of the newest record that is not kept any more; 0: none
    trimmed_checksum INTEGER NOT NULL,
    trimmed_time INTEGER NOT NULL,
    trimmed_offset INTEGER NOT NULL,
    checksum INTEGER NOT NULL            -- XXH3 over the above
) STRICT;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    receive_time INTEGER NOT NULL,       -- milliseconds since 1970
    end_offset INTEGER NOT NULL,         -- bytes of events ever appended, this one included
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    screening_id TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    format INTEGER NOT NULL,
    event BLOB NOT NULL,                 -- protobuf, kora.compliance.v1.Event without raw_json
    raw BLOB NOT NULL,                   -- protobuf, its field raw_json: the body that Kora signed
    checksum INTEGER NOT NULL            -- XXH3 over all of the row and the log's id
) STRICT;
CREATE UNIQUE INDEX events_by_id ON events (event_id);
";

/// A log that was opened for writing.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) id: LogId,
    pub(super) state: State,
    /// Whether the disk took what opening it wrote.
    pub(super) is_writable: bool,
}

/// The ends of a log, as the writer knows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) head: End,
    pub(super) trimmed: End,
}

/// One end of a log: right after this record.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) position: Position,
    pub(super) receive_time: Timestamp,
    pub(super) end_offset: u64,
}

/// Opens the file for its one writer, and creates it where there is none.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let explain = |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let disk = |source| OpenError::Directory {
        path: path.to_owned(),
        source,
    };
    durable::create_for_owner(path).map_err(disk)?;
    let connection = open_for_writing(path).map_err(explain)?;
    let not_a_log = |what| OpenError::NotALog {
        path: path.to_owned(),
        what,
    };
    match identify(&connection).map_err(explain)? {
        (0, 0) => create(&connection).map_err(explain)?,
        (APPLICATION_ID, SCHEMA_VERSION) => {}
        (APPLICATION_ID, _) => return Err(not_a_log("it is of another version of the gateway")),
        _ => return Err(not_a_log("it is not an event log")),
    }
    durable::write_again(&connection, path)
        .map_err(explain)?
        .map_err(disk)?;
    let is_writable = match checkpoint(&connection, "TRUNCATE") {
        Ok(_) => true,
        // It is durable where it is. Only the file stays as large as it is until there is room again.
        Err(error) if failure::consequence(&error) == AppendError::Unavailable => false,
        Err(error) => return Err(explain(error)),
    };
    let (id, trimmed) = read_log_row(&connection)
        .map_err(explain)?
        .ok_or_else(|| not_a_log("its first row is damaged"))?;
    let head = read_head(&connection).map_err(explain)?.unwrap_or(trimmed);
    Ok(Opened {
        connection,
        id,
        state: State { head, trimmed },
        is_writable,
    })
}

/// Writes the write-ahead log back into the file. Returns how many pages it has; readers can keep some of
/// them there, which is no error.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<i64> {
    let pragma = format!("PRAGMA wal_checkpoint({mode})");
    connection.query_row(&pragma, [], |row| row.get(1))
}

/// Opens a connection that only reads.
pub(super) fn open_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    Ok(connection)
}

fn open_for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "busy_timeout", BUSY_TIMEOUT_MS)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    // What is not kept any longer is not to be found in the file either.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // SQLite ignores the errors of checkpoints that it makes by itself, also of a sync that failed; the
    // writer makes them, and looks.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

fn identify(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    let nothing = End {
        position: Position::default(),
        receive_time: Timestamp::UNIX_EPOCH,
        end_offset: 0,
    };
    write_log_row(&transaction, LogId::random(), &nothing)?;
    transaction.commit()
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
                end_offset: row.get::<_, i64>(5)? as u64,
            };
            Ok((LogId(row.get(1)?), end, row.get::<_, i64>(6)? as u64))
        })
        .optional()?;
    Ok(row
        .filter(|(id, trimmed, checksum)| *checksum == log_row_checksum(*id, trimmed))
        .map(|(id, trimmed, _)| (id, trimmed)))
}

fn read_head(connection: &Connection) -> rusqlite::Result<Option<End>> {
    connection
        .query_row(
            "SELECT sequence, checksum, receive_time, end_offset FROM events \
             ORDER BY sequence DESC LIMIT 1",
            [],
            |row| {
                Ok(End {
                    position: Position {
                        sequence: row.get::<_, i64>(0)? as u64,
                        checksum: row.get::<_, i64>(1)? as u64,
                    },
                    receive_time: time(row.get(2)?),
                    end_offset: row.get::<_, i64>(3)? as u64,
                })
            },
        )
        .optional()
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

impl From<&Record> for End {
    fn from(record: &Record) -> Self {
        End {
            position: record.position(),
            receive_time: record.receive_time,
            end_offset: record.end_offset,
        }
    }
}
