//! The places of a port's connections, and who has to leave when there are none.
//!
//! Anybody can open connections and say nothing. So while all places are taken, the one that was opened first among
//! those that have not asked for anything yet makes room for the next: clients that ask are never shut out by clients
//! that do not.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::lifecycle::Shutdown;

/// A port's places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    room: Arc<Semaphore>,
    silent: Arc<Mutex<Silent>>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    silent: Arc<Mutex<Silent>>,
    has_asked: AtomicBool,
    evicted: Shutdown,
    _room: OwnedSemaphorePermit,
}

/// Those that have not asked for anything, in the order in which they came.
#[derive(Debug, Default)]
struct Silent {
    last: u64,
    orders: BTreeMap<u64, Shutdown>,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Places {
            room: Arc::new(Semaphore::new(count)),
            silent: Arc::default(),
        }
    }

    /// A place, as soon as there is one.
    pub(super) async fn take(&self) -> Place {
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => {
                if let Some((_, order)) = lock(&self.silent).orders.pop_first() {
                    order.start();
                }
                let room = Arc::clone(&self.room).acquire_owned();
                room.await.expect("the semaphore is never closed")
            }
        };
        let evicted = Shutdown::default();
        let number = {
            let mut silent = lock(&self.silent);
            silent.last += 1;
            let number = silent.last;
            silent.orders.insert(number, evicted.clone());
            number
        };
        Place {
            number,
            silent: Arc::clone(&self.silent),
            has_asked: AtomicBool::new(false),
            evicted,
            _room: room,
        }
    }
}

impl Place {
    /// The client has asked for something, and keeps its place.
    pub(super) fn asked(&self) {
        if !self.has_asked.swap(true, Ordering::Relaxed) {
            lock(&self.silent).orders.remove(&self.number);
        }
    }

    /// Tells when the place is wanted for somebody else.
    pub(super) fn evicted(&self) -> impl Future<Output = ()> + Send + 'static {
        self.evicted.started()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.silent).orders.remove(&self.number);
    }
}

fn lock(silent: &Mutex<Silent>) -> MutexGuard<'_, Silent> {
    silent.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_evicted(place: &Place) -> bool {
        place.evicted().now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_first_one_that_has_not_asked_makes_room() {
        let places = Places::new(3);
        let [first, second, third] = [
            places.take().await,
            places.take().await,
            places.take().await,
        ];
        first.asked();
        first.asked();
        let mut fourth = Box::pin(places.take());
        assert!(fourth.as_mut().now_or_never().is_none());
        assert!(!is_evicted(&first) && is_evicted(&second) && !is_evicted(&third));
        drop(second);
        let fourth = fourth.now_or_never().unwrap();
        assert!(!is_evicted(&fourth) && !is_evicted(&third));
    }

    #[tokio::test]
    async fn who_has_asked_is_waited_for() {
        let places = Places::new(1);
        let first = places.take().await;
        first.asked();
        let mut second = Box::pin(places.take());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(!is_evicted(&first));
        drop(first);
        let second = second.now_or_never().unwrap();
        assert_eq!(lock(&places.silent).orders.len(), 1);
        drop(second);
        assert!(lock(&places.silent).orders.is_empty());
    }
}
