//! The one writer: takes all writes that wait, makes them in one transaction, syncs once, shows them, and
//! only then answers.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::watch;

use super::{
    WRITE_TIMEOUT,
    checkpoints::{Checkpoints, RESTART_PAGES, checkpoint},
    clock_mark::Marking,
    eviction::{EvictedTo, STEP, abandon},
    failure::CommitError,
    files::LogFiles,
    log_row::State,
    queue::{Operation, Write, refuse},
    request_usage::Usage,
    requests,
    retention::{Limits, trim},
    schema::{Opened, directory_of},
    transaction::{Committed, Terms},
    waiting::Waiting,
    young::Young,
};
use crate::{
    clock::LogTime,
    event::LogId,
    store::{
        AppendError, Config, HotTail, Metrics, request_space::RequestSpace, reserve::Reserve,
        writable::Writable,
    },
};

/// How soon the writer looks again at a log that cannot write, or whose disk is full.
pub(super) const RECOVERY_PAUSE: Duration = Duration::from_secs(1);

/// How soon it looks again at a write-ahead log that a reader holds.
const HELD_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Writer {
    log: Log,
    retention_age: Duration,
    retention_bytes: u64,
    dedup_window: Duration,
    request_retention: Duration,
    log_time: LogTime,
    marking: Marking,
    young: Young,
    evicted_to: EvictedTo,
    seen: Seen,
    is_broken: bool,
    checkpoints: Checkpoints,
    disk: Disk,
}

/// The log as the last commit left it.
struct Log {
    /// Its file, for people.
    name: String,
    files: LogFiles,
    id: LogId,
    state: State,
    usage: Usage,
    left_open: Vec<i64>,
}

/// What the log is written to.
struct Disk {
    /// Not its directory, which is unlocked once the log is closed or dropped.
    reserve: Arc<Reserve>,
    /// Where the log's file is, which can be behind a symbolic link.
    path: PathBuf,
    /// The last write or checkpoint found no room.
    is_full: bool,
}

/// Where others see what was written.
pub(super) struct Seen {
    pub(super) tail: Arc<HotTail>,
    pub(super) writable: Writable,
    pub(super) waiting: Waiting,
    pub(super) request_space: RequestSpace,
    pub(super) metrics: Metrics,
}

impl Writer {
    /// The writer of a log, and the connection that each of its steps is handed.
    pub(super) fn new(
        opened: Opened,
        config: &Config,
        log_time: LogTime,
        reserve: Arc<Reserve>,
        mut seen: Seen,
    ) -> (Self, Connection) {
        let Opened {
            connection,
            path,
            files,
            id,
            state,
            usage,
            left_open,
            ..
        } = opened;
        let disk = Disk {
            reserve,
            path: directory_of(&path).to_owned(),
            is_full: false,
        };
        let checkpoints = Checkpoints::new(&path, seen.metrics.clone());
        seen.request_space
            .show(usage.records.unsigned_abs(), usage.bytes());
        let log = Log {
            name: path.display().to_string(),
            files,
            id,
            state,
            usage,
            left_open,
        };
        let writer = Writer {
            evicted_to: EvictedTo::default(),
            retention_age: config.retention_age,
            retention_bytes: config.retention_bytes,
            dedup_window: config.dedup_window,
            request_retention: config.request_retention,
            marking: Marking::default(),
            young: Young::since(&log.state, &log_time.now()),
            log,
            log_time,
            seen,
            checkpoints,
            disk,
            is_broken: false,
        };
        (writer, connection)
    }

    /// Whether the log can write.
    pub(super) fn writable(&self) -> watch::Receiver<bool> {
        self.seen.writable.subscribe()
    }

    /// The system has no thread to write on.
    pub(super) fn has_no_thread(&self, error: &io::Error) {
        let log = self.log.name.as_str();
        tracing::error!(log, %error, "there is no thread for the event log's writer");
        self.seen.writable.set(false);
    }

    /// Leaves the file as small as it can be.
    pub(super) fn close(mut self, connection: &Connection) {
        if !self.is_broken {
            self.marking.force();
            // Without the mark the next process goes by the records.
            let _ = self.commit(connection, Vec::new());
            // What is left over is read at the next start: neither a reader nor a write-ahead log that one made grow may
            // delay the stop.
            let is_small =
                checkpoint(connection, "NOOP").is_ok_and(|found| found.pages <= RESTART_PAGES);
            if is_small {
                let _ = self.checkpoints.truncate(connection);
            }
        }
    }

    /// Writes all of these in one transaction. Returns whether there is maintenance to go on with.
    pub(super) fn write(&mut self, connection: &Connection, batch: Vec<Write>) -> bool {
        if self.disk.is_full {
            self.make_room(connection);
        }
        if self.is_broken {
            let answers = batch.into_iter().map(|write| write.answer);
            refuse(answers, AppendError::Broken);
            return false;
        }
        let start = Instant::now();
        let (operations, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|write| (write.operation, (write.answer, write._room)))
            .unzip();
        match self.commit(connection, operations) {
            Ok(mut committed) => {
                self.seen
                    .metrics
                    .commit
                    .observe(start.elapsed().as_secs_f64());
                let has_more = committed.has_more;
                let written = std::mem::take(&mut committed.answers);
                // One that nobody waits for any more came too late.
                let is_in_time = answers.iter().any(|(answer, _)| !answer.is_closed());
                self.show(committed);
                if is_in_time {
                    self.seen.writable.set(true);
                }
                for ((answer, _room), written) in answers.into_iter().zip(written) {
                    // A client that has gone away finds out when it asks again.
                    let _ = answer.send(Ok(written));
                }
                self.seen.tail.wake();
                self.checkpoint_if_due(connection);
                has_more
            }
            Err(error) => {
                let consequence = self.failed(&error);
                refuse(answers.into_iter().map(|(answer, _)| answer), consequence);
                false
            }
        }
    }

    /// One transaction: when it returns, all of it is on disk, and in the files that a restart finds.
    fn commit(
        &mut self,
        connection: &Connection,
        operations: Vec<Operation>,
    ) -> Result<Committed, CommitError> {
        let now = self.log_time.now();
        let limits = self.limits(now.log_time);
        let oldest_request = before(now.log_time, self.request_retention);
        let request_bytes = self.seen.request_space.bound();
        let Log {
            files,
            id,
            state,
            usage,
            left_open,
            ..
        } = &mut self.log;
        let terms = Terms {
            log_id: *id,
            now: now.time,
            log_time: now.log_time,
            dedup_window: self.dedup_window,
            request_bytes,
        };
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let last = state.head.position.sequence;
        let mut committed = Committed::new(*state, *usage, self.evicted_to);
        self.young
            .move_along(&transaction, &now, &mut committed.state)?;
        let abandoned = &left_open[left_open.len().saturating_sub(STEP)..];
        abandon(&transaction, now.log_time, abandoned)?;
        committed.abandoned = abandoned.len();
        for operation in operations {
            committed.apply(&transaction, terms, operation)?;
        }
        committed.trimmed = trim(&transaction, *id, &mut committed.state, limits, last)?;
        committed.forgotten = requests::trim(&transaction, &mut committed.usage, oldest_request)?;
        committed.evict(&transaction, terms, *usage)?;
        committed.has_more = committed.trimmed.has_more
            || committed.forgotten.has_more
            || committed.abandoned < left_open.len()
            || (committed.considered > 0 && committed.usage.bytes() > request_bytes);
        self.marking.write_if_due(&transaction, &now)?;
        transaction.commit()?;
        files.check()?;
        self.marking.written();
        self.young.moved(&now);
        Ok(committed)
    }

    fn show(&mut self, committed: Committed) {
        self.log.state = committed.state;
        self.show_requests(&committed);
        self.seen
            .metrics
            .appended
            .inc_by(committed.records.len() as u64);
        self.seen.metrics.trimmed.inc_by(committed.trimmed.count);
        let conflicts = committed.id_conflicts;
        self.seen.metrics.id_conflicts.inc_by(conflicts);
        self.seen.waiting.add(committed.more_polls);
        self.seen
            .metrics
            .disputed
            .inc_by(committed.disputed.len() as u64);
        let log = self.log.name.as_str();
        for (record, superseded) in &committed.disputed {
            tracing::warn!(
                log,
                screening_id = record.keys.screening_id,
                event_id = record.event_id,
                superseded,
                "a webhook tells another end of a screening than Kora's answer did"
            );
        }
        let trimmed = committed.state.trimmed.position;
        self.seen.tail.show(committed.records, trimmed);
    }

    fn show_requests(&mut self, committed: &Committed) {
        let (usage, left_open) = (committed.usage, &mut self.log.left_open);
        left_open.truncate(left_open.len() - committed.abandoned);
        self.log.usage = usage;
        self.evicted_to = committed.evicted_to;
        let space = &mut self.seen.request_space;
        space.evicted(committed.evicted);
        space.show(usage.records.unsigned_abs(), usage.bytes());
        space.set_refusing(!usage.has_room(space.bound()));
    }

    /// One bounded step of maintenance: removes what is too old, and finds out whether the disk takes something again.
    /// Returns whether there is more to do at once.
    pub(super) fn maintain(&mut self, connection: &Connection) -> bool {
        if self.is_broken {
            return false;
        }
        let start = Instant::now();
        let is_writable = self.seen.writable.get();
        let result = if is_writable {
            if self.disk.is_full {
                self.make_room(connection);
            }
            self.commit(connection, Vec::new())
        } else {
            self.prove_writable(connection)
        };
        match result {
            Ok(committed) => {
                let has_more = committed.has_more;
                self.show(committed);
                if !is_writable && start.elapsed() < WRITE_TIMEOUT {
                    self.disk.is_full = false;
                    self.seen.writable.set(true);
                }
                self.checkpoint_if_due(connection);
                if !has_more {
                    self.look_at_disk(connection);
                }
                has_more
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    /// How long until the next maintenance, if nothing asks for it earlier than `idle`.
    pub(super) fn maintenance_pause(&self, idle: Duration) -> Duration {
        if self.disk.is_full || !self.seen.writable.get() {
            RECOVERY_PAUSE
        } else if self.checkpoints.is_held() {
            HELD_PAUSE.min(idle)
        } else {
            idle
        }
    }

    /// Writes something durable that changes nothing, on a disk that may be full.
    fn prove_writable(&mut self, connection: &Connection) -> Result<Committed, CommitError> {
        self.checkpoints.make_room(connection)?;
        connection.execute("UPDATE log SET only_row = 1", [])?;
        self.commit(connection, Vec::new())
    }

    /// Before anything else is written to a disk that was full: the write-ahead log, written back, has room of its own.
    fn make_room(&mut self, connection: &Connection) {
        match self.checkpoints.make_room(connection) {
            Ok(()) => self.disk.is_full = false,
            Err(error) => self.not_written_back(&error.into()),
        }
    }

    fn failed(&mut self, error: &CommitError) -> AppendError {
        let consequence = self.note_failure(error);
        if self.seen.writable.get() || self.is_broken {
            let (log, needs_restart) = (self.log.name.as_str(), self.is_broken);
            tracing::error!(log, %error, needs_restart, "the event log cannot write");
        }
        self.seen.writable.set(false);
        consequence
    }

    /// A checkpoint failed. Unless it was a sync, appends may succeed all the same.
    fn not_written_back(&mut self, error: &CommitError) {
        let was_full = self.disk.is_full;
        if self.note_failure(error) == AppendError::Broken {
            self.failed(error);
        } else if !was_full {
            let log = self.log.name.as_str();
            tracing::warn!(log, %error, "the event log's write-ahead log cannot be written back");
        }
    }

    /// A full disk gets its reserve back.
    fn note_failure(&mut self, error: &CommitError) -> AppendError {
        let consequence = error.consequence(&self.disk.path);
        self.is_broken |= consequence == AppendError::Broken;
        if error.is_full_disk(&self.disk.path) {
            self.disk.is_full = true;
            self.disk.reserve.give_up();
        }
        consequence
    }

    fn checkpoint_if_due(&mut self, connection: &Connection) {
        if let Err(error) = self.checkpoints.run_if_due(connection) {
            self.not_written_back(&error.into());
        }
    }

    /// What is done once nothing more is to be removed.
    fn look_at_disk(&mut self, connection: &Connection) {
        let done = if self.checkpoints.is_held() {
            self.checkpoints.run(connection)
        } else {
            self.checkpoints.truncate_if_large(connection)
        };
        match done {
            Err(error) => self.not_written_back(&error.into()),
            Ok(()) if !self.disk.is_full => self.disk.reserve.allocate(),
            Ok(()) => {}
        }
    }

    fn limits(&self, log_time: Timestamp) -> Limits {
        Limits {
            oldest: before(log_time, self.retention_age),
            bytes: self.retention_bytes,
        }
    }
}

/// So long ago.
fn before(now: Timestamp, age: Duration) -> Timestamp {
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    now.checked_sub(age).unwrap_or(Timestamp::MIN)
}

impl Drop for Writer {
    /// Also when it panicked: nobody writes any more.
    fn drop(&mut self) {
        self.seen.writable.set(false);
    }
}
