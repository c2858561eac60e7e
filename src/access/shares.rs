//! Places that callers share, so that one of them cannot take them all.
//!
//! No caller has more than half of them, where there is another one. When they run out, whoever has less than its equal
//! share waits for the next one that becomes free, and the others are refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// Places. Clones share them.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Places>);

#[derive(Debug)]
struct Places {
    count: usize,
    free: Arc<Semaphore>,
    /// Who has how many, and waits for how many; at least one each.
    taken: Mutex<HashMap<Arc<str>, usize>>,
}

/// There is no place for this caller now.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Share {
    // Dropped first: a place is free before its caller is seen to have one less.
    _place: OwnedSemaphorePermit,
    _claim: Claim,
}

/// What one caller has of them, or waits for.
#[derive(Debug)]
struct Claim {
    shares: Shares,
    caller: Arc<str>,
}

impl Shares {
    /// So many places.
    pub fn new(count: usize) -> Self {
        Shares(Arc::new(Places {
            count,
            free: Arc::new(Semaphore::new(count)),
            taken: Mutex::default(),
        }))
    }

    /// A place for `caller`, who is one of `callers`.
    ///
    /// # Errors
    /// If there is none.
    pub fn take(&self, caller: &Arc<str>, callers: usize) -> Result<Share, Full> {
        let claim = self.claim(caller, self.most(callers))?;
        self.place(claim).map_err(|_| Full)
    }

    /// The same. Where there is none, and the caller has less than its share, it waits for one until `wait_until`.
    ///
    /// # Errors
    /// If there is none.
    pub async fn take_by(
        &self,
        caller: &Arc<str>,
        callers: usize,
        wait_until: Instant,
    ) -> Result<Share, Full> {
        let claim = self.claim(caller, self.most(callers))?;
        let claim = match self.place(claim) {
            Ok(share) => return Ok(share),
            Err(claim) => claim,
        };
        if self.is_beyond_its_share(caller) {
            return Err(Full);
        }
        let place = Arc::clone(&self.0.free).acquire_owned();
        match timeout_at(wait_until, place).await {
            Ok(Ok(place)) => Ok(Share {
                _place: place,
                _claim: claim,
            }),
            _ => Err(Full),
        }
    }

    /// How many one of so many callers can have.
    fn most(&self, callers: usize) -> usize {
        match callers {
            ..=1 => self.0.count,
            _ => self.0.count.div_ceil(2),
        }
    }

    fn claim(&self, caller: &Arc<str>, most: usize) -> Result<Claim, Full> {
        let mut taken = self.taken();
        let mine = taken.get(caller).copied().unwrap_or_default();
        if mine >= most {
            return Err(Full);
        }
        taken.insert(Arc::clone(caller), mine + 1);
        Ok(Claim {
            shares: self.clone(),
            caller: Arc::clone(caller),
        })
    }

    fn place(&self, claim: Claim) -> Result<Share, Claim> {
        match Arc::clone(&self.0.free).try_acquire_owned() {
            Ok(place) => Ok(Share {
                _place: place,
                _claim: claim,
            }),
            Err(_) => Err(claim),
        }
    }

    /// Whether this caller, with what it has just claimed, has more than its share.
    fn is_beyond_its_share(&self, caller: &Arc<str>) -> bool {
        let taken = self.taken();
        let mine = taken.get(caller).copied().unwrap_or_default();
        mine > (self.0.count / taken.len().max(1)).max(1)
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        if let Some(mine) = taken.get_mut(&self.caller) {
            *mine -= 1;
            if *mine == 0 {
                taken.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::{Duration, advance};

    use super::*;

    fn name(text: &str) -> Arc<str> {
        text.into()
    }

    fn take(shares: &Shares, caller: &str, count: usize) -> Vec<Share> {
        (0..count)
            .map(|_| shares.take(&name(caller), 3).unwrap())
            .collect()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    #[test]
    fn one_caller_takes_half_unless_it_is_the_only_one() {
        let shares = Shares::new(4);
        let first = take(&shares, "a", 2);
        assert_eq!(shares.take(&name("a"), 3).unwrap_err(), Full);
        let rest = take(&shares, "b", 2);
        drop((first, rest));
        let all: Vec<_> = (0..4)
            .map(|_| shares.take(&name("a"), 1).unwrap())
            .collect();
        assert_eq!(shares.take(&name("a"), 1).unwrap_err(), Full);
        drop(all);
        assert!(shares.taken().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_less_than_its_share_gets_the_next_place_and_the_others_are_refused() {
        let shares = Shares::new(4);
        let (mut a, _b) = (take(&shares, "a", 2), take(&shares, "b", 2));
        let c = name("c");
        let mut waiting = Box::pin(shares.take_by(&c, 3, soon()));
        assert!(waiting.as_mut().now_or_never().is_none());
        a.pop();
        let a = name("a");
        let refused = shares.take_by(&a, 3, soon());
        assert_eq!(refused.now_or_never().unwrap().unwrap_err(), Full);
        assert!(waiting.now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_it_said() {
        let shares = Shares::new(2);
        let _full = (take(&shares, "a", 1), take(&shares, "b", 1));
        let c = name("c");
        let mut waiting = Box::pin(shares.take_by(&c, 3, soon()));
        assert!(waiting.as_mut().now_or_never().is_none());
        advance(Duration::from_secs(2)).await;
        assert_eq!(waiting.await.unwrap_err(), Full);
        assert_eq!(shares.taken().len(), 2, "who has given up has nothing");
    }

    #[tokio::test]
    async fn a_place_that_everybody_wants_is_still_one() {
        let shares = Shares::new(1);
        let one = take(&shares, "a", 1);
        assert!(shares.take(&name("b"), 3).is_err());
        drop(one);
        assert!(shares.take(&name("b"), 3).is_ok());
    }
}
