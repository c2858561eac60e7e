//! Spending the key's budget well: who may send to Kora, and when.
//!
//! Kora allows so many requests a minute for one key, and tells with every answer what is left (Kora docs:
//! rate-limits). A call asks for its turn before it is sent, and the permit is told how it ended. Nothing
//! is shared with other gateways that use the same key: each follows what it is told.

mod answer_time;
mod budget;
mod forecast;
mod lanes;
mod metrics;
mod opening;
mod queue;
#[cfg(test)]
mod tests;
mod window;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use tokio::{
    sync::{Notify, oneshot},
    time::{self, Instant},
};

use crate::clock::Clock;
use budget::Ticket;
use lanes::Place;
use queue::{Joined, Queue, Turn};

pub(super) use answer_time::Kind;
pub use lanes::Lane;
pub(super) use metrics::Metrics;

/// A request that has less time than this until its deadline is not sent: it would hardly be answered in
/// time, and the caller of a POST would be left not knowing.
pub(super) const MIN_TIME_TO_SEND: Duration = Duration::from_millis(100);

/// Gives turns, for one key. Clones share everything.
///
/// Nothing limits how many wait: each is a call of the gateway's, and those are limited.
#[derive(Clone)]
pub(super) struct Pacer(Arc<Shared>);

/// The right to send one request. Dropped without a word, it counts as sent and not answered.
pub(super) struct Permit {
    ticket: Option<Ticket>,
    kind: Kind,
    pacer: Pacer,
}

/// The turn would come too late for an answer before the deadline. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paced {
    /// A call that comes back after so long, and has as much time again, is expected to have its turn.
    pub(super) retry_after: Duration,
}

struct Shared {
    queue: Mutex<Queue>,
    clock: Clock,
    /// The queue opens at another time than before.
    changed: Notify,
}

/// A call in the queue; dropping it leaves the queue.
struct Waiting {
    place: Place,
    turn: oneshot::Receiver<Turn>,
    pacer: Pacer,
}

impl Pacer {
    /// A pacer that knows nothing yet, and so holds nothing back. `clock` is what Kora's times of day are
    /// compared with.
    pub(super) fn new(clock: Clock, metrics: Metrics) -> Self {
        Pacer(Arc::new(Shared {
            queue: Mutex::new(Queue::new(metrics)),
            clock,
            changed: Notify::new(),
        }))
    }

    /// Waits for the turn of `caller`, who has to be answered by `deadline`. Dropping the future gives the
    /// turn up.
    ///
    /// # Errors
    /// At once if the turn would come too late for an answer, as far as can be told; else as soon as that is
    /// seen.
    pub(super) async fn turn(
        &self,
        kind: Kind,
        caller: &str,
        deadline: Instant,
    ) -> Result<Permit, Paced> {
        let permit = |ticket| Permit {
            ticket: Some(ticket),
            kind,
            pacer: self.clone(),
        };
        let joined = self.queue().join(kind, caller, deadline, Instant::now())?;
        let (place, turn) = match joined {
            Joined::Turn(ticket) => return Ok(permit(ticket)),
            Joined::Waits(place, turn) => (place, turn),
        };
        let last_turn = place.deadline;
        let mut waiting = Waiting {
            place,
            turn,
            pacer: self.clone(),
        };
        self.keep_time();
        match time::timeout_at(last_turn, &mut waiting.turn).await {
            Ok(Ok(turn)) => Ok(permit(turn?)),
            // The sender is gone only if the queue is; there is no turn to wait for.
            Ok(Err(_)) | Err(_) => {
                let now = Instant::now();
                Err(self.queue().expire(&waiting.place, now))
            }
        }
    }

    /// How long `caller` would wait for a turn now.
    pub(super) fn wait(&self, lane: Lane, caller: &str, deadline: Instant) -> Duration {
        self.queue().wait(lane, caller, deadline, Instant::now())
    }

    /// Sees to it that the queue goes on when time alone opens it.
    fn keep_time(&self) {
        let mut queue = self.queue();
        if queue.next_change(Instant::now()).is_some() && !queue.is_timed {
            queue.is_timed = true;
            tokio::spawn(self.clone().advance_in_time());
        }
    }

    /// Changes the queue, which may then open at another time.
    fn change(&self, change: impl FnOnce(&mut Queue, Instant)) {
        change(&mut self.queue(), Instant::now());
        self.0.changed.notify_one();
    }

    /// Runs for as long as somebody waits.
    async fn advance_in_time(self) {
        while let Some(next) = self.advance() {
            tokio::select! {
                () = time::sleep_until(next) => {}
                () = self.0.changed.notified() => {}
            }
        }
    }

    fn advance(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut queue = self.queue();
        queue.advance(now);
        let next = queue.next_change(now);
        queue.is_timed = next.is_some();
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change is whole before anything can panic.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Kora answered.
    pub(super) fn answered(mut self, status: StatusCode, headers: &HeaderMap) {
        if let Some(ticket) = self.ticket.take() {
            let time_of_day = self.pacer.0.clock.now();
            let asked = (ticket, self.kind);
            self.pacer.change(|queue, now| {
                queue.answered(asked, status, headers, (now, time_of_day));
            });
        }
    }

    /// Certainly no byte of the request was sent: the turn is free again.
    pub(super) fn not_sent(mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.pacer.change(|queue, now| queue.not_sent(ticket, now));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.pacer.change(|queue, now| queue.lost(ticket, now));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let (place, turn) = (&self.place, &mut self.turn);
        self.pacer
            .change(|queue, now| queue.leave(place, turn, now));
    }
}
