//! The states of the circuit, and what leads from one to the next.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{streak::Streak, window::Window};

/// How many of the window's calls there must be before their failures are weighed.
const MIN_CALLS_TO_WEIGH: u32 = 20;

/// How long an open circuit lets nothing through.
pub(super) const OPEN_FOR: Duration = Duration::from_secs(5);

/// How long a probe may go without a verdict before the next call is let through as another one.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// When to come back while one call finds out whether Kora answers again.
pub(super) const COME_BACK_AFTER: Duration = Duration::from_secs(1);

/// Whether calls go to Kora, as the metric shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kora) enum Position {
    /// They do.
    Closed = 0,
    /// One at a time does.
    HalfOpen = 1,
    /// None does, or none came since one may try again.
    Open = 2,
}

/// The new position, where it is not the old one.
pub(super) type Change = Option<Position>;

/// How a call that was let through ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Succeeded,
    Failed,
}

/// Who makes a call; `None` for the gateway itself, which polls.
pub(super) type Caller = Option<Arc<str>>;

/// When a call was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// How often the state had changed. A call that was let through before the last change is no news: else
    /// those that were on their way when the circuit opened would open it again after Kora came back.
    period: u64,
    /// Its number among the probes, where it is one.
    probe: u64,
}

/// Lets calls through by how the earlier ones ended.
pub(super) struct Circuit {
    state: State,
    period: u64,
    probes: u64,
}

enum State {
    Closed {
        streak: Streak,
        recent: Window,
    },
    Open {
        until: Instant,
        /// Whose probe failed, where one did.
        prober: Caller,
        /// Another caller was refused since.
        is_awaited: bool,
    },
    HalfOpen {
        /// When the latest probe was let through; `None` if it ended without a verdict.
        probing_since: Option<Instant>,
    },
}

impl Circuit {
    pub(super) fn new() -> Self {
        Circuit {
            state: State::closed(),
            period: 0,
            probes: 0,
        }
    }

    /// Whether a call would be let through; if not, how long it would have to wait.
    pub(super) fn check(&mut self, caller: &Caller, now: Instant) -> Result<(), Duration> {
        match &mut self.state {
            State::Closed { .. } => Ok(()),
            State::Open {
                until,
                prober,
                is_awaited,
            } => {
                let is_prober = prober.is_some() && prober == caller;
                if prober.is_some() && !is_prober {
                    *is_awaited = true;
                }
                // What failed the last probe can be that caller's alone: others come first.
                let until = match is_prober && *is_awaited {
                    true => *until + OPEN_FOR,
                    false => *until,
                };
                until.checked_duration_since(now).map_or(Ok(()), |left| {
                    if left.is_zero() { Ok(()) } else { Err(left) }
                })
            }
            State::HalfOpen {
                probing_since: Some(since),
            } if now < *since + PROBE_INTERVAL => Err(COME_BACK_AFTER),
            State::HalfOpen { .. } => Ok(()),
        }
    }

    /// The ticket of a call that is let through, or how long it has to wait.
    pub(super) fn admit(
        &mut self,
        caller: &Caller,
        now: Instant,
    ) -> Result<(Ticket, Change), Duration> {
        self.check(caller, now)?;
        let probing = State::HalfOpen {
            probing_since: Some(now),
        };
        let change = match &mut self.state {
            State::Closed { .. } => None,
            State::Open { .. } => {
                self.probes += 1;
                Some(self.turn(probing))
            }
            half_open @ State::HalfOpen { .. } => {
                self.probes += 1;
                *half_open = probing;
                None
            }
        };
        let (period, probe) = (self.period, self.probes);
        Ok((Ticket { period, probe }, change))
    }

    /// A call ended, with or without a verdict. Of a probe that another one has followed, only its success is news.
    pub(super) fn judge(
        &mut self,
        ticket: Ticket,
        caller: Caller,
        verdict: Option<Verdict>,
        now: Instant,
    ) -> Change {
        if ticket.period != self.period {
            return None;
        }
        let is_latest = ticket.probe == self.probes;
        let next = match (&mut self.state, verdict) {
            (State::HalfOpen { .. }, Some(Verdict::Succeeded)) => Some(State::closed()),
            (State::HalfOpen { .. }, Some(Verdict::Failed)) if is_latest => {
                Some(State::open(now, caller))
            }
            (State::HalfOpen { probing_since }, None) if is_latest => {
                *probing_since = None;
                None
            }
            (State::Closed { streak, recent }, Some(verdict)) => {
                let is_failure = verdict == Verdict::Failed;
                streak.record(caller.as_ref(), is_failure);
                recent.record(now, caller.as_ref(), is_failure);
                let is_bad = recent.calls() >= MIN_CALLS_TO_WEIGH && recent.is_half_failures();
                (is_bad || streak.is_long(recent)).then(|| State::open(now, None))
            }
            // Nothing is let through while it is open.
            (State::HalfOpen { .. }, _)
            | (State::Closed { .. }, None)
            | (State::Open { .. }, _) => None,
        };
        next.map(|state| self.turn(state))
    }

    fn turn(&mut self, state: State) -> Position {
        self.state = state;
        self.period += 1;
        match self.state {
            State::Closed { .. } => Position::Closed,
            State::HalfOpen { .. } => Position::HalfOpen,
            State::Open { .. } => Position::Open,
        }
    }
}

impl State {
    fn closed() -> Self {
        State::Closed {
            streak: Streak::default(),
            recent: Window::default(),
        }
    }

    fn open(now: Instant, prober: Caller) -> Self {
        State::Open {
            until: now + OPEN_FOR,
            prober,
            is_awaited: false,
        }
    }
}
