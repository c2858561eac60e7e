//! The requests that this process is working on, and those who wait for the same.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{settled::Settled, waiting::Waiting};
use crate::store::{RequestContent, RequestKey};

/// How many calls with one id may wait for the one that works on it.
const MAX_JOINS: usize = 64;

/// All of them. Their number is bounded by those of the calls in flight, of the repeats, and of the records that the
/// store has not taken yet. Clones share them.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Mutex<HashMap<RequestKey, Joinable>>>);

/// A request that others can join.
#[derive(Clone)]
pub(super) struct Joinable {
    pub(super) content: RequestContent,
    pub(super) settled: watch::Receiver<Option<Settled>>,
    pub(super) waiting: Waiting,
    joins: Arc<Semaphore>,
}

/// The one call that works on a request. It is in flight until this is dropped.
pub(super) struct Lead {
    in_flight: InFlight,
    key: RequestKey,
    settle: watch::Sender<Option<Settled>>,
}

/// What a call does about a request.
pub(super) enum Role {
    Lead(Lead),
    Join(Joinable),
}

impl InFlight {
    /// Takes the lead of a call that `waiting` wait for, unless somebody has it.
    pub(super) fn enter(
        &self,
        key: RequestKey,
        content: &RequestContent,
        waiting: &Waiting,
    ) -> Role {
        match self.requests().entry(key) {
            Entry::Occupied(entry) => Role::Join(entry.get().clone()),
            Entry::Vacant(entry) => {
                let (settle, settled) = watch::channel(None);
                let key = entry.key().clone();
                entry.insert(Joinable {
                    content: content.clone(),
                    settled,
                    waiting: waiting.clone(),
                    joins: Arc::new(Semaphore::new(MAX_JOINS)),
                });
                Role::Lead(Lead {
                    in_flight: self.clone(),
                    key,
                    settle,
                })
            }
        }
    }

    /// Whether somebody works on it.
    pub(super) fn has(&self, key: &RequestKey) -> bool {
        self.requests().contains_key(key)
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<RequestKey, Joinable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Joinable {
    /// A permit to wait for its end; `None` if too many do.
    pub(super) fn join(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.joins).try_acquire_owned().ok()
    }

    /// Its end, where that is known and may be told: not if it was given up before it was sent, since whoever waits
    /// longer may send it.
    pub(super) fn told(&self) -> Option<Settled> {
        let settled = self.settled.borrow();
        let settled = settled.as_ref();
        settled.filter(|settled| !settled.was_given_up()).cloned()
    }
}

impl Lead {
    /// Tells those who joined.
    pub(super) fn settle(&self, settled: Settled) {
        self.settle.send_replace(Some(settled));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.in_flight.requests().remove(&self.key);
    }
}
