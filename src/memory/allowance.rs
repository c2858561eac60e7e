//! What one caller may charge to a pool that it shares with others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use thiserror::Error;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Name, Pool,
    pool::{Charge, PORTION_BYTES, acquire},
};

/// How long a charge may wait. A stream that stands still is reset after 60 s, so others had two turns by then.
const CHARGE_TIMEOUT: Duration = Duration::from_secs(150);

/// Gives out allowances. Clones share everything.
#[derive(Clone, Debug)]
pub struct Allowances {
    pool: Pool,
    quotas: Arc<Mutex<HashMap<Name, Weak<Quota>>>>,
}

/// What one caller can have.
#[derive(Debug)]
struct Quota {
    portions: u32,
    free: Arc<Semaphore>,
}

/// A caller's part of a pool. Clones share it.
#[derive(Clone, Debug)]
pub struct Allowance {
    pool: Pool,
    quota: Arc<Quota>,
}

/// There was no memory in time.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the memory budget had no room in time")]
pub struct NoMemory;

impl Allowances {
    pub(super) fn new(pool: Pool) -> Self {
        Allowances {
            pool,
            quotas: Arc::default(),
        }
    }

    /// The allowance of this caller, one of `callers`: all of the pool where it is the only one, else half. The number
    /// counts when its first stream opens.
    pub fn of(&self, caller: &Name, callers: usize) -> Allowance {
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        let known = quotas.get(caller).and_then(Weak::upgrade);
        let quota = known.unwrap_or_else(|| {
            quotas.retain(|_, quota| quota.strong_count() > 0);
            let portions = match callers {
                ..=1 => self.pool.portions(usize::MAX),
                _ => self.pool.portions(self.pool.size() / 2).max(1),
            };
            let quota = Arc::new(Quota {
                portions,
                free: Arc::new(Semaphore::new(portions as usize)),
            });
            quotas.insert(Arc::clone(caller), Arc::downgrade(&quota));
            quota
        });
        Allowance {
            pool: self.pool.clone(),
            quota,
        }
    }
}

impl Allowance {
    /// Charges `bytes` if they are free. What is larger than the allowance is charged the whole of it.
    pub fn try_charge(&self, bytes: usize) -> Option<Charge> {
        let portions = self.portions(bytes);
        let quota = Arc::clone(&self.quota.free).try_acquire_many_owned(portions);
        let quota = quota.ok()?;
        let charge = self.pool.try_charge(portions as usize * PORTION_BYTES)?;
        Some(charge.with_quota(quota))
    }

    /// Charges `bytes` as soon as they are free. Whoever waits for its own quota keeps nobody else waiting.
    ///
    /// # Errors
    /// If they are not free in time.
    pub async fn charge(&self, bytes: usize) -> Result<Charge, NoMemory> {
        let portions = self.portions(bytes);
        let charge = async {
            let quota = acquire(&self.quota.free, portions).await;
            let charge = self.pool.charge(portions as usize * PORTION_BYTES).await;
            charge.with_quota(quota)
        };
        timeout(CHARGE_TIMEOUT, charge).await.map_err(|_| {
            self.pool.count_refusal();
            NoMemory
        })
    }

    fn portions(&self, bytes: usize) -> u32 {
        self.pool.portions(bytes).min(self.quota.portions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_caller_leaves_half_to_another() {
        let pool = Pool::new("test", 10 * PORTION_BYTES);
        let allowances = Allowances::new(pool.clone());
        let [greedy, other] = ["greedy", "other"].map(|name| allowances.of(&name.into(), 2));
        let held = greedy.charge(5 * PORTION_BYTES).await.unwrap();
        assert!(greedy.try_charge(1).is_none());
        // Streams of one caller share its allowance.
        let again = allowances.of(&"greedy".into(), 2);
        assert_eq!(again.charge(1).await.unwrap_err(), NoMemory);
        let others = other.try_charge(5 * PORTION_BYTES).unwrap();
        assert_eq!(pool.used(), pool.size());
        drop((held, others));
        assert!(greedy.try_charge(5 * PORTION_BYTES).is_some());
        assert_eq!(pool.used(), 0);
    }
}
