//! The bodies that are still coming in and take memory, and which of them is cut off when another one needs it.
//!
//! Anybody can send a body that is large and never ends. Until it is whole nobody knows whether Kora signed it, so it must
//! not keep memory from the others: the next one evicts it. What comes on a connection whose client has proven itself is
//! no candidate.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::listener::{Candidates, Network, PlaceClaim};

/// How long to wait before more of them are evicted: others can have taken what was freed.
const EVICT_AGAIN: Duration = Duration::from_millis(100);

/// Bodies that can be evicted. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Uploads(Arc<Mutex<Candidates<Arc<Held>>>>);

/// What one body holds.
#[derive(Default)]
struct Held {
    portions: AtomicUsize,
    evict: Notify,
}

/// One body, among the others of its tenant and among all, until it is dropped.
pub(super) struct Evictable {
    held: Arc<Held>,
    /// Where it comes from; nowhere if it cannot be evicted.
    network: Option<Network>,
    entries: Vec<(Uploads, u64)>,
}

impl Uploads {
    /// Waits for so many portions, which `acquired` takes. Once `patience` is used up, bodies that are still coming in are
    /// evicted for them.
    pub(super) async fn make_room<T>(
        &self,
        portions: usize,
        patience: &mut Duration,
        acquired: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(acquired);
        let began = Instant::now();
        let mut wait = *patience;
        loop {
            let taken = timeout(wait, &mut acquired).await;
            *patience = patience.saturating_sub(began.elapsed());
            if let Ok(taken) = taken {
                return taken;
            }
            self.evict(portions);
            wait = EVICT_AGAIN;
        }
    }

    /// Evicts as many as it takes to free so many portions, as far as there are any.
    pub(super) fn evict(&self, portions: usize) {
        let mut freed = 0;
        while freed < portions {
            let Some(next) = self.lock().pop_next() else {
                return;
            };
            freed += next.portions.load(Ordering::Relaxed);
            next.evict.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Candidates<Arc<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Evictable {
    /// A body that comes on the connection of this claim. Without a claim it cannot be evicted.
    pub(super) fn new(claim: Option<&PlaceClaim>) -> Self {
        let unproven = claim.filter(|claim| !claim.is_proven());
        Self::from_network(unproven.map(PlaceClaim::network))
    }

    fn from_network(network: Option<Network>) -> Self {
        Evictable {
            held: Arc::default(),
            network,
            entries: Vec::new(),
        }
    }

    /// It holds so many portions by now, which `all` of these share.
    pub(super) fn holds(&mut self, portions: usize, all: [&Uploads; 2]) {
        self.held.portions.store(portions, Ordering::Relaxed);
        let Some(network) = self.network else { return };
        if portions == 0 || !self.entries.is_empty() {
            return;
        }
        for uploads in all {
            let mut candidates = uploads.lock();
            let number = candidates.next_number();
            candidates.add_unproven(network, number, Arc::clone(&self.held));
            drop(candidates);
            self.entries.push((uploads.clone(), number));
        }
    }

    /// Waits until it is evicted.
    pub(super) async fn evicted(&self) {
        self.held.evict.notified().await;
    }
}

impl Drop for Evictable {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        for (uploads, number) in &self.entries {
            uploads.lock().remove(network, *number);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn upload(address: Option<&str>, portions: usize, all: [&Uploads; 2]) -> Evictable {
        let network = address.map(|address| Network::of(address.parse().unwrap()));
        let mut upload = Evictable::from_network(network);
        upload.holds(portions, all);
        upload
    }

    fn evicted<const N: usize>(uploads: [&Evictable; N]) -> [bool; N] {
        uploads.map(|upload| upload.evicted().now_or_never().is_some())
    }

    #[test]
    fn as_many_are_evicted_as_it_takes_and_never_one_that_is_no_candidate() {
        let [all, own, others] = [(); 3].map(|()| Uploads::default());
        let proven = upload(None, 9, [&all, &own]);
        let small = upload(Some("10.0.0.1"), 1, [&all, &own]);
        let large = upload(Some("10.0.0.1"), 5, [&all, &own]);
        let other = upload(Some("10.0.0.2"), 7, [&all, &others]);
        let none_yet = upload(Some("10.0.0.1"), 0, [&all, &own]);
        own.evict(3);
        let uploads = [&proven, &small, &large, &other, &none_yet];
        assert_eq!(evicted(uploads), [false, true, true, false, false]);
        all.evict(100);
        assert!(evicted([&other])[0]);
        assert!(!evicted([&proven])[0]);
        drop((small, large, other));
        assert!(all.lock().pop_next().is_none() && others.lock().pop_next().is_none());
    }
}
