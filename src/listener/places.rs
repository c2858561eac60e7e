//! The places of a port's connections, and who has to leave when there are none.
//!
//! Anybody can open connections, say nothing, or send what is worth nothing. So while all places are taken, one makes
//! room for the next (see [`Candidates`]): clients that have proven themselves are shut out only by clients whose
//! requests are under way.
//!
//! A request can begin at the moment at which its connection is asked to leave, and may have been sent to Kora when the
//! connection hears of it. Then the connection stays, and asks the next one in its stead.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::eviction::{Candidates, Network};

/// How long to wait for room before another one is asked to leave: none may have been free to, or none is any more.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A port's places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    room: Arc<Semaphore>,
    candidates: Arc<Mutex<Candidates>>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    candidates: Arc<Mutex<Candidates>>,
    network: Network,
    /// Changed under the lock of `candidates` alone, which is taken first.
    state: Mutex<State>,
    /// To leave, as often as it is asked.
    evict: Arc<Notify>,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct State {
    /// Its number among the candidates.
    number: u64,
    /// Requests under way, while which it is none of them.
    requests: usize,
    is_proven: bool,
}

/// One request that is under way. Its connection keeps its place meanwhile.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Place>);

/// A request's claim that its connection keeps its place meanwhile. Clones are the same claim.
#[derive(Clone, Debug)]
pub struct PlaceClaim {
    /// A claim that is kept longer than its connection keeps no place.
    place: Weak<Place>,
    under_way: Arc<Mutex<Option<UnderWay>>>,
}

/// Ends a claim when it is dropped.
#[derive(Debug)]
pub(super) struct Claimed(PlaceClaim);

impl Places {
    pub(super) fn new(count: usize) -> Self {
        Places {
            room: Arc::new(Semaphore::new(count)),
            candidates: Arc::default(),
        }
    }

    /// A place for a connection from this address, as soon as there is one.
    pub(super) async fn take(&self, address: IpAddr) -> Place {
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => self.made_room().await,
        };
        let (network, evict) = (Network::of(address), Arc::new(Notify::new()));
        let mut candidates = lock(&self.candidates);
        let number = candidates.next_number();
        candidates.add_unproven(network, number, Arc::clone(&evict));
        Place {
            candidates: Arc::clone(&self.candidates),
            network,
            state: Mutex::new(State {
                number,
                requests: 0,
                is_proven: false,
            }),
            evict,
            _room: room,
        }
    }

    /// Has one after the other asked to leave until there is room.
    async fn made_room(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.room).acquire_owned();
        tokio::pin!(room);
        loop {
            lock(&self.candidates).evict_next();
            if let Ok(room) = timeout(ASK_AGAIN, &mut room).await {
                return room.expect("the semaphore is never closed");
            }
        }
    }
}

impl Place {
    /// The client asks for something.
    pub(super) fn request(self: &Arc<Self>) -> UnderWay {
        let mut candidates = lock(&self.candidates);
        let mut state = lock(&self.state);
        if state.requests == 0 {
            candidates.remove(self.network, state.number);
        }
        state.requests += 1;
        UnderWay(Arc::clone(self))
    }

    /// Waits until the place is wanted for somebody else and no request needs it. The connection has to leave before it
    /// takes another one.
    pub(super) async fn evicted(&self) {
        loop {
            self.evict.notified().await;
            if self.is_free_to_leave() {
                return;
            }
        }
    }

    /// Whether it has no request; if it has, the next one is asked.
    fn is_free_to_leave(&self) -> bool {
        let mut candidates = lock(&self.candidates);
        let is_free = lock(&self.state).requests == 0;
        if !is_free {
            candidates.evict_next();
        }
        is_free
    }
}

impl PlaceClaim {
    /// The claim of a request that is under way, and what ends it.
    pub(super) fn of(under_way: UnderWay) -> (Self, Claimed) {
        let claim = PlaceClaim {
            place: Arc::downgrade(&under_way.0),
            under_way: Arc::new(Mutex::new(Some(under_way))),
        };
        (claim.clone(), Claimed(claim))
    }

    /// The request is not worth a place, or not yet: its connection can be evicted while it is under way, and then it
    /// ends.
    pub fn give_up(&self) {
        drop(lock(&self.under_way).take());
    }

    /// The request shows that its client is who the port is for. The connection keeps its place until the request is
    /// answered, though the claim was given up before, and is from now on evicted after those of whom that is not known.
    pub fn prove(&self) {
        let Some(place) = self.place.upgrade() else {
            return;
        };
        let proven = place.request();
        lock(&place.state).is_proven = true;
        // Dropped outside of the lock: what it replaces takes others.
        let before = lock(&self.under_way).replace(proven);
        drop(before);
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Place {
            candidates,
            network,
            state,
            evict,
            ..
        } = &*self.0;
        let (mut candidates, mut state) = (lock(candidates), lock(state));
        state.requests -= 1;
        if state.requests == 0 && state.is_proven {
            state.number = candidates.next_number();
            candidates.add_proven(state.number, Arc::clone(evict));
        } else if state.requests == 0 {
            candidates.add_unproven(*network, state.number, Arc::clone(evict));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let number = lock(&self.state).number;
        lock(&self.candidates).remove(self.network, number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Has a client prove itself by a request, and answers that.
    fn prove(place: &Arc<Place>) {
        let (claim, claimed) = PlaceClaim::of(place.request());
        claim.give_up();
        claim.prove();
        drop(claimed);
    }

    fn is_evicted(place: &Place) -> bool {
        place.evicted().now_or_never().is_some()
    }

    /// All places of a port, taken.
    async fn taken<const N: usize>() -> (Places, [Arc<Place>; N]) {
        let places = Places::new(N);
        let mut taken = Vec::new();
        for _ in 0..N {
            taken.push(Arc::new(places.take(ADDRESS).await));
        }
        (places, taken.try_into().unwrap())
    }

    #[tokio::test]
    async fn the_unproven_make_room_in_the_order_in_which_they_came_then_the_proven_that_are_idle()
    {
        let (places, [busy, idle, first, second]) = taken().await;
        prove(&idle);
        drop(first.request());
        let _under_way = busy.request();
        drop(busy.request());
        let mut held = vec![Some(first), Some(second), Some(idle)];
        for place in &mut held {
            let mut next = Box::pin(places.take(ADDRESS));
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
        prove(&second);
        prove(&first);
        let mut next = Box::pin(places.take(ADDRESS));
        assert!(next.as_mut().now_or_never().is_none());
        assert!(is_evicted(&second) && !is_evicted(&first));
    }

    /// It can have been sent to Kora when the order comes.
    #[tokio::test]
    async fn a_request_that_begins_at_that_moment_is_not_cut_and_another_one_makes_room() {
        let (places, [first, second]) = taken().await;
        let mut next = Box::pin(places.take(ADDRESS));
        assert!(next.as_mut().now_or_never().is_none());
        let under_way = first.request();
        assert!(!is_evicted(&first), "it has something to do by now");
        assert!(is_evicted(&second));
        drop(second);
        let third = next.now_or_never().unwrap();
        drop(under_way);
        prove(&first);
        let mut next = Box::pin(places.take(ADDRESS));
        assert!(next.as_mut().now_or_never().is_none());
        assert!(is_evicted(&third) && !is_evicted(&first));
        drop(third);
        let _fourth = Arc::new(next.now_or_never().unwrap()).request();
        let mut next = Box::pin(places.take(ADDRESS));
        assert!(next.as_mut().now_or_never().is_none());
        assert!(is_evicted(&first), "it can be asked again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_had_requests_when_room_was_wanted_makes_room_after_them() {
        let (places, [asked, busy]) = taken().await;
        let mut next = Box::pin(places.take(ADDRESS));
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
        let mut next = Box::pin(places.take(ADDRESS));
        assert!(next.as_mut().now_or_never().is_none());
        assert!(!is_evicted(&only));
        drop((under_way, only));
        drop(next.now_or_never().unwrap());
        assert!(lock(&places.candidates).is_empty());
    }

    /// A stranger's request that sends its body for ever, and Kora's, before and after it is known to be hers.
    #[tokio::test]
    async fn a_request_that_proves_nothing_keeps_no_place_and_one_that_does_keeps_it() {
        let (places, [first, second]) = taken().await;
        let (claim, claimed) = PlaceClaim::of(first.request());
        let (of_stranger, _claimed) = PlaceClaim::of(second.request());
        claim.give_up();
        of_stranger.give_up();
        claim.prove();
        let mut next = Box::pin(places.take(ADDRESS));
        assert!(next.as_mut().now_or_never().is_none());
        assert!(is_evicted(&second) && !is_evicted(&first));
        drop((claim, claimed));
        assert!(!is_evicted(&first), "nobody asks it");
    }
}
