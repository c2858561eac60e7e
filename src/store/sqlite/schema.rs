//! The file: its settings, its tables, and what is read of it when it is opened.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    checkpoints::{LOCK_WAIT, RESTART_PAGES, checkpoint},
    clock_mark::KnownTimes,
    durable,
    eviction::left_open,
    failure,
    files::LogFiles,
    log_row::{End, State, read_head, read_log_row, write_log_row},
    polls,
    request_usage::Usage,
    transaction::PAGE_BYTES,
};
use crate::{
    event::LogId,
    store::{AppendError, OpenError},
};

/// `koGW`, so that `file` and other gateways know what it is.
const APPLICATION_ID: i32 = 0x6b6f_4757;

/// `koGi`: a log that is being imported. No gateway takes it for a log.
const IMPORTING_ID: i32 = 0x6b6f_4769;

/// The version of the tables.
const SCHEMA_VERSION: i32 = 5;

const UNFINISHED: &str = "an import into it was begun and not finished: remove the file and those beside it \
                          that end in -wal and -shm, and import again";

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
    raw BLOB NOT NULL,                   -- protobuf, its field raw_json: Kora's body
    checksum INTEGER NOT NULL            -- XXH3 over all of the row and the log's id
) STRICT;
CREATE UNIQUE INDEX events_by_id ON events (event_id);
";

/// What version 4 did not have. Log time is what the age of an event is measured with.
const TABLES_OF_VERSION_5: &str = "
ALTER TABLE polls ADD COLUMN subject_id TEXT NOT NULL DEFAULT ''; -- of the screening; empty: not known
ALTER TABLE events ADD COLUMN log_time INTEGER; -- in milliseconds; null: the same as receive_time
CREATE TABLE clock_mark (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    time INTEGER NOT NULL,               -- gateway time, milliseconds since 1970
    log_time INTEGER NOT NULL,           -- at that moment
    boot_id BLOB NOT NULL,               -- 16 bytes, of the machine's boot
    since_boot INTEGER NOT NULL,         -- milliseconds since then
    checksum INTEGER NOT NULL            -- XXH3 over the above
) STRICT;
";

/// What version 1 did not have, as it is since version 5. Requests and their ends are appended, each in the
/// order of time, so that those of one transaction share pages.
const TABLES_OF_REQUESTS: &str = "
CREATE TABLE requests (
    number INTEGER PRIMARY KEY,
    caller TEXT NOT NULL,
    request_id BLOB NOT NULL,            -- 16 bytes, the caller's
    rpc TEXT NOT NULL,
    fingerprint BLOB NOT NULL,           -- SHA-256 over what the request means
    attempt BLOB NOT NULL,               -- 16 bytes, made up
    create_time INTEGER NOT NULL,        -- milliseconds since 1970
    checksum INTEGER NOT NULL            -- XXH3 over all of the row; void once there is an end
) STRICT;
CREATE UNIQUE INDEX requests_by_id ON requests (request_id, caller);
";

/// The ends of requests. An answer can take many pages, so it comes after what is read without it.
const TABLE_OF_ENDS: &str = "
CREATE TABLE request_ends (
    number INTEGER PRIMARY KEY,          -- of the request
    state INTEGER NOT NULL,              -- 2 succeeded, 3 failed, 4 may be repeated, 5 abandoned
    finish_time INTEGER,                 -- milliseconds since 1970; none if abandoned
    log_time INTEGER NOT NULL,           -- from when its age counts, by the log's own clock, in milliseconds
    has_answer INTEGER NOT NULL,         -- 0: it was evicted, or there was none
    result_id TEXT NOT NULL,             -- Kora's id of what was created, or empty
    reason TEXT NOT NULL,                -- of the error that was answered, or empty
    checksum INTEGER NOT NULL,           -- XXH3 over all of the request and its end but log_time
    answer BLOB NOT NULL
) STRICT;
CREATE INDEX request_ends_by_time ON request_ends (has_answer, log_time);
";

/// Versions 2 and 3 kept a request and its end in one row. A damaged column becomes what its type can hold: one row must
/// not stop the upgrade, and its checksum still shows the damage.
const REQUESTS_INTO_TABLES: &str = "
CREATE TEMP VIEW sound_types AS SELECT
    CAST(caller AS TEXT) AS caller, CAST(request_id AS BLOB) AS request_id,
    coalesce(CAST(rpc AS TEXT), '') AS rpc, coalesce(CAST(fingerprint AS BLOB), x'') AS fingerprint,
    coalesce(CAST(attempt AS BLOB), x'') AS attempt, coalesce(CAST(create_time AS INTEGER), 0) AS create_time,
    coalesce(CAST(state AS INTEGER), 0) AS state, coalesce(CAST(finish_time AS INTEGER), 0) AS finish_time,
    coalesce(CAST(answer AS BLOB), x'') AS answer, coalesce(CAST(checksum AS INTEGER), 0) AS checksum
    FROM requests_in_rows;
INSERT OR IGNORE INTO requests (caller, request_id, rpc, fingerprint, attempt, create_time, checksum)
    SELECT caller, request_id, rpc, fingerprint, attempt, create_time, iif(state = 1, checksum, 0)
    FROM sound_types ORDER BY create_time;
INSERT OR IGNORE INTO request_ends
    SELECT number, state, finish_time, max(finish_time, row.create_time), 1, '', '', row.checksum, answer
    FROM sound_types AS row JOIN requests USING (request_id, caller) WHERE state <> 1;
DROP VIEW sound_types;
DROP TABLE requests_in_rows;
";

/// Version 4 had ends without a summary, whose age counted from the beginning of the request.
const ENDS_OF_VERSION_4: &str = "
INSERT INTO request_ends
    SELECT number, coalesce(CAST(state AS INTEGER), 0), coalesce(CAST(finish_time AS INTEGER), 0),
        max(coalesce(CAST(finish_time AS INTEGER), 0), coalesce(CAST(create_time AS INTEGER), 0)), 1, '', '',
        coalesce(CAST(ends.checksum AS INTEGER), 0), coalesce(CAST(answer AS BLOB), x'')
    FROM ends_of_version_4 AS ends LEFT JOIN requests USING (number);
DROP TABLE ends_of_version_4;
";

/// What version 2 did not have.
const TABLES_OF_VERSION_3: &str = "
CREATE TABLE polls (
    screening_id TEXT PRIMARY KEY,
    next_poll INTEGER NOT NULL,          -- milliseconds since 1970
    attempts INTEGER NOT NULL,
    create_time INTEGER NOT NULL,        -- milliseconds since 1970
    checksum INTEGER NOT NULL            -- XXH3 over all of the row
) STRICT, WITHOUT ROWID;
CREATE INDEX polls_by_time ON polls (next_poll);
CREATE INDEX ends_by_screening ON events (screening_id)
    WHERE type IN ('screening.completed', 'screening.failed');
";

/// A log that was opened for writing.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Where it is.
    pub(super) path: PathBuf,
    /// What it writes into.
    pub(super) files: LogFiles,
    pub(super) id: LogId,
    pub(super) state: State,
    /// How many polls wait.
    pub(super) polls: i64,
    /// What earlier processes knew of the time.
    pub(super) times: KnownTimes,
    /// What request records take.
    pub(super) usage: Usage,
    /// The numbers of the requests that earlier processes left open.
    pub(super) left_open: Vec<i64>,
    /// Whether the disk took what opening it wrote.
    pub(super) is_writable: bool,
}

/// A log that is only read.
pub(super) struct Unchanged {
    pub(super) connection: Connection,
    pub(super) id: LogId,
    pub(super) state: State,
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
    match version(&connection, path)? {
        None => create(&connection).map_err(explain)?,
        Some(older) if older < SCHEMA_VERSION => upgrade(&connection, older).map_err(explain)?,
        Some(_) => {}
    }
    durable::write_again(&connection, path)
        .map_err(explain)?
        .map_err(disk)?;
    let is_writable = match checkpoint(&connection, "TRUNCATE") {
        Ok(_) => true,
        // It is durable where it is. Only the file stays as large as it is until there is room again.
        Err(error)
            if failure::consequence(&error, directory_of(path)) == AppendError::Unavailable =>
        {
            false
        }
        Err(error) => return Err(explain(error)),
    };
    let files = LogFiles::of(path).map_err(disk)?;
    let (id, trimmed) = read_log_row(&connection)
        .map_err(explain)?
        .ok_or_else(|| not_a_log("its first row is damaged"))?;
    let head = read_head(&connection).map_err(explain)?.unwrap_or(trimmed);
    let polls = polls::count(&connection).map_err(explain)?;
    let times = KnownTimes::read(&connection, &head).map_err(explain)?;
    let usage = Usage::read(&connection).map_err(explain)?;
    let left_open = left_open(&connection).map_err(explain)?;
    Ok(Opened {
        usage,
        left_open,
        connection,
        path: path.to_owned(),
        files,
        polls,
        times,
        id,
        state: State { head, trimmed },
        is_writable,
    })
}

/// Opens a file that nobody writes to, and changes nothing in it; `None` if it is of an older version, which has to be
/// brought up to date before it can be read.
pub(super) fn open_unchanged(path: &Path) -> Result<Option<Unchanged>, OpenError> {
    let explain = |source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    };
    let not_a_log = |what| OpenError::NotALog {
        path: path.to_owned(),
        what,
    };
    let connection = open_for_reading(path).map_err(explain)?;
    match version(&connection, path)? {
        Some(SCHEMA_VERSION) => {}
        Some(_) => return Ok(None),
        None => return Err(not_a_log("it is empty")),
    }
    let (id, trimmed) = read_log_row(&connection)
        .map_err(explain)?
        .ok_or_else(|| not_a_log("its first row is damaged"))?;
    let head = read_head(&connection).map_err(explain)?.unwrap_or(trimmed);
    Ok(Some(Unchanged {
        connection,
        id,
        state: State { head, trimmed },
    }))
}

/// The directory that a log's file is in.
pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Has nobody open the log any more, until it is finished. It goes on after this end.
pub(super) fn begin_import(connection: &Connection, id: LogId, end: &End) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.pragma_update(None, "application_id", IMPORTING_ID)?;
    write_log_row(&transaction, id, end)?;
    transaction.commit()
}

/// Makes it a log like any other.
pub(super) fn finish_import(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    checkpoint(connection, "TRUNCATE").map(drop)
}

/// Opens a connection that only reads.
pub(super) fn open_for_reading(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCK_WAIT)?;
    Ok(connection)
}

fn open_for_writing(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCK_WAIT)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    // What is not kept any longer is not to be found in the file either.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // SQLite ignores the errors of checkpoints that it makes by itself, also of a sync that failed; the
    // writer makes them, and looks.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    // A write-ahead log that a reader made grow shrinks again when it starts over.
    let wal_bytes = RESTART_PAGES * PAGE_BYTES as i64;
    connection.pragma_update_and_check(None, "journal_size_limit", wal_bytes, |_| Ok(()))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Of which version the log in the file is; `None` if there is nothing in it.
fn version(connection: &Connection, path: &Path) -> Result<Option<i32>, OpenError> {
    let identified = identify(connection).map_err(|source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    })?;
    let what = match identified {
        (0, 0) => return Ok(None),
        (APPLICATION_ID, version @ 1..=SCHEMA_VERSION) => return Ok(Some(version)),
        (APPLICATION_ID, _) => "it is of another version of the gateway",
        (IMPORTING_ID, _) => UNFINISHED,
        _ => "it is not an event log",
    };
    Err(OpenError::NotALog {
        path: path.to_owned(),
        what,
    })
}

fn identify(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.execute_batch(TABLES_OF_REQUESTS)?;
    transaction.execute_batch(TABLE_OF_ENDS)?;
    transaction.execute_batch(TABLES_OF_VERSION_3)?;
    transaction.execute_batch(TABLES_OF_VERSION_5)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    write_log_row(&transaction, LogId::random(), &End::default())?;
    transaction.commit()
}

/// Brings a file of an older version up to date.
fn upgrade(connection: &Connection, older: i32) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    match older {
        ..2 => {
            transaction.execute_batch(TABLES_OF_REQUESTS)?;
            transaction.execute_batch(TABLE_OF_ENDS)?;
        }
        2..4 => {
            transaction.execute_batch(
                "ALTER TABLE requests RENAME TO requests_in_rows; DROP INDEX requests_by_time",
            )?;
            transaction.execute_batch(TABLES_OF_REQUESTS)?;
            transaction.execute_batch(TABLE_OF_ENDS)?;
            transaction.execute_batch(REQUESTS_INTO_TABLES)?;
        }
        4.. => {
            transaction.execute_batch(
                "ALTER TABLE request_ends RENAME TO ends_of_version_4; DROP INDEX requests_by_time",
            )?;
            transaction.execute_batch(TABLE_OF_ENDS)?;
            transaction.execute_batch(ENDS_OF_VERSION_4)?;
        }
    }
    if older < 3 {
        transaction.execute_batch(TABLES_OF_VERSION_3)?;
    }
    transaction.execute_batch(TABLES_OF_VERSION_5)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()
}
