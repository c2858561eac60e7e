//! Requests that are coming in: how many there are at a time, and how much memory they have, is bounded.
//!
//! A client can begin requests and never end them. So a request has no place among the calls in flight before it is
//! whole, and where there is no room for another one, those that came first and are not whole make it: clients that
//! say what they want are not shut out by clients that do not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lifecycle::Shutdown;

/// Requests that are not whole, at a time. Most are whole when their head is there.
const MAX_UNFINISHED: usize = 4096;

/// How much of a request comes free: all of most, and 64 MiB of those that are not whole.
const FREE_BYTES: usize = 16 << 10;

/// How much memory what is larger may have, until its call is over; one message of the largest size always has room.
const LARGE_MEMORY: usize = 64 << 20;

/// In what portions it is given out.
const PORTION_BYTES: usize = 1 << 10;

/// Takes requests in.
#[derive(Clone)]
pub(super) struct Arrivals {
    memory: Arc<Semaphore>,
    unfinished: Arc<Mutex<Unfinished>>,
}

/// A request that is coming in, until it is dropped.
pub(super) struct Arrival {
    arrivals: Arrivals,
    number: u64,
    makes_room: Shutdown,
}

/// There is no room for more of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// Those that are not whole, in the order in which they came.
#[derive(Default)]
struct Unfinished {
    last: u64,
    requests: BTreeMap<u64, Request>,
    /// Those of them that have memory.
    large: BTreeSet<u64>,
}

struct Request {
    received: usize,
    memory: Option<OwnedSemaphorePermit>,
    makes_room: Shutdown,
}

impl Arrivals {
    /// For messages of at most so many bytes.
    pub(super) fn new(max_message_bytes: usize) -> Self {
        let memory = LARGE_MEMORY.max(max_message_bytes);
        Arrivals {
            memory: Arc::new(Semaphore::new(memory.div_ceil(PORTION_BYTES))),
            unfinished: Arc::default(),
        }
    }

    /// A request begins.
    pub(super) fn begin(&self) -> Arrival {
        let makes_room = Shutdown::default();
        let mut unfinished = self.lock();
        if unfinished.requests.len() >= MAX_UNFINISHED {
            unfinished.first_makes_room();
        }
        unfinished.last += 1;
        let number = unfinished.last;
        let request = Request {
            received: 0,
            memory: None,
            makes_room: makes_room.clone(),
        };
        unfinished.requests.insert(number, request);
        drop(unfinished);
        Arrival {
            arrivals: self.clone(),
            number,
            makes_room,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Unfinished> {
        self.unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unfinished {
    fn first_makes_room(&mut self) {
        if let Some((number, request)) = self.requests.pop_first() {
            self.large.remove(&number);
            request.makes_room.start();
        }
    }

    /// The first one with memory, `number` aside. Whether there was one.
    fn first_large_makes_room(&mut self, number: u64) -> bool {
        let Some(first) = self.large.iter().copied().find(|first| *first != number) else {
            return false;
        };
        self.large.remove(&first);
        if let Some(request) = self.requests.remove(&first) {
            request.makes_room.start();
        }
        true
    }
}

impl Request {
    /// How many portions of memory it has yet to get.
    fn lacks(&self) -> usize {
        let has = self
            .memory
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let needs = self.received.saturating_sub(FREE_BYTES);
        needs.div_ceil(PORTION_BYTES).saturating_sub(has)
    }
}

impl Arrival {
    /// Tells when it has to make room for others.
    pub(super) fn makes_room(&self) -> impl Future<Output = ()> + Send + 'static {
        self.makes_room.started()
    }

    /// So many bytes more have come.
    ///
    /// # Errors
    /// If there is no room for them, or if it had to make room.
    pub(super) fn grow(&self, bytes: usize) -> Result<(), NoRoom> {
        let mut unfinished = self.arrivals.lock();
        let request = unfinished.requests.get_mut(&self.number).ok_or(NoRoom)?;
        request.received += bytes;
        let more = u32::try_from(request.lacks()).map_err(|_| NoRoom)?;
        if more == 0 {
            return Ok(());
        }
        let more = loop {
            match Arc::clone(&self.arrivals.memory).try_acquire_many_owned(more) {
                Ok(more) => break more,
                Err(_) if unfinished.first_large_makes_room(self.number) => {}
                Err(_) => return Err(NoRoom),
            }
        };
        unfinished.large.insert(self.number);
        if let Some(request) = unfinished.requests.get_mut(&self.number) {
            match &mut request.memory {
                Some(memory) => memory.merge(more),
                none => *none = Some(more),
            }
        }
        Ok(())
    }

    /// It is whole, and need not make room any more. Its memory is to be kept as long as its call.
    pub(super) fn finish(&self) -> Option<OwnedSemaphorePermit> {
        let mut unfinished = self.arrivals.lock();
        unfinished.large.remove(&self.number);
        unfinished.requests.remove(&self.number)?.memory
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.finish();
    }
}
