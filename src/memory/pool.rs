//! A part of the budget, and what is charged to it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is charged in portions of this size, rounded up.
pub const PORTION_BYTES: usize = 1 << 10;

/// A part of the budget. Clones share it.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    portions: u32,
    free: Arc<Semaphore>,
    waits: AtomicU64,
    refusals: AtomicU64,
}

/// Memory that is charged to a pool, and to a quota of it where there is one, until it is dropped.
#[derive(Debug, Default)]
pub struct Charge {
    /// In the order of their release: whoever waits for the quota finds memory.
    memory: Option<OwnedSemaphorePermit>,
    quota: Option<OwnedSemaphorePermit>,
}

/// Bytes whose charge is released when the last reference to them is gone.
struct ChargedBytes {
    bytes: Bytes,
    _charge: Charge,
}

impl Pool {
    /// A pool of `bytes`, with a name for the metrics.
    pub fn new(name: &'static str, bytes: usize) -> Self {
        let portions = portions_in(bytes.max(PORTION_BYTES));
        Pool(Arc::new(Inner {
            name,
            portions,
            free: Arc::new(Semaphore::new(portions as usize)),
            waits: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }))
    }

    /// How large it is.
    pub fn size(&self) -> usize {
        self.0.portions as usize * PORTION_BYTES
    }

    /// How much of it is charged.
    pub fn used(&self) -> usize {
        let free = self.0.free.available_permits();
        (self.0.portions as usize).saturating_sub(free) * PORTION_BYTES
    }

    /// Charges `bytes` if they are free. What is larger than the pool is charged the whole of it.
    pub fn try_charge(&self, bytes: usize) -> Option<Charge> {
        self.try_portions(self.portions(bytes))
    }

    /// Charges `bytes` as soon as they are free, in the order of those who wait. What is larger than the pool is charged
    /// the whole of it, so it never waits forever.
    pub async fn charge(&self, bytes: usize) -> Charge {
        let portions = self.portions(bytes);
        if let Some(charge) = self.try_portions(portions) {
            return charge;
        }
        self.0.waits.fetch_add(1, Ordering::Relaxed);
        Charge {
            memory: Some(acquire(&self.0.free, portions).await),
            quota: None,
        }
    }

    /// Counts something that was refused because the pool had no memory for it.
    pub fn count_refusal(&self) {
        self.0.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// The permits, one a portion, for those who have rules of their own about who may have how many.
    pub fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.free)
    }

    pub(super) fn name(&self) -> &'static str {
        self.0.name
    }

    pub(super) fn waits(&self) -> u64 {
        self.0.waits.load(Ordering::Relaxed)
    }

    pub(super) fn refusals(&self) -> u64 {
        self.0.refusals.load(Ordering::Relaxed)
    }

    pub(super) fn portions(&self, bytes: usize) -> u32 {
        portions_in(bytes).min(self.0.portions)
    }

    fn try_portions(&self, portions: u32) -> Option<Charge> {
        let memory = Arc::clone(&self.0.free).try_acquire_many_owned(portions);
        Some(Charge {
            memory: Some(memory.ok()?),
            quota: None,
        })
    }
}

impl Charge {
    pub(super) fn with_quota(self, quota: OwnedSemaphorePermit) -> Self {
        Charge {
            quota: Some(quota),
            ..self
        }
    }

    /// How much is charged.
    pub fn bytes(&self) -> usize {
        let portions = self
            .memory
            .as_ref()
            .map_or(0, |memory| memory.num_permits());
        portions * PORTION_BYTES
    }

    /// Adds what was charged to the same pool and quota.
    pub fn merge(&mut self, more: Charge) {
        merge(&mut self.memory, more.memory);
        merge(&mut self.quota, more.quota);
    }

    /// Takes out the charge of `bytes`, or all that there is.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Charge {
        let portions = bytes.div_ceil(PORTION_BYTES);
        Charge {
            memory: split(&mut self.memory, portions),
            quota: split(&mut self.quota, portions),
        }
    }

    /// Ties the charge to the bytes that it is for.
    pub fn attach(self, bytes: impl Into<Bytes>) -> Bytes {
        Bytes::from_owner(ChargedBytes {
            bytes: bytes.into(),
            _charge: self,
        })
    }
}

impl AsRef<[u8]> for ChargedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Waits for permits, in the order of those who wait.
pub(super) async fn acquire(semaphore: &Arc<Semaphore>, portions: u32) -> OwnedSemaphorePermit {
    Arc::clone(semaphore)
        .acquire_many_owned(portions)
        .await
        .expect("the semaphore is never closed")
}

fn portions_in(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PORTION_BYTES)).unwrap_or(u32::MAX)
}

fn merge(permit: &mut Option<OwnedSemaphorePermit>, more: Option<OwnedSemaphorePermit>) {
    match (permit, more) {
        (Some(permit), Some(more)) => permit.merge(more),
        (none, more @ Some(_)) => *none = more,
        (_, None) => {}
    }
}

fn split(
    permit: &mut Option<OwnedSemaphorePermit>,
    portions: usize,
) -> Option<OwnedSemaphorePermit> {
    let permit = permit.as_mut()?;
    permit.split(portions.min(permit.num_permits()))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn what_is_charged_is_free_again_when_the_last_slice_is_gone() {
        let pool = Pool::new("test", 10 * PORTION_BYTES);
        let charge = pool.try_charge(PORTION_BYTES + 1).unwrap();
        let bytes = charge.attach(vec![7; PORTION_BYTES + 1]);
        let slice = bytes.slice(3..5);
        drop(bytes);
        assert_eq!(pool.used(), 2 * PORTION_BYTES);
        drop(slice);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn charges_are_split_and_merged() {
        let pool = Pool::new("test", 10 * PORTION_BYTES);
        let mut all = pool.try_charge(8 * PORTION_BYTES).unwrap();
        let part = all.split(3 * PORTION_BYTES);
        assert_eq!((all.bytes(), part.bytes()), (5 << 10, 3 << 10));
        assert_eq!(all.split(9 * PORTION_BYTES).bytes(), 5 << 10);
        assert_eq!(pool.used(), 3 * PORTION_BYTES);
        all.merge(part);
        assert_eq!(all.bytes(), 3 << 10);
    }

    #[tokio::test]
    async fn what_is_larger_than_the_pool_gets_all_of_it_and_waits_for_its_turn() {
        let pool = Pool::new("test", 10 * PORTION_BYTES);
        let held = pool.try_charge(PORTION_BYTES).unwrap();
        assert!(pool.try_charge(100 * PORTION_BYTES).is_none());
        let mut large = Box::pin(pool.charge(100 * PORTION_BYTES));
        assert!(large.as_mut().now_or_never().is_none());
        // What comes later does not overtake it.
        assert!(pool.try_charge(PORTION_BYTES).is_none());
        drop(held);
        assert_eq!(large.await.bytes(), pool.size());
        assert_eq!((pool.waits(), pool.used()), (1, 0));
    }
}
