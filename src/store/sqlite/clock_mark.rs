//! What a log keeps of the time, so that the next process on the same machine knows how much has elapsed, whatever the wall
//! clock reads by then.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::log_row::{End, time};
use crate::clock::{Clock, LogMoment, LogTime, Mark};

/// How often the mark is written while the log is open. On the same boot of the machine, the boot clock makes up for what
/// elapses after it.
const MARK_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What a file tells of the time of earlier processes.
#[derive(Clone, Debug)]
pub(super) struct KnownTimes {
    mark: Option<(Mark, Timestamp)>,
    /// `receive_time` and log time of the newest event; the beginning of 1970 where there never was one.
    newest_event: (Timestamp, Timestamp),
    newest_request: Option<Timestamp>,
    /// When the newest request that ended did so, and its log time.
    newest_end: Option<(Timestamp, Timestamp)>,
}

/// When the mark is written.
#[derive(Debug, Default)]
pub(super) struct Marking {
    written: Option<Written>,
    /// By the transaction that is not committed yet.
    writing: Option<Written>,
}

/// What was true when the mark was written.
#[derive(Clone, Copy, Debug)]
struct Written {
    since_boot: SignedDuration,
    followed: (SignedDuration, SignedDuration),
}

impl KnownTimes {
    /// Reads what the file has, besides the newest event.
    pub(super) fn read(connection: &Connection, head: &End) -> rusqlite::Result<Self> {
        Ok(KnownTimes {
            mark: read(connection)?,
            newest_event: (head.receive_time, head.log_time),
            newest_request: newest_request(connection)?,
            newest_end: newest_end(connection)?,
        })
    }

    /// Tells the clock what is known, and goes on with the time of the log.
    pub(super) fn go_on(&self, clock: &Clock) -> LogTime {
        let (event_time, event_log_time) = self.newest_event;
        if let Some((mark, marked)) = self.mark {
            // A step that is followed writes the mark anew, so gateway time went on from it as log time did. The times of
            // records do not tell that: `receive_time` stands still after a step back.
            let log_time = marked.max(event_log_time);
            let since_mark = log_time.duration_since(marked);
            let time = mark.time.checked_add(since_mark).unwrap_or(mark.time);
            clock.note_mark(mark);
            clock.note_record(time);
            return clock.log_time_after(time, log_time);
        }
        let events = (event_time > Timestamp::UNIX_EPOCH).then_some(event_time);
        // Each of them: a damaged one must not hide the others.
        let end_time = self.newest_end.map(|(time, _)| time);
        for time in [events, self.newest_request, end_time]
            .into_iter()
            .flatten()
        {
            clock.note_record(time);
        }
        let event = events.map(|event_time| (event_time, event_log_time));
        // An end that was imported has the log time of the import, which tells nothing of those of events.
        match event.or(self.newest_end) {
            Some((time, log_time)) => clock.log_time_after(time, log_time),
            None => {
                let now = clock.now();
                clock.log_time_after(now, now)
            }
        }
    }
}

impl Marking {
    /// The next transaction writes the mark.
    pub(super) fn force(&mut self) {
        self.written = None;
    }

    /// Writes the mark if it is time, or if what it tells has changed: a step of the wall clock is followed.
    pub(super) fn write_if_due(
        &mut self,
        connection: &Connection,
        now: &LogMoment,
    ) -> rusqlite::Result<()> {
        self.writing = None;
        let Some(mark) = now.mark else {
            return Ok(());
        };
        let log_time = now.log_time;
        let now = Written {
            since_boot: mark.since_boot,
            followed: (now.corrections, now.gap),
        };
        let is_due = self.written.is_none_or(|written| {
            now.since_boot - written.since_boot >= MARK_EVERY || now.followed != written.followed
        });
        if !is_due {
            return Ok(());
        }
        self.writing = Some(now);
        write(connection, &mark, log_time)
    }

    /// The transaction is on disk.
    pub(super) fn written(&mut self) {
        self.written = self.writing.take().or(self.written);
    }
}

fn write(connection: &Connection, mark: &Mark, log_time: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO clock_mark VALUES (1, ?, ?, ?, ?, ?)")?
        .execute((
            mark.time.as_millisecond(),
            log_time.as_millisecond(),
            mark.boot_id.as_bytes(),
            milliseconds(mark.since_boot),
            checksum(mark, log_time) as i64,
        ))?;
    Ok(())
}

/// The mark, if it is what was written.
fn read(connection: &Connection) -> rusqlite::Result<Option<(Mark, Timestamp)>> {
    let row = connection
        .prepare("SELECT time, log_time, boot_id, since_boot, checksum FROM clock_mark")?
        .query_row([], |row| {
            let mark = Mark {
                time: time(row.get(0)?),
                boot_id: Uuid::from_bytes(row.get(2)?),
                since_boot: SignedDuration::from_millis(row.get(3)?),
            };
            Ok((mark, time(row.get(1)?), row.get::<_, i64>(4)? as u64))
        })
        .optional();
    let row = match row {
        // A column of another form is damaged, like any other.
        Err(
            rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..),
        ) => None,
        row => row?,
    };
    Ok(row
        .filter(|(mark, log_time, stored)| checksum(mark, *log_time) == *stored)
        .map(|(mark, log_time, _)| (mark, log_time)))
}

fn checksum(mark: &Mark, log_time: Timestamp) -> u64 {
    let mut bytes = mark.boot_id.as_bytes().to_vec();
    for number in [
        mark.time.as_millisecond(),
        log_time.as_millisecond(),
        milliseconds(mark.since_boot),
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    xxh3_64(&bytes)
}

fn milliseconds(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// When the newest request began. One that is damaged may have anything.
fn newest_request(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let begun = connection
        .prepare("SELECT create_time FROM requests ORDER BY number DESC LIMIT 1")?
        .query_row([], |row| Ok(row.get_ref(0)?.as_i64().ok()))
        .optional()?;
    Ok(begun.flatten().map(time))
}

/// When the newest request that ended did so, and its log time. Those that were abandoned have no time.
fn newest_end(connection: &Connection) -> rusqlite::Result<Option<(Timestamp, Timestamp)>> {
    let select = "SELECT finish_time, log_time FROM request_ends WHERE finish_time IS NOT NULL ORDER BY number DESC LIMIT 1";
    let times = connection
        .prepare(select)?
        .query_row([], |row| {
            let number = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_i64().ok());
            Ok(number(0)?.zip(number(1)?))
        })
        .optional()?;
    let times = times.flatten();
    Ok(times.map(|(finish_time, log_time)| (time(finish_time), time(log_time))))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_damaged_mark_is_none() {
        let connection = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE clock_mark (only_row INTEGER PRIMARY KEY, time, log_time, boot_id, since_boot, checksum)";
        connection.execute_batch(table).unwrap();
        assert_eq!(read(&connection).unwrap(), None);
        let mark = Mark {
            time: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            boot_id: Uuid::from_u128(7),
            since_boot: SignedDuration::from_millis(5_000_001),
        };
        let log_time = Timestamp::from_millisecond(1_600_000_000_456).unwrap();
        write(&connection, &mark, log_time).unwrap();
        assert_eq!(read(&connection).unwrap(), Some((mark, log_time)));
        for column in ["time", "log_time", "boot_id", "since_boot", "checksum"] {
            for damage in ["CAST(x'00' AS BLOB)", "17", "'text'"] {
                write(&connection, &mark, log_time).unwrap();
                let update = format!("UPDATE clock_mark SET {column} = {damage}");
                connection.execute(&update, []).unwrap();
                assert_eq!(read(&connection).unwrap(), None, "{column} = {damage}");
            }
        }
    }
}
