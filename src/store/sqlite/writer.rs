//! The one writer: takes all writes that wait, makes them in one transaction, syncs once, shows them, and
//! only then answers.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use rusqlite::TransactionBehavior;
use tokio::sync::watch;

use super::{
    clock_mark::Marking,
    eviction::{EvictedTo, STEP, abandon},
    failure::CommitError,
    queue::{Operation, Write, refuse},
    requests,
    retention::{Limits, trim},
    schema::{Opened, checkpoint},
    transaction::{Committed, PAGE_BYTES, Terms},
    waiting::Waiting,
    young::Young,
};
use crate::{
    clock::LogTime,
    store::{
        AppendError, Config, HotTail, Metrics, request_space::RequestSpace, writable::Writable,
    },
};

/// After about how many bytes the write-ahead log is written back into the file.
const CHECKPOINT_BYTES: u64 = 8 << 20;

/// From how many pages on the write-ahead log is made to start over, readers or not.
const WAL_PAGES: i64 = 16 << 10;

pub(super) struct Writer {
    opened: Opened,
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
    bytes_since_checkpoint: u64,
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
    pub(super) fn new(opened: Opened, config: &Config, log_time: LogTime, mut seen: Seen) -> Self {
        let usage = opened.usage;
        seen.request_space
            .show(usage.records.unsigned_abs(), usage.bytes());
        Writer {
            evicted_to: EvictedTo::default(),
            retention_age: config.retention_age,
            retention_bytes: config.retention_bytes,
            dedup_window: config.dedup_window,
            request_retention: config.request_retention,
            marking: Marking::default(),
            young: Young::since(&opened.state, &log_time.now()),
            opened,
            log_time,
            seen,
            is_broken: false,
            bytes_since_checkpoint: 0,
        }
    }

    /// Whether the log can write.
    pub(super) fn writable(&self) -> watch::Receiver<bool> {
        self.seen.writable.subscribe()
    }

    /// The system has no thread to write on.
    pub(super) fn has_no_thread(&self, error: &io::Error) {
        let log = self.opened.connection.path();
        tracing::error!(log, %error, "there is no thread for the event log's writer");
        self.seen.writable.set(false);
    }

    /// Leaves the file as small as it can be.
    pub(super) fn close(mut self) {
        if !self.is_broken {
            self.marking.force();
            // Without the mark the next process goes by the records.
            let _ = self.commit(Vec::new());
            // What is left over is read at the next start.
            let _ = checkpoint(&self.opened.connection, "TRUNCATE");
        }
    }

    /// Writes all of these in one transaction.
    pub(super) fn write(&mut self, batch: Vec<Write>) {
        if self.is_broken {
            return refuse(
                batch.into_iter().map(|write| write.answer),
                AppendError::Broken,
            );
        }
        let start = Instant::now();
        let (operations, answers): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|write| (write.operation, (write.answer, write._room)))
            .unzip();
        match self.commit(operations) {
            Ok(mut committed) => {
                self.seen
                    .metrics
                    .commit
                    .observe(start.elapsed().as_secs_f64());
                let written = std::mem::take(&mut committed.answers);
                self.show(committed);
                for ((answer, _room), written) in answers.into_iter().zip(written) {
                    // A client that has gone away finds out when it asks again.
                    let _ = answer.send(Ok(written));
                }
                self.seen.tail.wake();
                self.checkpoint_if_due();
            }
            Err(error) => {
                let consequence = self.failed(&error);
                refuse(answers.into_iter().map(|(answer, _)| answer), consequence);
            }
        }
    }

    /// One transaction: when it returns, all of it is on disk, and in the files that a restart finds.
    fn commit(&mut self, operations: Vec<Operation>) -> Result<Committed, CommitError> {
        let now = self.log_time.now();
        let limits = self.limits(now.log_time);
        let oldest_request = before(now.log_time, self.request_retention);
        let request_bytes = self.seen.request_space.bound();
        let Opened {
            connection,
            files,
            id,
            state,
            usage,
            left_open,
            ..
        } = &mut self.opened;
        let terms = Terms {
            log_id: *id,
            now: now.time,
            log_time: now.log_time,
            dedup_window: self.dedup_window,
            request_bytes,
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
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
        self.marking.write_if_due(&transaction, &now)?;
        transaction.commit()?;
        files.check()?;
        self.marking.written();
        self.young.moved(&now);
        Ok(committed)
    }

    fn show(&mut self, committed: Committed) {
        self.opened.state = committed.state;
        self.show_requests(&committed);
        self.seen
            .metrics
            .appended
            .inc_by(committed.records.len() as u64);
        self.seen.metrics.trimmed.inc_by(committed.trimmed);
        let conflicts = committed.id_conflicts;
        self.seen.metrics.id_conflicts.inc_by(conflicts);
        self.seen.waiting.add(committed.more_polls);
        self.seen
            .metrics
            .disputed
            .inc_by(committed.disputed.len() as u64);
        let log = self.opened.connection.path();
        for (record, superseded) in &committed.disputed {
            tracing::warn!(
                log,
                screening_id = record.keys.screening_id,
                event_id = record.event_id,
                superseded,
                "a webhook tells another end of a screening than Kora's answer did"
            );
        }
        let written = committed.records.iter().map(|record| {
            // The page of the record, and the one of its id in the index.
            record.size() as u64 + 2 * PAGE_BYTES
        });
        self.bytes_since_checkpoint += written.sum::<u64>() + committed.other_bytes;
        let trimmed = committed.state.trimmed.position;
        self.seen.tail.show(committed.records, trimmed);
        self.seen.writable.set(true);
    }

    fn show_requests(&mut self, committed: &Committed) {
        let (usage, left_open) = (committed.usage, &mut self.opened.left_open);
        left_open.truncate(left_open.len() - committed.abandoned);
        self.opened.usage = usage;
        self.evicted_to = committed.evicted_to;
        let space = &mut self.seen.request_space;
        space.evicted(committed.evicted);
        space.show(usage.records.unsigned_abs(), usage.bytes());
        space.set_refusing(!usage.has_room(space.bound()));
    }

    /// What there is to do while nobody asks for anything: removing what is too old, and finding out whether
    /// the disk takes something again.
    pub(super) fn look_after(&mut self) {
        while !self.is_broken {
            let result = match self.seen.writable.get() {
                true => self.commit(Vec::new()),
                false => self.prove_writable(),
            };
            match result {
                Ok(committed) => {
                    let has_more = committed.trimmed > 0
                        || committed.forgotten > 0
                        || committed.abandoned > 0
                        || committed.considered > 0;
                    self.show(committed);
                    if !has_more {
                        return;
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    return;
                }
            }
        }
    }

    /// Makes room on a disk that may be full, and writes something durable that changes nothing.
    fn prove_writable(&mut self) -> Result<Committed, CommitError> {
        checkpoint(&self.opened.connection, "TRUNCATE")?;
        let connection = &self.opened.connection;
        connection.execute("UPDATE log SET only_row = 1", [])?;
        self.commit(Vec::new())
    }

    fn failed(&mut self, error: &CommitError) -> AppendError {
        let consequence = error.consequence();
        self.is_broken |= consequence == AppendError::Broken;
        if self.seen.writable.get() || self.is_broken {
            let (log, needs_restart) = (self.opened.connection.path(), self.is_broken);
            tracing::error!(log, %error, needs_restart, "the event log cannot write");
        }
        self.seen.writable.set(false);
        consequence
    }

    fn checkpoint_if_due(&mut self) {
        if self.bytes_since_checkpoint < CHECKPOINT_BYTES {
            return;
        }
        self.bytes_since_checkpoint = 0;
        let connection = &self.opened.connection;
        let done = match checkpoint(connection, "PASSIVE") {
            Ok(pages) if pages > WAL_PAGES => checkpoint(connection, "RESTART").map(drop),
            other => other.map(drop),
        };
        if let Err(error) = done {
            self.failed(&error.into());
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
