//! The places of a port's connections, and who has to leave when there are none.
//!
//! Anybody can open connections and say nothing. So while all places are taken, one makes room for the next: the oldest
//! of those that have not asked for anything yet, else the one that has had nothing to do for the longest time. Clients
//! that ask are shut out only by clients whose requests are under way.
//!
//! A request can begin at the moment at which its connection is asked to leave, and may have been sent to Kora when the
//! connection hears of it. Then the connection stays, and asks the next one in its stead.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long to wait for room before another one is asked to leave: none may have been free to, or none is any more.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A port's places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    room: Arc<Semaphore>,
    free_to_leave: Arc<Mutex<FreeToLeave>>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    free_to_leave: Arc<Mutex<FreeToLeave>>,
    /// Where it stands among those. It and the next are changed under the lock alone.
    number: AtomicU64,
    requests: AtomicUsize,
    /// To leave, as often as it is asked.
    order: Arc<Notify>,
    _room: OwnedSemaphorePermit,
}

/// One request that is under way. Its connection keeps its place meanwhile.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Place>);

/// A request's claim that its connection keeps its place meanwhile. Clones are the same claim.
#[derive(Clone, Debug)]
pub struct PlaceClaim(Arc<Mutex<Option<UnderWay>>>);

/// Ends a claim when it is dropped.
#[derive(Debug)]
pub(super) struct Claimed(PlaceClaim);

/// Those without a request, in the order in which they came, or had the last one.
#[derive(Debug, Default)]
struct FreeToLeave {
    last: u64,
    silent: BTreeMap<u64, Arc<Notify>>,
    idle: BTreeMap<u64, Arc<Notify>>,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Places {
            room: Arc::new(Semaphore::new(count)),
            free_to_leave: Arc::default(),
        }
    }

    /// A place, as soon as there is one.
    pub(super) async fn take(&self) -> Place {
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => self.made_room().await,
        };
        let order = Arc::new(Notify::new());
        let mut free = lock(&self.free_to_leave);
        let number = free.number();
        free.silent.insert(number, Arc::clone(&order));
        Place {
            free_to_leave: Arc::clone(&self.free_to_leave),
            number: AtomicU64::new(number),
            requests: AtomicUsize::new(0),
            order,
            _room: room,
        }
    }

    /// Has one after the other asked to leave until there is room.
    async fn made_room(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.room).acquire_owned();
        tokio::pin!(room);
        loop {
            lock(&self.free_to_leave).ask_next();
            if let Ok(room) = timeout(ASK_AGAIN, &mut room).await {
                return room.expect("the semaphore is never closed");
            }
        }
    }
}

impl Place {
    /// The client asks for something.
    pub(super) fn request(self: &Arc<Self>) -> UnderWay {
        let mut free = lock(&self.free_to_leave);
        if self.requests.fetch_add(1, Ordering::Relaxed) == 0 {
            free.remove(self.number.load(Ordering::Relaxed));
        }
        UnderWay(Arc::clone(self))
    }

    /// Waits until the place is wanted for somebody else and no request needs it. The connection has to leave before it
    /// takes another one.
    pub(super) async fn evicted(&self) {
        loop {
            self.order.notified().await;
            if self.is_free_to_leave() {
                return;
            }
        }
    }

    /// Whether it has no request; if it has, the next one is asked.
    fn is_free_to_leave(&self) -> bool {
        let mut free = lock(&self.free_to_leave);
        let is_free = self.requests.load(Ordering::Relaxed) == 0;
        if !is_free {
            free.ask_next();
        }
        is_free
    }
}

impl PlaceClaim {
    /// The claim of a request that is under way, and what ends it.
    pub(super) fn of(under_way: UnderWay) -> (Self, Claimed) {
        let claim = PlaceClaim(Arc::new(Mutex::new(Some(under_way))));
        (claim.clone(), Claimed(claim))
    }

    /// The request is not worth a place: its connection can be asked to leave while it is under way, and then it ends.
    pub fn give_up(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let place = &self.0;
        let mut free = lock(&place.free_to_leave);
        if place.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            let number = free.number();
            place.number.store(number, Ordering::Relaxed);
            free.idle.insert(number, Arc::clone(&place.order));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.free_to_leave).remove(self.number.load(Ordering::Relaxed));
    }
}

impl FreeToLeave {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn ask_next(&mut self) {
        let silent = self.silent.pop_first();
        if let Some((_, order)) = silent.or_else(|| self.idle.pop_first()) {
            order.notify_one();
        }
    }

    fn remove(&mut self, number: u64) {
        if self.silent.remove(&number).is_none() {
            self.idle.remove(&number);
        }
    }
}

fn lock(free: &Mutex<FreeToLeave>) -> MutexGuard<'_, FreeToLeave> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_evicted(place: &Place) -> bool {
        place.evicted().now_or_never().is_some()
    }

    /// All places of a port, taken.
    async fn taken<const N: usize>() -> (Places, [Arc<Place>; N]) {
        let places = Places::new(N);
        let mut taken = Vec::new();
        for _ in 0..N {
            taken.push(Arc::new(places.take().await));
        }
        (places, taken.try_into().unwrap())
    }

    #[tokio::test]
    async fn the_silent_make_room_in_the_order_in_which_they_came_then_the_idle() {
        let (places, [busy, idle, first, second]) = taken().await;
        drop(idle.request());
        let _under_way = busy.request();
        drop(busy.request());
        let mut held = vec![Some(first), Some(second), Some(idle)];
        for place in &mut held {
            let mut next = Box::pin(places.take());
            assert!(next.as_mut().now_or_never().is_none());
            assert!(is_evicted(place.as_ref().unwrap()));
            drop(place.take());
            let next = Arc::new(next.now_or_never().unwrap());
            // It stays, with something to do.
            std::mem::forget(next.request());
        }
        assert!(!is_evicted(&busy));
    }

    #[tokio::test]
    async fn the_one_that_was_idle_for_the_longest_time_goes_first() {
        let (places, [first, second]) = taken().await;
        let [of_first, of_second] = [first.request(), second.request()];
        drop(of_second);
        drop(of_first);
        let mut next = Box::pin(places.take());
        assert!(next.as_mut().now_or_never().is_none());
        assert!(is_evicted(&second) && !is_evicted(&first));
    }

    /// It can have been sent to Kora when the order comes.
    #[tokio::test]
    async fn a_request_that_begins_at_that_moment_is_not_cut_and_another_one_makes_room() {
        let (places, [first, second]) = taken().await;
        let mut next = Box::pin(places.take());
        assert!(next.as_mut().now_or_never().is_none());
        let under_way = first.request();
        assert!(!is_evicted(&first), "it has something to do by now");
        assert!(is_evicted(&second));
        drop(second);
        let third = next.now_or_never().unwrap();
        drop(under_way);
        let mut next = Box::pin(places.take());
        assert!(next.as_mut().now_or_never().is_none());
        assert!(is_evicted(&third) && !is_evicted(&first));
        drop(third);
        let _fourth = Arc::new(next.now_or_never().unwrap()).request();
        let mut next = Box::pin(places.take());
        assert!(next.as_mut().now_or_never().is_none());
        assert!(is_evicted(&first), "it can be asked again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_had_requests_when_room_was_wanted_makes_room_after_them() {
        let (places, [asked, busy]) = taken().await;
        let mut next = Box::pin(places.take());
        assert!(next.as_mut().now_or_never().is_none());
        // Both have something to do when the order comes, so that it comes to nobody.
        let under_way = [asked.request(), busy.request()];
        assert!(!is_evicted(&asked) && !is_evicted(&busy));
        drop(under_way);
        tokio::select! {
            _ = &mut next => panic!("there is no room yet"),
            is_asked = timeout(10 * ASK_AGAIN, asked.evicted()) => is_asked.unwrap(),
        }
        drop(asked);
        next.await;
        assert!(!is_evicted(&busy), "one is enough");
    }

    #[tokio::test]
    async fn a_request_under_way_is_waited_for() {
        let (places, [only]) = taken().await;
        let under_way = only.request();
        let mut next = Box::pin(places.take());
        assert!(next.as_mut().now_or_never().is_none());
        assert!(!is_evicted(&only));
        drop((under_way, only));
        drop(next.now_or_never().unwrap());
        let free = lock(&places.free_to_leave);
        assert!(free.silent.is_empty() && free.idle.is_empty());
    }
}
