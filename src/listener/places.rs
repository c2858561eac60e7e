//! The places of a port's connections, and who has to leave when there are none.
//!
//! Anybody can open connections, say nothing, or send what is worth nothing. So while all places are taken, one is evicted
//! for the next (see [`Candidates`]), whatever it is sending or reading. A request protects its connection from when it
//! shows that its client is who the port is for until it is answered; afterwards such a connection is evicted last. On a
//! port where no request shows that, every connection can be evicted at any time.
//!
//! A request can show that at the moment at which its connection is evicted, and may have been sent to Kora when the
//! connection hears of it. Then the connection stays, and the next one is evicted in its stead.

use std::{
    mem,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    candidates: Arc<Mutex<Candidates<Arc<Notify>>>>,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    candidates: Arc<Mutex<Candidates<Arc<Notify>>>>,
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
    /// Protected requests that are under way. While there are any, it is no candidate.
    requests: usize,
}

/// A protected request that is under way: its connection is not evicted meanwhile, and afterwards it has proven itself.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Place>);

/// What a request uses to prove that its client is who the port is for. Clones are the same claim.
#[derive(Clone, Debug)]
pub struct PlaceClaim {
    network: Network,
    claim: Arc<Mutex<Claim>>,
}

#[derive(Debug)]
enum Claim {
    Unproven(Arc<Place>),
    Proven {
        _under_way: UnderWay,
    },
    /// The request was answered, or its connection ended.
    Ended,
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
            }),
            evict,
            _room: room,
        }
    }

    /// Evicts one after the other until there is room.
    async fn made_room(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.room).acquire_owned();
        tokio::pin!(room);
        loop {
            evict_next(&mut lock(&self.candidates));
            if let Ok(room) = timeout(ASK_AGAIN, &mut room).await {
                return room.expect("the semaphore is never closed");
            }
        }
    }
}

impl Place {
    /// A request has shown that its client is who the port is for.
    fn protect(self: &Arc<Self>) -> UnderWay {
        let mut candidates = lock(&self.candidates);
        let mut state = lock(&self.state);
        if state.requests == 0 {
            candidates.remove(self.network, state.number);
        }
        state.requests += 1;
        UnderWay(Arc::clone(self))
    }

    /// Waits until the place is wanted for another connection and no request protects it. The connection has to end before
    /// it takes another request.
    pub(super) async fn evicted(&self) {
        loop {
            self.evict.notified().await;
            if self.is_still_evicted() {
                return;
            }
        }
    }

    /// Whether nothing was proven since it was chosen; else the next one is evicted.
    fn is_still_evicted(&self) -> bool {
        let mut candidates = lock(&self.candidates);
        let is_evicted = {
            let state = lock(&self.state);
            state.requests == 0 && !candidates.is_proven(state.number)
        };
        if !is_evicted {
            evict_next(&mut candidates);
        }
        is_evicted
    }
}

impl PlaceClaim {
    /// The claim of a request on this connection, and what ends it.
    pub(super) fn of(place: &Arc<Place>) -> (Self, Claimed) {
        let claim = PlaceClaim {
            network: place.network,
            claim: Arc::new(Mutex::new(Claim::Unproven(Arc::clone(place)))),
        };
        (claim.clone(), Claimed(claim))
    }

    /// The request shows that its client is who the port is for: its connection is not evicted before it is answered, and
    /// from then on only after those that have not shown that.
    pub fn prove(&self) {
        let mut claim = lock(&self.claim);
        if let Claim::Unproven(place) = &*claim {
            let under_way = place.protect();
            *claim = Claim::Proven {
                _under_way: under_way,
            };
        }
    }

    /// Whether its connection is protected, or has proven itself before.
    pub fn is_proven(&self) -> bool {
        match &*lock(&self.claim) {
            Claim::Unproven(place) => {
                let candidates = lock(&place.candidates);
                let state = lock(&place.state);
                state.requests > 0 || candidates.is_proven(state.number)
            }
            Claim::Proven { .. } => true,
            Claim::Ended => false,
        }
    }

    /// Where its connection comes from.
    pub fn network(&self) -> Network {
        self.network
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let claim = mem::replace(&mut *lock(&self.0.claim), Claim::Ended);
        // Outside of the claim's lock: it takes others.
        drop(claim);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let place = &*self.0;
        let (mut candidates, mut state) = (lock(&place.candidates), lock(&place.state));
        state.requests -= 1;
        if state.requests == 0 {
            state.number = candidates.next_number();
            candidates.add_proven(state.number, Arc::clone(&place.evict));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let number = lock(&self.state).number;
        lock(&self.candidates).remove(self.network, number);
    }
}

fn evict_next(candidates: &mut Candidates<Arc<Notify>>) {
    if let Some(evict) = candidates.pop_next() {
        evict.notify_one();
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
        let (claim, claimed) = PlaceClaim::of(place);
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
        drop(PlaceClaim::of(&first));
        let _under_way = busy.protect();
        prove(&busy);
        let mut held = vec![Some(first), Some(second), Some(idle)];
        for place in &mut held {
            let mut next = Box::pin(places.take(ADDRESS));
            assert!(next.as_mut().now_or_never().is_none());
            assert!(is_evicted(place.as_ref().unwrap()));
            drop(place.take());
            let next = Arc::new(next.now_or_never().unwrap());
            // It stays, with something to do.
            std::mem::forget(next.protect());
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
        let under_way = first.protect();
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
        let _fourth = Arc::new(next.now_or_never().unwrap()).protect();
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
        let under_way = [asked.protect(), busy.protect()];
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
        let under_way = only.protect();
        let mut next = Box::pin(places.take(ADDRESS));
        assert!(next.as_mut().now_or_never().is_none());
        assert!(!is_evicted(&only));
        drop((under_way, only));
        drop(next.now_or_never().unwrap());
        assert!(lock(&places.candidates).is_empty());
    }

    /// A stranger's request that sends its body for ever, or takes no answer, and one that proves itself.
    #[tokio::test]
    async fn a_request_that_proves_nothing_protects_no_connection_and_one_that_does_protects_it() {
        let (places, [first, second]) = taken().await;
        let (claim, claimed) = PlaceClaim::of(&first);
        let (of_stranger, _claimed) = PlaceClaim::of(&second);
        claim.prove();
        claim.prove();
        assert!(claim.is_proven() && !of_stranger.is_proven());
        let mut next = Box::pin(places.take(ADDRESS));
        assert!(next.as_mut().now_or_never().is_none());
        assert!(is_evicted(&second) && !is_evicted(&first));
        drop((claim, claimed));
        assert!(!is_evicted(&first), "nobody asks it");
        assert!(PlaceClaim::of(&first).0.is_proven(), "it was before");
    }

    #[tokio::test]
    async fn one_that_proved_itself_since_it_was_chosen_is_not_evicted_before_the_unproven() {
        let (places, [first, second]) = taken().await;
        let mut next = Box::pin(places.take(ADDRESS));
        assert!(next.as_mut().now_or_never().is_none());
        prove(&first);
        assert!(!is_evicted(&first) && is_evicted(&second));
    }

    /// A task of its own can hold the claim for longer than its connection lasts.
    #[tokio::test]
    async fn a_claim_that_is_kept_keeps_no_place() {
        let (places, [only]) = taken().await;
        let (claim, claimed) = PlaceClaim::of(&only);
        drop((claimed, only));
        claim.prove();
        assert!(places.take(ADDRESS).now_or_never().is_some());
    }
}
