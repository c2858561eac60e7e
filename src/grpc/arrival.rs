//! Requests that are coming in: how many there are at a time, and how much memory they have, is bounded.
//!
//! A client can begin requests and never end them. So a request has no place among the calls in flight before it is
//! whole, and where there are too many, the one that came first and is not whole makes room: clients that say what they
//! want are not shut out by clients that do not. Large ones share memory, of which no caller and no tenant has more than
//! half; where it is gone they are refused, and one that is slow makes room for those that come again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    access::{Claimant, Full, Share, Shares},
    lifecycle::Shutdown,
    memory::{FREE_BYTES, PORTION_BYTES, Pool},
};

/// Requests that are not whole, at a time. Most are whole when their head is there.
const MAX_UNFINISHED: usize = 4096;

/// What is large and takes longer makes room.
const SLOW: Duration = Duration::from_secs(5);

/// Takes requests in.
#[derive(Clone)]
pub(super) struct Arrivals {
    max_message_bytes: usize,
    pool: Pool,
    memory: Shares,
    unfinished: Arc<Mutex<Unfinished>>,
}

/// A request that is coming in, until it is dropped.
pub(super) struct Arrival {
    arrivals: Arrivals,
    claimant: Claimant,
    number: u64,
    size: Mutex<Size>,
    makes_room: Shutdown,
    is_refused: AtomicBool,
}

/// There is no room for more of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// How much of it there is.
#[derive(Default)]
struct Size {
    received: usize,
    memory: Option<Share>,
}

/// Those that are not whole, in the order in which they came.
#[derive(Default)]
struct Unfinished {
    last: u64,
    all: BTreeMap<u64, Shutdown>,
    /// Those of them that have memory.
    large: BTreeMap<u64, Large>,
}

/// A request that has memory.
struct Large {
    began: Instant,
    claimant: Claimant,
    makes_room: Shutdown,
}

impl Arrivals {
    /// For messages of at most `max_message_bytes`, of which large ones share the memory of `pool`.
    pub(super) fn new(max_message_bytes: usize, pool: &Pool) -> Self {
        let min_quota = max_message_bytes.div_ceil(PORTION_BYTES);
        Arrivals {
            max_message_bytes,
            pool: pool.clone(),
            memory: Shares::of_permits(pool.permits(), min_quota),
            unfinished: Arc::default(),
        }
    }

    /// A request of this claimant begins.
    pub(super) fn begin(&self, claimant: Claimant) -> Arrival {
        let makes_room = Shutdown::default();
        let number = {
            let mut unfinished = lock(&self.unfinished);
            if unfinished.all.len() >= MAX_UNFINISHED {
                unfinished.first_makes_room();
            }
            unfinished.last += 1;
            let number = unfinished.last;
            unfinished.all.insert(number, makes_room.clone());
            number
        };
        Arrival {
            arrivals: self.clone(),
            claimant,
            number,
            size: Mutex::default(),
            makes_room,
            is_refused: AtomicBool::new(false),
        }
    }
}

impl Unfinished {
    fn first_makes_room(&mut self) {
        if let Some((number, makes_room)) = self.all.pop_first() {
            self.large.remove(&number);
            makes_room.start();
        }
    }

    /// The first of those whose memory `claimant` lacks, if it is slow.
    fn first_slow_one_makes_room(&mut self, claimant: &Claimant, full: Full) {
        let mut first = self.large.iter();
        let first = first.find(|(_, large)| large.claimant.shares_quota_with(claimant, full));
        let slow = first.filter(|(_, large)| large.began.elapsed() >= SLOW);
        let Some(number) = slow.map(|(number, _)| *number) else {
            return;
        };
        self.all.remove(&number);
        if let Some(large) = self.large.remove(&number) {
            large.makes_room.start();
        }
    }
}

impl Size {
    /// How many portions of memory it has yet to get, with so much of it announced.
    fn lacks(&self, to_come: usize) -> usize {
        let has = self.memory.as_ref().map_or(0, Share::count) as usize;
        let needs = (self.received + to_come).saturating_sub(FREE_BYTES);
        needs.div_ceil(PORTION_BYTES).saturating_sub(has)
    }
}

impl Arrival {
    /// Tells when it has to make room for others.
    pub(super) fn makes_room(&self) -> impl Future<Output = ()> + Send + 'static {
        self.makes_room.started()
    }

    /// So many bytes more have come, and so many of the message are announced.
    ///
    /// # Errors
    /// If there is no room for them.
    pub(super) fn grow(&self, bytes: usize, to_come: usize) -> Result<(), NoRoom> {
        let mut size = lock(&self.size);
        size.received += bytes;
        // A message that is too large is refused before any memory is taken for it.
        let to_come = match to_come <= self.arrivals.max_message_bytes {
            true => to_come,
            false => 0,
        };
        let more = u32::try_from(size.lacks(to_come)).map_err(|_| NoRoom)?;
        if more == 0 {
            return Ok(());
        }
        let memory = self.arrivals.memory.take(&self.claimant, more);
        let mut unfinished = lock(&self.arrivals.unfinished);
        let memory = memory.map_err(|full| {
            self.arrivals.pool.count_refusal();
            // What it has is free when it is gone, which is too late for this one.
            unfinished.first_slow_one_makes_room(&self.claimant, full);
            NoRoom
        })?;
        match &mut size.memory {
            Some(has) => has.merge(memory),
            none => {
                *none = Some(memory);
                let large = Large {
                    began: Instant::now(),
                    claimant: self.claimant.clone(),
                    makes_room: self.makes_room.clone(),
                };
                unfinished.large.insert(self.number, large);
            }
        }
        Ok(())
    }

    /// There was no room for it: it will never be whole.
    pub(super) fn refuse(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }

    /// Whether there was no room for it.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }

    /// It is whole, and need not make room any more. Its memory is to be kept as long as its call.
    pub(super) fn finish(&self) -> Option<Share> {
        self.leave();
        lock(&self.size).memory.take()
    }

    fn leave(&self) {
        let mut unfinished = lock(&self.arrivals.unfinished);
        unfinished.all.remove(&self.number);
        unfinished.large.remove(&self.number);
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.leave();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    const LARGE: usize = 1 << 20;

    /// All that large requests may have.
    const LARGE_MEMORY: usize = 64 << 20;

    fn arrivals() -> Arrivals {
        Arrivals::new(LARGE, &Pool::new("test", LARGE_MEMORY))
    }

    fn is_asked(arrival: &Arrival) -> bool {
        arrival.makes_room().now_or_never().is_some()
    }

    /// Requests that have all the memory that there is.
    fn full(arrivals: &Arrivals) -> Vec<Arrival> {
        let all: Vec<_> = (0..LARGE_MEMORY / LARGE)
            .map(|_| arrivals.begin(Claimant::only()))
            .collect();
        for arrival in &all {
            assert_eq!(arrival.grow(FREE_BYTES, LARGE), Ok(()));
        }
        all
    }

    #[test]
    fn the_first_one_that_is_not_whole_makes_room() {
        let arrivals = arrivals();
        let whole = arrivals.begin(Claimant::only());
        assert!(whole.finish().is_none());
        let first = arrivals.begin(Claimant::only());
        let all: Vec<_> = (1..MAX_UNFINISHED)
            .map(|_| arrivals.begin(Claimant::only()))
            .collect();
        assert!(!is_asked(&first));
        let _one_more = arrivals.begin(Claimant::only());
        assert!(is_asked(&first) && !is_asked(&whole) && !is_asked(&all[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn small_ones_always_have_room_and_slow_large_ones_make_it() {
        let arrivals = arrivals();
        let mut all = full(&arrivals);
        let small = arrivals.begin(Claimant::only());
        assert_eq!(small.grow(FREE_BYTES - 1, 1), Ok(()));
        assert_eq!(
            arrivals.begin(Claimant::only()).grow(FREE_BYTES, 1),
            Err(NoRoom)
        );
        assert!(!all.iter().any(is_asked), "none of them is slow");
        advance(SLOW).await;
        assert_eq!(
            arrivals.begin(Claimant::only()).grow(FREE_BYTES, 1),
            Err(NoRoom)
        );
        let first = all.remove(0);
        assert!(is_asked(&first) && !is_asked(&small) && !all.iter().any(is_asked));
        drop(first);
        assert_eq!(
            arrivals.begin(Claimant::only()).grow(FREE_BYTES, LARGE),
            Ok(())
        );
    }

    #[tokio::test]
    async fn those_that_are_whole_keep_their_memory_until_their_calls_are_over() {
        let arrivals = arrivals();
        let mut calls: Vec<_> = full(&arrivals).iter().map(Arrival::finish).collect();
        let large = arrivals.begin(Claimant::only());
        assert_eq!(large.grow(FREE_BYTES, 1), Err(NoRoom));
        calls.pop();
        assert_eq!(large.grow(0, 1), Ok(()));
    }

    #[tokio::test]
    async fn what_is_refused_for_its_size_takes_no_memory() {
        let arrivals = arrivals();
        let large = arrivals.begin(Claimant::only());
        assert_eq!(large.grow(FREE_BYTES, LARGE + 1), Ok(()));
        let all = u32::try_from(LARGE_MEMORY / PORTION_BYTES).unwrap();
        assert!(arrivals.memory.take(&Claimant::only(), all).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_tenants_large_messages_leave_half_to_another_and_make_room_for_its_own() {
        let arrivals = arrivals();
        let of = |tenant: &str| Claimant {
            tenant: tenant.into(),
            tenants: 2,
            tenants_of_caller: 2,
            ..Claimant::only()
        };
        let begin = |tenant: &str| {
            let arrival = arrivals.begin(of(tenant));
            let result = arrival.grow(FREE_BYTES, LARGE);
            (arrival, result)
        };
        let other = begin("other").0;
        let (mut greedy, mut results): (Vec<_>, Vec<_>) = (0..LARGE_MEMORY / LARGE / 2)
            .map(|_| begin("greedy"))
            .unzip();
        results.dedup();
        assert_eq!(results, [Ok(())]);
        assert_eq!(begin("greedy").1, Err(NoRoom));
        advance(SLOW).await;
        assert_eq!(begin("greedy").1, Err(NoRoom));
        assert!(!is_asked(&other), "it is not in the way");
        assert!(is_asked(&greedy[0]) && !is_asked(&greedy[1]));
        greedy.remove(0);
        assert_eq!(begin("greedy").1, Ok(()));
        assert_eq!(begin("other").1, Ok(()));
    }
}
