//! What one transaction of the writer does, operation by operation.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rusqlite::Connection;

use super::{
    append::{Inserted, append},
    eviction::{EvictedTo, evict},
    log_row::State,
    polls::{self, Superseded},
    queue::{Operation, Written},
    request_usage::Usage,
    requests,
    retention::Removed,
};
use crate::{
    event::{LogId, NewEvent},
    store::{Appended, Record},
};

/// How large a page of the file is.
pub(super) const PAGE_BYTES: u64 = 4 << 10;

/// What every operation of a transaction goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) log_id: LogId,
    /// What callers see as the time of a change.
    pub(super) now: Timestamp,
    /// What ages are measured with.
    pub(super) log_time: Timestamp,
    pub(super) dedup_window: Duration,
    /// How many bytes of request records are kept.
    pub(super) request_bytes: u64,
}

/// What a transaction did, once it is committed.
pub(super) struct Committed {
    pub(super) state: State,
    pub(super) records: Vec<Arc<Record>>,
    pub(super) answers: Vec<Written>,
    /// How many polls more there are than before.
    pub(super) more_polls: i64,
    /// Events that replaced another and told a different end, with the id of the one that they replaced.
    pub(super) disputed: Vec<(Arc<Record>, String)>,
    /// How many events got an id of their own, because an event with another body had theirs.
    pub(super) id_conflicts: u64,
    pub(super) trimmed: Removed,
    pub(super) forgotten: Removed,
    /// What request records take, and up to which end their answers were evicted.
    pub(super) usage: Usage,
    pub(super) evicted_to: EvictedTo,
    /// Whether only the bound of a step kept it from removing more.
    pub(super) has_more: bool,
    /// How many requests of earlier processes were marked as abandoned.
    pub(super) abandoned: usize,
    /// How many records were looked at to evict their answers, and how many lost them.
    pub(super) considered: usize,
    pub(super) evicted: u64,
}

impl Committed {
    /// A transaction that has done nothing yet.
    pub(super) fn new(state: State, usage: Usage, evicted_to: EvictedTo) -> Self {
        Committed {
            state,
            usage,
            evicted_to,
            has_more: false,
            abandoned: 0,
            considered: 0,
            evicted: 0,
            records: Vec::new(),
            answers: Vec::new(),
            more_polls: 0,
            disputed: Vec::new(),
            id_conflicts: 0,
            trimmed: Removed::default(),
            forgotten: Removed::default(),
        }
    }

    /// Does one operation. Not visible to anybody until the transaction is committed.
    pub(super) fn apply(
        &mut self,
        connection: &Connection,
        terms: Terms,
        operation: Operation,
    ) -> rusqlite::Result<()> {
        let now = terms.now;
        let written = match operation {
            Operation::Append(event) => {
                Written::Appended(self.append_webhook(connection, terms, event)?)
            }
            Operation::Begin(intent) => {
                let usage = &mut self.usage;
                Written::Begun(requests::begin(connection, terms, usage, intent)?)
            }
            Operation::Finish(ending) => {
                let usage = &mut self.usage;
                Written::Finished(requests::finish(connection, terms, usage, ending)?)
            }
            Operation::AddPoll {
                screening_id,
                subject_id,
                next_poll,
            } => {
                let of = (screening_id, subject_id);
                let is_added = polls::add(connection, now, of, next_poll)?;
                self.more_polls += i64::from(is_added);
                Written::PollChanged(is_added)
            }
            Operation::Postpone(poll, next_poll) => {
                Written::PollChanged(polls::postpone(connection, poll, next_poll)?)
            }
            Operation::RemovePoll(screening_id) => {
                Written::PollChanged(self.remove_poll(connection, &screening_id)?)
            }
            Operation::Reconcile(event) => Written::Appended(
                match self.remove_poll(connection, event.keys.screening_id.as_bytes())? {
                    true => self.append(connection, terms, event)?,
                    false => Appended::Duplicate,
                },
            ),
        };
        self.answers.push(written);
        Ok(())
    }

    /// Evicts answers of request records while they take more than their bound.
    pub(super) fn evict(
        &mut self,
        connection: &Connection,
        terms: Terms,
        before: Usage,
    ) -> rusqlite::Result<()> {
        let added = self.usage.answer_bytes - before.answer_bytes;
        (self.considered, self.evicted) = evict(
            connection,
            &mut self.usage,
            &mut self.evicted_to,
            terms.request_bytes,
            added,
        )?;
        Ok(())
    }

    /// Appends an event that came by webhook. If a screening ended with it, nobody needs to ask for that end, and
    /// it replaces what the gateway read by itself.
    fn append_webhook(
        &mut self,
        connection: &Connection,
        terms: Terms,
        mut event: NewEvent,
    ) -> rusqlite::Result<Appended> {
        let Some(screening_id) = event.keys.ended_screening().map(str::to_owned) else {
            return self.append(connection, terms, event);
        };
        let is_removed = polls::remove_ended(connection, &screening_id, &event.keys.subject_id)?;
        self.more_polls -= i64::from(is_removed);
        let superseded = polls::superseded(connection, &screening_id, &event)?;
        if let Some(Superseded { event_id, .. }) = &superseded {
            event = event.superseding(event_id);
        }
        let appended = self.append(connection, terms, event)?;
        if let (Appended::New, Some(superseded)) = (appended, superseded)
            && superseded.is_disputed
        {
            let record = self.records.last().map(Arc::clone);
            self.disputed
                .extend(record.map(|record| (record, superseded.event_id)));
        }
        Ok(appended)
    }

    fn append(
        &mut self,
        connection: &Connection,
        terms: Terms,
        event: NewEvent,
    ) -> rusqlite::Result<Appended> {
        let Some(inserted) = append(connection, terms, &mut self.state, event)? else {
            return Ok(Appended::Duplicate);
        };
        let Inserted {
            record,
            has_id_conflict,
        } = inserted;
        self.id_conflicts += u64::from(has_id_conflict);
        self.records.push(Arc::new(record));
        Ok(Appended::New)
    }

    fn remove_poll(
        &mut self,
        connection: &Connection,
        screening_id: &[u8],
    ) -> rusqlite::Result<bool> {
        let is_removed = polls::remove(connection, screening_id)?;
        self.more_polls -= i64::from(is_removed);
        Ok(is_removed)
    }
}
