//! When the write-ahead log is written back into the file, without ever waiting for a reader that stays.
//!
//! A reader of another process (a backup, somebody's shell) sees the file as it was when its transaction began, and what
//! was committed since has to stay in the write-ahead log until it ends. SQLite can wait for that; the writer does not.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{durable::write_ahead_log, transaction::PAGE_BYTES};
use crate::store::Metrics;

/// From how many pages on that are not in the file yet the write-ahead log is written back (8 MiB).
const CHECKPOINT_PAGES: i64 = 2 << 10;

/// From how many pages on the write-ahead log is made to start over although the log's own readers are at work (64 MiB).
/// Also how large its file stays once it has started over.
pub(super) const RESTART_PAGES: i64 = 16 << 10;

/// How long to wait for the log's own readers, which are done after a page of events, when the write-ahead log is made to
/// start over.
const RESTART_WAIT: Duration = Duration::from_millis(20);

/// How often it is made to start over at most.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A write-ahead log that a reader holds is tried again once it has grown by this part: each attempt reads its whole index.
const GROWTH_PART: i64 = 8;

/// From when on a reader is named in the log, and how often.
const WARNING_AGE: Duration = Duration::from_secs(10);
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// How long a statement waits for a lock that another process holds for a moment.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(2);

/// The write-ahead log of one file.
pub(super) struct Checkpoints {
    path: PathBuf,
    metrics: Metrics,
    held: Option<Held>,
    next_restart: Option<Instant>,
    next_warning: Option<Instant>,
}

/// A reader keeps the write-ahead log from being written back beyond `written_back` pages.
#[derive(Clone, Copy)]
struct Held {
    written_back: i64,
    since: Instant,
    /// How many pages it had at the last attempt.
    pages: i64,
}

/// How far the write-ahead log is written back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// How many pages it holds.
    pub(super) pages: i64,
    /// How many of them are in the file.
    pub(super) written_back: i64,
}

impl Checkpoints {
    /// Of the log that is open at `path`.
    pub(super) fn new(path: &Path, metrics: Metrics) -> Self {
        let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Checkpoints {
            path: write_ahead_log(&resolved),
            metrics,
            held: None,
            next_restart: None,
            next_warning: None,
        }
    }

    /// Whether a reader holds the write-ahead log.
    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Writes it back if enough has come together, whatever wrote it.
    ///
    /// # Errors
    /// Of the disk. What was committed is safe where it is, unless it was a sync that failed.
    pub(super) fn run_if_due(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let progress = checkpoint(connection, "NOOP")?;
        let is_due = progress.pages - progress.written_back >= CHECKPOINT_PAGES
            && self.held.is_none_or(|held| held.is_due(progress));
        if is_due { self.run(connection) } else { Ok(()) }
    }

    /// Writes back as much as readers allow.
    ///
    /// # Errors
    /// As [`Checkpoints::run_if_due`].
    pub(super) fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let before = self.held;
        let progress = checkpoint(connection, "PASSIVE")?;
        self.note(progress);
        // Whoever held it at the last attempt and is gone was one of the log's own readers, or has ended.
        let is_passing = match (before, self.held) {
            (Some(before), Some(now)) => before.written_back != now.written_back,
            _ => true,
        };
        let now = Instant::now();
        if progress.pages > RESTART_PAGES
            && is_passing
            && self.next_restart.is_none_or(|next| next <= now)
        {
            self.next_restart = Some(now + RESTART_PAUSE);
            let progress = waiting(connection, RESTART_WAIT, "RESTART")?;
            self.note(progress);
        }
        self.report(connection);
        Ok(())
    }

    /// Writes back as much as readers allow, so that the next commit needs no more room on the disk.
    ///
    /// # Errors
    /// As [`Checkpoints::run_if_due`].
    pub(super) fn make_room(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let progress = waiting(connection, Duration::ZERO, "RESTART")?;
        self.note(progress);
        self.report(connection);
        Ok(())
    }

    /// Leaves all in the file and gives the write-ahead log's space back to the disk, as far as readers allow.
    ///
    /// # Errors
    /// As [`Checkpoints::run_if_due`].
    pub(super) fn truncate(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let progress = waiting(connection, Duration::ZERO, "TRUNCATE")?;
        self.note(progress);
        self.report(connection);
        Ok(())
    }

    /// The same of a write-ahead log that is larger than it has to be; one of an ordinary size keeps its space.
    ///
    /// # Errors
    /// As [`Checkpoints::run_if_due`].
    pub(super) fn truncate_if_large(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.bytes() > CHECKPOINT_PAGES.unsigned_abs() * PAGE_BYTES {
            self.truncate(connection)
        } else {
            self.report(connection);
            Ok(())
        }
    }

    fn note(&mut self, progress: Progress) {
        let Progress {
            pages,
            written_back,
        } = progress;
        if written_back >= pages {
            self.held = None;
            return;
        }
        let since = match self.held {
            Some(held) if held.written_back == written_back && pages >= held.pages => held.since,
            _ => Instant::now(),
        };
        self.held = Some(Held {
            written_back,
            since,
            pages,
        });
    }

    fn report(&mut self, connection: &Connection) {
        let bytes = self.bytes();
        let now = Instant::now();
        let age = self.held.map_or(Duration::ZERO, |held| now - held.since);
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.wal_bytes.set(number(bytes));
        self.metrics.wal_held.set(number(age.as_secs()));
        if age >= WARNING_AGE && self.next_warning.is_none_or(|next| next <= now) {
            self.next_warning = Some(now + WARNING_PAUSE);
            let (log, wal_bytes, held_seconds) = (connection.path(), bytes, age.as_secs());
            tracing::warn!(
                log,
                wal_bytes,
                held_seconds,
                "a reader of the event log's file keeps its write-ahead log from being written back"
            );
        }
    }

    fn bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.len())
    }
}

impl Held {
    /// Whether an attempt is worth it.
    fn is_due(&self, progress: Progress) -> bool {
        let growth = (self.pages / GROWTH_PART).max(CHECKPOINT_PAGES);
        progress.pages < self.pages || progress.pages - self.pages >= growth
    }
}

/// One checkpoint of SQLite's in this mode. Readers can keep pages from being written back, which is no error.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Progress> {
    let pragma = format!("PRAGMA wal_checkpoint({mode})");
    connection.query_row(&pragma, [], |row| {
        Ok(Progress {
            pages: row.get(1)?,
            written_back: row.get(2)?,
        })
    })
}

/// The same with a limit on the wait for readers.
fn waiting(connection: &Connection, limit: Duration, mode: &str) -> rusqlite::Result<Progress> {
    connection.busy_timeout(limit)?;
    let progress = checkpoint(connection, mode);
    connection.busy_timeout(LOCK_WAIT)?;
    progress
}
