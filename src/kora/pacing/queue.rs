//! The budget and the calls that wait for it: every change, as a plain function of the time.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use tokio::{sync::oneshot, time::Instant};

use super::{
    MIN_TIME_TO_SEND, Paced,
    answer_time::{AnswerTimes, Kind},
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
    answer_times: AnswerTimes,
    last_number: u64,
    metrics: Metrics,
    /// Whether somebody wakes the queue when time alone has opened the budget.
    pub(super) is_timed: bool,
}

/// What became of a call that asked for a turn.
pub(super) enum Joined {
    /// It has its turn now.
    Turn(Ticket),
    /// It waits, until the deadline of its place at the latest.
    Waits(Place, oneshot::Receiver<Turn>),
}

struct Waiter {
    since: Instant,
    kind: Kind,
    /// When its caller has to be answered.
    deadline: Instant,
    turn: oneshot::Sender<Turn>,
}

impl Queue {
    pub(super) fn new(metrics: Metrics) -> Self {
        Queue {
            budget: Budget::default(),
            lanes: Lanes::default(),
            answer_times: AnswerTimes::default(),
            last_number: 0,
            metrics,
            is_timed: false,
        }
    }

    /// Gives a call its turn, or lines it up, unless it could not be answered before its deadline then.
    pub(super) fn join(
        &mut self,
        kind: Kind,
        caller: &str,
        deadline: Instant,
        now: Instant,
    ) -> Result<Joined, Paced> {
        self.advance(now);
        if self.lanes.is_empty() && self.budget.opens(now) <= now {
            let ticket = self.budget.spend(now);
            self.metrics.waited(kind.lane, Duration::ZERO);
            self.metrics.left(self.budget.left());
            return Ok(Joined::Turn(ticket));
        }
        let last_turn = self.last_turn(kind, deadline, now);
        let wait = self.wait(kind.lane, caller, last_turn, now);
        if now + wait > last_turn {
            return Err(self.refuse(kind.lane, wait));
        }
        self.last_number += 1;
        let place = Place {
            lane: kind.lane,
            caller: caller.to_owned(),
            deadline: last_turn,
            number: self.last_number,
        };
        let (turn, receiver) = oneshot::channel();
        let waiter = Waiter {
            since: now,
            kind,
            deadline,
            turn,
        };
        self.lanes.push(place.clone(), waiter);
        self.metrics.waiting(kind.lane, self.lanes.len(kind.lane));
        Ok(Joined::Waits(place, receiver))
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
        (ticket, kind): (Ticket, Kind),
        status: StatusCode,
        headers: &HeaderMap,
        times: (Instant, Timestamp),
    ) {
        // Kora refuses before it works, so a refusal says nothing about how long an answer takes.
        if !status.is_client_error() {
            let took = times.0 - ticket.sent;
            self.answer_times.answered(kind, took, times.0);
        }
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
            // Answers may have become slower since it joined.
            if now > self.last_turn(waiter.kind, waiter.deadline, now) {
                let _ = waiter.turn.send(Err(self.refuse(lane, Duration::ZERO)));
                continue;
            }
            let ticket = self.budget.spend(now);
            match waiter.turn.send(Ok(ticket)) {
                Ok(()) => self.metrics.waited(lane, now - waiter.since),
                Err(_) => self.budget.give_back(ticket),
            }
        }
        if let Some(until) = self.budget.spent_until(now) {
            self.answer_times.hold(until);
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

    /// The last moment at which a turn leaves time for the answer.
    fn last_turn(&self, kind: Kind, deadline: Instant, now: Instant) -> Instant {
        let needed = self.answer_times.expected(kind, now).max(MIN_TIME_TO_SEND);
        deadline.checked_sub(needed).unwrap_or(deadline)
    }

    /// Whoever comes back finds the same calls ahead at most, and those have been sent by then.
    fn refuse(&self, lane: Lane, wait: Duration) -> Paced {
        self.metrics.refused(lane);
        Paced {
            retry_after: wait + self.budget.step(),
        }
    }
}
