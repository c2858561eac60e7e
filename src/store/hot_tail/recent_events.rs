//! The memory that the hot tails of one process share.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
};

use super::{Held, lock};
use crate::{
    memory::{Budget, Charge, FREE_BYTES, Pool},
    store::Record,
};

/// What the tails hold, in the order in which they came to hold it. Clones share it.
#[derive(Clone, Debug)]
pub struct RecentEvents {
    pool: Pool,
    small_bytes_of_each: usize,
    held: Arc<Mutex<VecDeque<LargeRecord>>>,
}

/// A large record that a tail held when it was shown.
#[derive(Debug)]
struct LargeRecord {
    tail: Weak<RwLock<Held>>,
    sequence: u64,
}

impl RecentEvents {
    /// For `tails` hot tails.
    pub fn new(budget: &Budget, tails: usize) -> Self {
        RecentEvents {
            pool: budget.recent_events.clone(),
            small_bytes_of_each: budget.small_recent_events / tails.max(1),
            held: Arc::default(),
        }
    }

    pub(super) fn small_bytes_of_each(&self) -> usize {
        self.small_bytes_of_each
    }

    /// Charges a record, where it is large. The oldest large records are evicted for it, whoever's they are.
    ///
    /// # Errors
    /// The record, if there is no room: streams have not yet taken what was evicted.
    pub(super) fn charge(&self, mut record: Arc<Record>) -> Result<Arc<Record>, Arc<Record>> {
        let large = record.large_bytes();
        if large == 0 {
            return Ok(record);
        }
        let Some(mut charge) = self.charge_evicting(large) else {
            return Err(record);
        };
        Arc::make_mut(&mut record).attach(&mut charge);
        Ok(record)
    }

    fn charge_evicting(&self, bytes: usize) -> Option<Charge> {
        loop {
            if let Some(charge) = self.pool.try_charge(bytes) {
                return Some(charge);
            }
            let oldest = self.held().pop_front()?;
            if let Some(tail) = oldest.tail.upgrade() {
                lock(&tail).pop_through(oldest.sequence);
            }
        }
    }

    /// Notes that a tail holds large records with these sequences.
    pub(super) fn note_held(&self, tail: &Arc<RwLock<Held>>, sequences: Vec<u64>) {
        if sequences.is_empty() {
            return;
        }
        let mut held = self.held();
        held.extend(sequences.into_iter().map(|sequence| LargeRecord {
            tail: Arc::downgrade(tail),
            sequence,
        }));
        // Twice as many as the pool has room for: at least half of them are gone.
        if held.len() > 2 * self.pool.size() / FREE_BYTES {
            held.retain(LargeRecord::is_held);
        }
    }

    fn held(&self) -> MutexGuard<'_, VecDeque<LargeRecord>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LargeRecord {
    fn is_held(&self) -> bool {
        self.tail.upgrade().is_some_and(|tail| {
            let held = tail.read().unwrap_or_else(PoisonError::into_inner);
            let first = held.records.front();
            first.is_some_and(|first| first.sequence <= self.sequence)
        })
    }
}
