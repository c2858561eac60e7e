//! The ends of a log and its newest records, in memory, shared by all who follow it.

mod recent_events;

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

pub use recent_events::RecentEvents;

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Interest, Page, Record, interest::Interests};
use crate::event::{FilterKeys, Position};

/// How many records are held.
const MAX_RECORDS: usize = 4096;

/// How many bytes of records are held.
const MAX_BYTES: usize = 8 << 20;

/// How many records one page has at most.
pub(super) const PAGE_RECORDS: usize = 100;

/// After how many bytes a page ends.
pub(super) const PAGE_BYTES: usize = 64 << 10;

/// The ends of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Right before the oldest record.
    pub trimmed: Position,
    /// Right after the newest one.
    pub head: Position,
    /// When that one was received; the beginning of 1970 where there never was one.
    pub head_time: Timestamp,
}

/// The ends and the newest records.
#[derive(Debug)]
pub struct HotTail {
    held: Arc<RwLock<Held>>,
    head: watch::Sender<u64>,
    interests: Interests,
    recent: OnceLock<RecentEvents>,
}

#[derive(Debug)]
struct Held {
    bounds: Bounds,
    /// Without a hole, up to the head.
    records: VecDeque<Arc<Record>>,
    bytes: usize,
    /// Memory answers nothing any more.
    has_failed: bool,
    /// How much of that is not charged, because it is small, and its limit.
    small_bytes: usize,
    max_small_bytes: usize,
}

impl HotTail {
    /// The tail of a log with these ends. No record is held yet.
    pub(super) fn new(bounds: Bounds) -> Self {
        HotTail {
            head: watch::Sender::new(bounds.head.sequence),
            interests: Interests::new(bounds.head),
            recent: OnceLock::new(),
            held: Arc::new(RwLock::new(Held {
                bounds,
                records: VecDeque::new(),
                bytes: 0,
                has_failed: false,
                small_bytes: 0,
                max_small_bytes: MAX_BYTES,
            })),
        }
    }

    /// Shares the memory budget with the other tails of this process. To be called before anything is shown.
    pub fn share_memory(&self, recent: RecentEvents) {
        lock(&self.held).max_small_bytes = recent.small_bytes_of_each().min(MAX_BYTES);
        let _ = self.recent.set(recent);
    }

    /// The ends.
    pub fn bounds(&self) -> Bounds {
        self.held().bounds
    }

    /// The sequence of the newest record, and its changes.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Follows what has one of these keys from now on: the entry, and the position after which that is.
    pub fn follow(&self, keys: FilterKeys) -> (Interest, Position) {
        self.interests.enter(keys)
    }

    /// One record, if memory has it.
    pub fn record(&self, sequence: u64) -> Option<Arc<Record>> {
        let held = self.held();
        let first = held.records.front()?.sequence;
        let place = usize::try_from(sequence.checked_sub(first)?).ok()?;
        held.records.get(place).map(Arc::clone)
    }

    /// The page after `sequence`, if memory has it.
    pub fn page(&self, sequence: u64) -> Option<Page> {
        let held = self.held();
        if held.has_failed {
            return None;
        }
        if sequence >= held.bounds.head.sequence {
            return Some(Page::new());
        }
        let first = held.records.front()?.sequence;
        let start = usize::try_from((sequence + 1).checked_sub(first)?).ok()?;
        let mut bytes = 0;
        let page = held
            .records
            .range(start..)
            .take(PAGE_RECORDS)
            .take_while(|record| {
                let is_room = bytes < PAGE_BYTES;
                bytes += record.size();
                is_room
            });
        Some(page.cloned().collect())
    }

    /// Shows records that are durable, and how far the log was trimmed. A large record for which the budget has no room
    /// is not held, and none before it: those who follow read them from the log.
    pub(super) fn show(&self, records: Vec<Arc<Record>>, trimmed: Position) {
        let recent = self.recent.get();
        let records: Vec<_> = records
            .into_iter()
            .map(|record| (record.position(), record.receive_time, record))
            .map(|(position, time, record)| match recent {
                Some(recent) => (position, time, recent.charge(record)),
                None => (position, time, Ok(record)),
            })
            .collect();
        let mut held = lock(&self.held);
        // Whoever sees the new head also finds what was noted.
        let shown = records.iter().map(|(.., record)| record.as_ref());
        self.interests
            .note(shown.map(|record| record.unwrap_or_else(|uncharged| uncharged)));
        held.bounds.trimmed = trimmed;
        let mut large = Vec::new();
        for (position, time, record) in records {
            held.bounds.head = position;
            held.bounds.head_time = time;
            match record {
                Ok(record) => {
                    large.extend((record.large_bytes() > 0).then_some(position.sequence));
                    held.push(record);
                }
                Err(_) => held.pop_through(position.sequence),
            }
        }
        while held.is_over_limit() || held.is_front_trimmed() {
            held.pop();
        }
        drop(held);
        if let Some(recent) = recent {
            recent.note_held(&self.held, large);
        }
    }

    /// Has all who follow ask the log itself from now on, which fails: nothing is certain any more.
    pub(super) fn fail(&self) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.has_failed = true;
        drop(held);
        self.interests.fail();
        self.head.send_modify(|_| {});
    }

    /// Wakes all who follow, if there is something new to see.
    pub(super) fn wake(&self) {
        self.interests.wake();
        let head = self.bounds().head.sequence;
        self.head.send_if_modified(|last| {
            let is_news = *last != head;
            *last = head;
            is_news
        });
    }

    /// Has memory answer again, after [`HotTail::fail`].
    pub(super) fn recover(&self) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.has_failed = false;
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn push(&mut self, record: Arc<Record>) {
        self.bytes += record.size();
        self.small_bytes += record.size() - record.large_bytes();
        self.records.push_back(record);
    }

    fn pop(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.bytes -= record.size();
            self.small_bytes -= record.size() - record.large_bytes();
        }
    }

    /// Gives up the records up to this one: there is no hole between the first and the head.
    fn pop_through(&mut self, sequence: u64) {
        while self
            .records
            .front()
            .is_some_and(|record| record.sequence <= sequence)
        {
            self.pop();
        }
    }

    fn is_over_limit(&self) -> bool {
        let is_too_large = self.bytes > MAX_BYTES || self.small_bytes > self.max_small_bytes;
        self.records.len() > MAX_RECORDS || (is_too_large && self.records.len() > 1)
    }

    fn is_front_trimmed(&self) -> bool {
        self.records
            .front()
            .is_some_and(|record| record.sequence <= self.bounds.trimmed.sequence)
    }
}

fn lock(held: &RwLock<Held>) -> RwLockWriteGuard<'_, Held> {
    held.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
