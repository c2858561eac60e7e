//! The budget and the calls that wait for it: every change, as a plain function of the time.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Paced,
    budget::{Budget, Ticket},
    lanes::{Lane, Lanes, Place},
    metrics::Metrics,
};

/// What a call that waits is told.
pub(super) type Turn = Result<Ticket, Paced>;

/// All that the pacer knows.
pub(super) struct Queue {
    budget: Budget,
    lanes: Lanes<Waiter>,
    last_number: u64,
    metrics: Metrics,
    /// Whether somebody wakes the queue when time alone has opened the budget.
    pub(super) is_timed: bool,
}

struct Waiter {
    since: Instant,
    turn: oneshot::Sender<Turn>,
}

impl Queue {
    pub(super) fn new(metrics: Metrics) -> Self {
        Queue {
            budget: Budget::default(),
            lanes: Lanes::default(),
            last_number: 0,
            metrics,
            is_timed: false,
        }
    }

    /// Lines a call up, unless its turn would come after its deadline.
    pub(super) fn join(
        &mut self,
        lane: Lane,
        caller: &str,
        deadline: Instant,
        now: Instant,
    ) -> Result<(Place, oneshot::Receiver<Turn>), Paced> {
        let wait = self.wait(lane, caller, deadline, now);
        if wait > deadline.saturating_duration_since(now) {
            return Err(self.refuse(lane, wait));
        }
        self.last_number += 1;
        let place = Place {
            lane,
            caller: caller.to_owned(),
            deadline,
            number: self.last_number,
        };
        let (turn, receiver) = oneshot::channel();
        self.lanes.push(place.clone(), Waiter { since: now, turn });
        self.advance(now);
        Ok((place, receiver))
    }

    /// How long a call would wait for its turn.
    pub(super) fn wait(
        &self,
        lane: Lane,
        caller: &str,
        deadline: Instant,
        now: Instant,
    ) -> Duration {
        let ahead = self.lanes.ahead(lane, caller, deadline);
        self.budget.wait(ahead, now)
    }

    /// Refuses a call whose deadline has come while it waited.
    pub(super) fn expire(&mut self, place: &Place, now: Instant) -> Paced {
        self.lanes.remove(place);
        let wait = self.wait(place.lane, &place.caller, place.deadline, now);
        self.refuse(place.lane, wait)
    }

    /// A call goes away. A turn that it was given and did not take is the next one's.
    pub(super) fn leave(
        &mut self,
        place: &Place,
        turn: &mut oneshot::Receiver<Turn>,
        now: Instant,
    ) {
        let was_waiting = self.lanes.remove(place).is_some();
        if !was_waiting && let Ok(Ok(ticket)) = turn.try_recv() {
            self.budget.give_back(ticket);
        }
        self.advance(now);
    }

    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        status: StatusCode,
        headers: &HeaderMap,
        times: (Instant, Timestamp),
    ) {
        self.budget.answered(ticket, status, headers, times);
        self.advance(times.0);
    }

    pub(super) fn not_sent(&mut self, ticket: Ticket, now: Instant) {
        self.budget.give_back(ticket);
        self.advance(now);
    }

    pub(super) fn lost(&mut self, ticket: Ticket, now: Instant) {
        self.budget.lost(ticket);
        self.advance(now);
    }

    /// When time alone will open the budget to the next call; `None` if none waits.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        (!self.lanes.is_empty()).then(|| self.budget.opens(now))
    }

    /// Gives out what turns there are, and refuses who can have none in time.
    pub(super) fn advance(&mut self, now: Instant) {
        while self.budget.opens(now) <= now
            && let Some((lane, waiter)) = self.lanes.next()
        {
            let ticket = self.budget.spend(now);
            match waiter.turn.send(Ok(ticket)) {
                Ok(()) => self.metrics.waited(lane, now - waiter.since),
                Err(_) => self.budget.give_back(ticket),
            }
        }
        if let Some(until) = self.budget.spent_until(now) {
            for (place, waiter) in self.lanes.take_due_before(until) {
                let wait = self.wait(place.lane, &place.caller, place.deadline, now);
                let paced = self.refuse(place.lane, wait);
                // One that has just gone away needs no answer.
                let _ = waiter.turn.send(Err(paced));
            }
        }
        for lane in [Lane::Interactive, Lane::Background] {
            self.metrics.waiting(lane, self.lanes.len(lane));
        }
        self.metrics.left(self.budget.left());
    }

    /// Whoever comes back finds the same calls ahead at most, and those have been sent by then.
    fn refuse(&self, lane: Lane, wait: Duration) -> Paced {
        self.metrics.refused(lane);
        Paced {
            retry_after: wait + self.budget.step(),
        }
    }
}
