//! Turns at publishing, so that a gateway far from NATS makes progress beside a busy one that is nearer.
//!
//! Each event is published for one place. Of several gateways that publish at once the one that hears of the last event
//! first wins, and where it always has something to publish, it always wins. So a gateway that keeps losing asks for a
//! turn: the others finish the publish that is under way and pause until the turn is over. Whoever has waited longest
//! goes first; a gateway that paused may publish for as long as it paused before it pauses again, unless somebody has
//! waited for more than [`URGENT_AFTER`]. With N gateways each one publishes at least once in about
//! `URGENT_AFTER + N * TURN`.
//!
//! Only fairness depends on this. A message that is lost or late delays somebody by one turn at most, and the server
//! still refuses an event whose place is taken.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use prost::Message;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

use super::connection::Connection;

/// How long a turn lasts at most, from the request on. A request and its first event take three times the distance to
/// NATS, so a gateway that is up to 80 ms away gets something done in it.
const TURN: Duration = Duration::from_millis(250);

/// After how many places lost in a row a gateway asks for a turn.
const LOSSES: u32 = 3;

/// How often it asks at most.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Who has waited for so long is let in by everybody who has not.
const URGENT_AFTER: Duration = Duration::from_secs(1);

/// How long a message to the others may wait to be sent.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);

/// How long to wait before subscribing again.
const SUBSCRIBE_AGAIN: Duration = Duration::from_secs(1);

/// What gateways tell each other.
#[derive(Clone, PartialEq, Message)]
struct Word {
    /// Which gateway says it.
    #[prost(bytes = "vec", tag = "1")]
    gateway: Vec<u8>,
    /// How long it has had something to publish without publishing anything, in milliseconds.
    #[prost(uint64, tag = "2")]
    waited: u64,
    /// It needs its turn no longer.
    #[prost(bool, tag = "3")]
    is_over: bool,
}

/// The turns at one tenant's stream.
#[derive(Debug)]
pub(super) struct Turns {
    connection: Connection,
    subject: String,
    me: Uuid,
    state: Mutex<State>,
}

/// Whose turn it is, as far as this gateway knows.
#[derive(Debug)]
struct State {
    /// Since when this gateway has had something to publish and published nothing.
    unserved_since: Option<Instant>,
    /// Places lost since then.
    losses: u32,
    /// When it asked for a turn that it has not given back.
    asked_at: Option<Instant>,
    /// When that turn ends, once it has begun.
    turn_ends: Option<Instant>,
    pause: Option<Pause>,
    /// Until when it pauses for nobody who is not in urgent need.
    own_until: Instant,
}

/// Another gateway's turn.
#[derive(Clone, Debug)]
struct Pause {
    of: Vec<u8>,
    from: Instant,
    until: Instant,
}

impl Turns {
    pub(super) fn new(connection: Connection, subject: String, me: Uuid) -> Arc<Self> {
        Arc::new(Turns {
            connection,
            subject,
            me,
            state: Mutex::new(State::new(Instant::now())),
        })
    }

    /// Hears what the others say.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            if let Ok(mut words) = self.connection.subscribe(self.subject.clone()).await {
                while let Some(word) = words.next().await {
                    self.hear(word.payload);
                }
            }
            sleep(SUBSCRIBE_AGAIN).await;
        }
    }

    /// Waits while it is another gateway's turn.
    pub(super) async fn until_mine(&self) {
        loop {
            let until = {
                let now = Instant::now();
                let mut state = self.state();
                state.unserved_since.get_or_insert(now);
                state.paused_until(now)
            };
            match until {
                Some(until) => sleep_until(until.min(Instant::now() + ASK_EVERY)).await,
                None => return,
            }
        }
    }

    /// Whether it is another gateway's turn.
    pub(super) fn is_paused(&self) -> bool {
        self.state().paused_until(Instant::now()).is_some()
    }

    /// An event of this gateway's was stored, or was found to be.
    pub(super) async fn served(&self) {
        let is_over = self.state().served(Instant::now());
        if is_over {
            self.say(0, true).await;
        }
    }

    /// Another gateway took the place of an event.
    pub(super) async fn lost(&self) {
        let waited = self.state().lost(Instant::now());
        if let Some(waited) = waited {
            self.say(waited, false).await;
        }
    }

    /// There is nothing left to publish.
    pub(super) async fn idle(&self) {
        let has_turn = self.state().idle();
        if has_turn {
            self.say(0, true).await;
        }
    }

    async fn say(&self, waited: u64, is_over: bool) {
        let word = Word {
            gateway: self.me.as_bytes().to_vec(),
            waited,
            is_over,
        };
        let said = self
            .connection
            .say(self.subject.clone(), word.encode_to_vec().into());
        // One that is not sent costs the others the rest of a turn, or is said again after the next loss.
        let _ = timeout(SEND_TIMEOUT, said).await;
    }

    fn hear(&self, payload: Bytes) {
        let Ok(word) = Word::decode(payload) else {
            return;
        };
        if word.gateway != self.me.as_bytes() {
            self.state().hear(word, Instant::now());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(now: Instant) -> Self {
        State {
            unserved_since: None,
            losses: 0,
            asked_at: None,
            turn_ends: None,
            pause: None,
            own_until: now,
        }
    }

    fn paused_until(&mut self, now: Instant) -> Option<Instant> {
        let until = self.pause.as_ref()?.until;
        if until > now {
            return Some(until);
        }
        self.end_pause(until);
        None
    }

    fn end_pause(&mut self, at: Instant) {
        if let Some(pause) = self.pause.take() {
            self.own_until = at + (at - pause.from);
        }
    }

    /// Whether its turn is over with that.
    fn served(&mut self, now: Instant) -> bool {
        self.unserved_since = Some(now);
        self.losses = 0;
        if self.asked_at.is_none() {
            return false;
        }
        let is_over = *self.turn_ends.get_or_insert(now + TURN) <= now;
        if is_over {
            self.give_back();
        }
        is_over
    }

    /// How long it has waited, in milliseconds, if that is to be said now.
    fn lost(&mut self, now: Instant) -> Option<u64> {
        self.losses += 1;
        let is_early = |asked: Instant| now - asked < ASK_EVERY;
        if self.losses < LOSSES || self.asked_at.is_some_and(is_early) {
            return None;
        }
        self.asked_at = Some(now);
        u64::try_from(self.waited(now).as_millis()).ok()
    }

    /// Whether it had a turn.
    fn idle(&mut self) -> bool {
        let has_turn = self.asked_at.is_some();
        self.unserved_since = None;
        self.losses = 0;
        self.give_back();
        has_turn
    }

    fn give_back(&mut self) {
        self.asked_at = None;
        self.turn_ends = None;
    }

    fn hear(&mut self, word: Word, now: Instant) {
        self.paused_until(now);
        let pauses_for_it = self
            .pause
            .as_ref()
            .is_some_and(|pause| pause.of == word.gateway);
        if word.is_over {
            if pauses_for_it {
                self.end_pause(now);
            }
            return;
        }
        let waited = Duration::from_millis(word.waited);
        let is_urgent = waited >= URGENT_AFTER;
        let is_mine = self.own_until.max(self.turn_ends.unwrap_or(now)) > now;
        let is_busy = is_mine || self.pause.is_some();
        if pauses_for_it || waited <= self.waited(now) || (is_busy && !is_urgent) {
            return;
        }
        self.pause = Some(Pause {
            of: word.gateway,
            from: now,
            until: now + TURN,
        });
    }

    fn waited(&self, now: Instant) -> Duration {
        self.unserved_since
            .map_or(Duration::ZERO, |since| now - since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(gateway: u8, waited: u64) -> Word {
        Word {
            gateway: vec![gateway],
            waited,
            is_over: false,
        }
    }

    fn gives_back(gateway: u8) -> Word {
        Word {
            gateway: vec![gateway],
            waited: 0,
            is_over: true,
        }
    }

    const STEP: Duration = Duration::from_millis(10);

    #[test]
    fn a_gateway_asks_after_some_losses_in_a_row_and_not_all_the_time() {
        let now = Instant::now();
        let mut state = State::new(now);
        state.unserved_since = Some(now);
        assert_eq!(state.lost(now), None);
        assert_eq!(state.lost(now + STEP), None);
        assert_eq!(state.lost(now + 2 * STEP), Some(20));
        assert_eq!(state.lost(now + 3 * STEP), None);
        assert_eq!(state.lost(now + 2 * STEP + ASK_EVERY), Some(70));
        assert!(!state.served(now + 8 * STEP));
        assert_eq!(state.lost(now + 20 * STEP), None);
    }

    #[test]
    fn a_pause_ends_with_the_turn_and_then_this_gateway_goes_on_for_as_long() {
        let now = Instant::now();
        let mut state = State::new(now);
        state.served(now);
        state.hear(asks(1, 40), now + STEP);
        assert!(state.paused_until(now + 2 * STEP).is_some());
        state.hear(gives_back(2), now + 2 * STEP);
        assert!(state.paused_until(now + 3 * STEP).is_some());
        state.hear(gives_back(1), now + 4 * STEP);
        assert_eq!(state.paused_until(now + 4 * STEP), None);
        state.served(now + 5 * STEP);
        state.hear(asks(1, 40), now + 6 * STEP);
        assert_eq!(state.paused_until(now + 6 * STEP), None);
        state.hear(asks(1, 40), now + 7 * STEP);
        assert_eq!(
            state.paused_until(now + 7 * STEP),
            Some(now + 7 * STEP + TURN)
        );
        // The same request again does not make the turn longer.
        state.hear(asks(1, 90), now + 12 * STEP);
        assert_eq!(state.paused_until(now + 7 * STEP + TURN), None);
    }

    #[test]
    fn whoever_has_waited_longest_goes_first() {
        let now = Instant::now();
        let mut state = State::new(now);
        state.unserved_since = Some(now);
        state.hear(asks(1, 40), now + 5 * STEP);
        assert_eq!(state.paused_until(now + 5 * STEP), None);
        state.hear(asks(1, 60), now + 5 * STEP);
        assert!(state.paused_until(now + 5 * STEP).is_some());
    }

    #[test]
    fn somebody_in_urgent_need_waits_for_nobodys_turn() {
        let now = Instant::now();
        let mut state = State::new(now);
        state.served(now);
        state.hear(asks(1, 40), now);
        state.hear(asks(2, 900), now + STEP);
        assert_eq!(state.paused_until(now + STEP), Some(now + TURN));
        state.hear(asks(2, 1000), now + 2 * STEP);
        assert_eq!(
            state.paused_until(now + 2 * STEP),
            Some(now + 2 * STEP + TURN)
        );
    }

    #[test]
    fn a_turn_ends_by_itself() {
        let now = Instant::now();
        let mut state = State::new(now);
        state.unserved_since = Some(now);
        state.losses = LOSSES;
        state.lost(now);
        assert!(!state.served(now + STEP));
        assert!(!state.served(now + TURN));
        assert!(state.served(now + STEP + TURN));
        assert!(!state.idle());
    }
}
