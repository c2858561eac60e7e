//! What holds for every row of the file. A disk can put anything into a column.

use jiff::Timestamp;
use rusqlite::{
    Connection, ToSql,
    types::{ToSqlOutput, Value, ValueRef},
};

use super::{log_row::End, polls, requests, snapshot::Snapshot};
use crate::{
    event::LogId,
    fuzzing::input::Input,
    store::{Record, properties},
};

const LOG: LogId = LogId([1; 16]);

/// Tables that take any value in any column.
const TABLES: &str = "
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY, receive_time, end_offset, event_id, type, screening_id, subject_id, format,
    event, raw, checksum
);
CREATE TABLE requests (
    number INTEGER PRIMARY KEY, caller, request_id, rpc, fingerprint, attempt, create_time, checksum
);
CREATE TABLE request_ends (
    number INTEGER PRIMARY KEY, state, finish_time, log_time, has_answer, result_id, reason, checksum, answer
);
CREATE TABLE polls (screening_id, next_poll, attempts, create_time, checksum, subject_id);
";

/// Any value of a column; a text need not be one.
struct Column(Value, bool);

/// A file without a disk, whose changes are taken back at the end.
fn with_tables(play: impl FnOnce(&Connection)) {
    thread_local! {
        static TABLES_IN_MEMORY: Connection = {
            let connection = Connection::open_in_memory().expect("memory can be opened");
            connection.execute_batch(TABLES).expect("the tables are SQL");
            connection
        };
    }
    TABLES_IN_MEMORY.with(|connection| {
        let changes = connection.unchecked_transaction().expect("none is open");
        play(&changes);
    });
}

/// An event's row in which a column was replaced is read as it was, or not at all.
pub(in crate::store) fn changed_event(input: &mut Input<'_>) {
    let (time, event) = (properties::time(input), properties::event(input));
    let record = Record::seal(LOG, (0, input.number() >> 1), time, event);
    with_tables(|connection| {
        connection
            .execute(
                "INSERT INTO events VALUES (1, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
                (
                    record.receive_time.as_millisecond(),
                    record.end_offset as i64,
                    &record.event_id,
                    &record.keys.kind,
                    &record.keys.screening_id,
                    &record.keys.subject_id,
                    &record.event[..],
                    &record.raw[..],
                    record.checksum as i64,
                ),
            )
            .expect("a row can be written");
        let snapshot = Snapshot {
            connection,
            id: LOG,
            trimmed: End::default(),
        };
        let read = || snapshot.page(0, 1, None);
        assert!(*read().expect("it was written so")[0] == record);
        let columns = [
            "receive_time",
            "end_offset",
            "event_id",
            "type",
            "screening_id",
            "subject_id",
            "format",
            "event",
            "raw",
            "checksum",
        ];
        replace(connection, "events", &columns, input);
        if let Ok(page) = read() {
            assert!(*page[0] == record, "it was changed and is read");
        }
    });
}

/// The same of a request.
pub(in crate::store) fn changed_request(input: &mut Input<'_>) {
    let record = properties::request(input);
    with_tables(|connection| {
        super::request_row::insert(connection, &record, record.create_time)
            .expect("a row can be written");
        let read = || requests::read(connection, &record.key);
        assert!(read().expect("it was written so").as_ref() == Some(&record));
        match input.byte() & 1 {
            0 => {
                let columns = ["rpc", "fingerprint", "attempt", "create_time", "checksum"];
                replace(connection, "requests", &columns, input);
            }
            _ => {
                let columns = [
                    "state",
                    "finish_time",
                    "log_time",
                    "has_answer",
                    "result_id",
                    "reason",
                    "checksum",
                    "answer",
                ];
                replace(connection, "request_ends", &columns, input);
            }
        }
        if let Ok(read) = read() {
            assert!(read.as_ref() == Some(&record), "it was changed and is read");
        }
    });
}

/// The same of a poll, whose id is still told, so that it can be removed.
pub(in crate::store) fn changed_poll(input: &mut Input<'_>) {
    let poll = properties::poll(input);
    with_tables(|connection| {
        assert!(polls::insert(connection, &poll).expect("a row can be written"));
        let columns = [
            "screening_id",
            "next_poll",
            "attempts",
            "create_time",
            "checksum",
            "subject_id",
        ];
        replace(connection, "polls", &columns, input);
        if let Ok(read) = polls::read(connection, 2, Timestamp::MAX) {
            assert_eq!(read.sound.len() + read.damaged.len(), 1);
            assert!(read.sound.iter().all(|sound| *sound == poll));
        }
    });
}

fn replace(connection: &Connection, table: &str, columns: &[&str], input: &mut Input<'_>) {
    let column = columns[usize::from(input.byte()) % columns.len()];
    let replaced = connection
        .prepare_cached(&format!("UPDATE {table} SET {column} = ?"))
        .and_then(|mut update| update.execute([value(input)]));
    replaced.expect("the tables take any value");
}

fn value(input: &mut Input<'_>) -> Column {
    let number = |input: &mut Input<'_>| (input.number() as i64) >> (input.byte() % 64);
    match input.byte() % 5 {
        0 => Column(Value::Null, false),
        1 => Column(Value::Integer(number(input)), false),
        2 => Column(Value::Real(f64::from_bits(input.number())), false),
        3 => Column(Value::Blob(input.part().to_vec()), true),
        _ => Column(Value::Blob(input.part().to_vec()), false),
    }
}

impl ToSql for Column {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Column(Value::Blob(bytes), true) => ToSqlOutput::Borrowed(ValueRef::Text(bytes)),
            Column(value, _) => ToSqlOutput::Borrowed(value.into()),
        })
    }
}
