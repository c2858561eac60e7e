//! Permits that callers and tenants share, so that none of them can take them all: for calls, for streams, and for
//! memory in portions.
//!
//! No caller and no tenant has more than half of them, where there is another one; and where a caller acts for several
//! tenants, or a tenant has several callers, one caller has no more than half of that for one tenant. When permits run
//! out, whoever has less than its equal share waits for the next one that becomes free, and the others are refused.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// Permits. Clones share them.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Permits>);

#[derive(Debug)]
struct Permits {
    count: u32,
    /// What every quota allows, however small the half of a half is.
    min_quota: u32,
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

/// Who takes permits, and with how many others it shares them.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// The caller's name.
    pub caller: Arc<str>,
    /// The tenant's name.
    pub tenant: Arc<str>,
    /// How many callers there are, this one included.
    pub callers: usize,
    /// How many tenants there are.
    pub tenants: usize,
    /// How many callers may act for this tenant.
    pub callers_of_tenant: usize,
    /// For how many tenants this caller may act.
    pub tenants_of_caller: usize,
}

/// There is no permit for this claimant now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All,
    /// Its caller has what one caller can have.
    Caller,
    /// Its tenant has what one tenant can have.
    Tenant,
    /// Its caller has for its tenant what it can have for one.
    CallerOfTenant,
}

/// Permits, until they are dropped.
#[derive(Debug)]
pub struct Share {
    // Dropped first: a permit is free before its claimant is seen to have one less.
    permits: OwnedSemaphorePermit,
    claim: Claim,
}

/// Who has how many, and waits for how many; at least one each.
#[derive(Debug, Default)]
struct Taken {
    by_caller: HashMap<Arc<str>, u32>,
    by_tenant: HashMap<Arc<str>, u32>,
    by_both: HashMap<(Arc<str>, Arc<str>), u32>,
}

/// What one claimant has of them, or waits for.
#[derive(Debug)]
struct Claim {
    shares: Shares,
    caller: Arc<str>,
    tenant: Arc<str>,
    count: u32,
}

impl Shares {
    /// So many permits.
    pub fn new(count: usize) -> Self {
        Self::with_min_quota(count, 1)
    }

    /// The same, of which any claimant can have at least `min_quota` where others leave them.
    pub fn with_min_quota(count: usize, min_quota: usize) -> Self {
        let count = count.min(u32::MAX as usize);
        Self::of_permits(Arc::new(Semaphore::new(count)), min_quota)
    }

    /// The same with permits that exist, all of them free.
    pub fn of_permits(free: Arc<Semaphore>, min_quota: usize) -> Self {
        let [count, min_quota] = [free.available_permits(), min_quota]
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        Shares(Arc::new(Permits {
            count,
            min_quota: min_quota.min(count),
            free,
            taken: Mutex::default(),
        }))
    }

    /// So many permits at once.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn take(&self, claimant: &Claimant, count: u32) -> Result<Share, Full> {
        let claim = self.claim(claimant, count)?;
        self.fulfil(claim).map_err(|_| Full::All)
    }

    /// One permit. Where there is none, and the claimant has less than its share, it waits for one until `wait_until`.
    ///
    /// # Errors
    /// If there is none.
    pub async fn take_by(&self, claimant: &Claimant, wait_until: Instant) -> Result<Share, Full> {
        let claim = self.claim(claimant, 1)?;
        let claim = match self.fulfil(claim) {
            Ok(share) => return Ok(share),
            Err(claim) => claim,
        };
        if !self.taken().may_wait(claimant, self.0.count) {
            return Err(Full::All);
        }
        let permit = Arc::clone(&self.0.free).acquire_owned();
        match timeout_at(wait_until, permit).await {
            Ok(Ok(permits)) => Ok(Share { permits, claim }),
            _ => Err(Full::All),
        }
    }

    fn claim(&self, claimant: &Claimant, count: u32) -> Result<Claim, Full> {
        let mut taken = self.taken();
        taken.check(claimant, &self.0, count)?;
        taken.add(&claimant.caller, &claimant.tenant, count);
        Ok(Claim {
            shares: self.clone(),
            caller: Arc::clone(&claimant.caller),
            tenant: Arc::clone(&claimant.tenant),
            count,
        })
    }

    fn fulfil(&self, claim: Claim) -> Result<Share, Claim> {
        match Arc::clone(&self.0.free).try_acquire_many_owned(claim.count) {
            Ok(permits) => Ok(Share { permits, claim }),
            Err(_) => Err(claim),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// How many permits they are.
    pub fn count(&self) -> u32 {
        self.claim.count
    }

    /// More of the same claimant's come to them.
    pub fn merge(&mut self, mut more: Share) {
        self.claim.count += std::mem::take(&mut more.claim.count);
        if let Some(permits) = more.permits.split(more.permits.num_permits()) {
            self.permits.merge(permits);
        }
    }
}

impl Claimant {
    /// One that shares with nobody.
    pub fn only() -> Self {
        Claimant {
            caller: Arc::default(),
            tenant: Arc::default(),
            callers: 1,
            tenants: 1,
            callers_of_tenant: 1,
            tenants_of_caller: 1,
        }
    }

    /// Whether what `full` says of this one concerns the other one too: giving up what either has helps both.
    pub fn shares_quota_with(&self, other: &Claimant, full: Full) -> bool {
        let (is_caller, is_tenant) = (self.caller == other.caller, self.tenant == other.tenant);
        match full {
            Full::All => true,
            Full::Caller => is_caller,
            Full::Tenant => is_tenant,
            Full::CallerOfTenant => is_caller && is_tenant,
        }
    }
}

impl Taken {
    fn check(&self, claimant: &Claimant, permits: &Permits, more: u32) -> Result<(), Full> {
        let half = |of: u32, sharers: usize| match sharers {
            ..=1 => of,
            _ => of.div_ceil(2).max(permits.min_quota),
        };
        let of_caller = half(permits.count, claimant.callers);
        let of_tenant = half(permits.count, claimant.tenants);
        let of_both = half(of_caller, claimant.tenants_of_caller)
            .min(half(of_tenant, claimant.callers_of_tenant));
        let both = (Arc::clone(&claimant.caller), Arc::clone(&claimant.tenant));
        for (taken, quota, full) in [
            (
                self.by_caller.get(&claimant.caller),
                of_caller,
                Full::Caller,
            ),
            (
                self.by_tenant.get(&claimant.tenant),
                of_tenant,
                Full::Tenant,
            ),
            (self.by_both.get(&both), of_both, Full::CallerOfTenant),
        ] {
            // Without a quota of their own they share all: whoever waits may be one too many.
            let has_quota = quota < permits.count;
            if has_quota && taken.copied().unwrap_or_default().saturating_add(more) > quota {
                return Err(full);
            }
        }
        Ok(())
    }

    /// Whether others have permits that it can wait for: those that share with it now, of whom neither its caller nor its
    /// tenant, with what was just claimed, has more than its share.
    fn may_wait(&self, claimant: &Claimant, count: u32) -> bool {
        let shared = [
            (&self.by_caller, &claimant.caller),
            (&self.by_tenant, &claimant.tenant),
        ];
        let mut shared = shared
            .into_iter()
            .filter(|(all, _)| all.len() > 1)
            .peekable();
        shared.peek().is_some()
            && shared.all(|(all, name)| {
                let sharers = u32::try_from(all.len()).unwrap_or(u32::MAX);
                all.get(name).copied().unwrap_or_default() <= (count / sharers).max(1)
            })
    }

    fn add(&mut self, caller: &Arc<str>, tenant: &Arc<str>, count: u32) {
        let both = (Arc::clone(caller), Arc::clone(tenant));
        *self.by_caller.entry(Arc::clone(caller)).or_default() += count;
        *self.by_tenant.entry(Arc::clone(tenant)).or_default() += count;
        *self.by_both.entry(both).or_default() += count;
    }

    fn subtract(&mut self, caller: &Arc<str>, tenant: &Arc<str>, count: u32) {
        subtract(&mut self.by_caller, caller, count);
        subtract(&mut self.by_tenant, tenant, count);
        let both = (Arc::clone(caller), Arc::clone(tenant));
        subtract(&mut self.by_both, &both, count);
    }
}

fn subtract<K: Hash + Eq>(all: &mut HashMap<K, u32>, key: &K, count: u32) {
    if let Some(taken) = all.get_mut(key) {
        *taken -= count;
        if *taken == 0 {
            all.remove(key);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut taken = self.shares.taken();
        taken.subtract(&self.caller, &self.tenant, self.count);
    }
}

#[cfg(test)]
mod tests;
