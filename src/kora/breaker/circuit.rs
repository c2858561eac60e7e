//! The states of the circuit, and what leads from one to the next.

use std::time::Duration;

use tokio::time::Instant;

use super::window::Window;

/// How many failures in a row open the circuit.
pub(super) const MAX_FAILURES_IN_A_ROW: u32 = 10;

/// How many of the window's calls there must be before their failures are weighed.
const MIN_CALLS_TO_WEIGH: u32 = 20;

/// How long an open circuit lets nothing through.
pub(super) const OPEN_FOR: Duration = Duration::from_secs(5);

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

/// Lets calls through by how the earlier ones ended.
pub(super) struct Circuit {
    state: State,
    /// Counts the changes of state. A call that was let through before the last one is no news: else
    /// those that were on their way when the circuit opened would open it again after Kora came back.
    period: u64,
}

enum State {
    Closed {
        failures_in_a_row: u32,
        recent: Window,
    },
    Open {
        until: Instant,
    },
    HalfOpen {
        is_probing: bool,
    },
}

impl Circuit {
    pub(super) fn new() -> Self {
        Circuit {
            state: State::closed(),
            period: 0,
        }
    }

    /// Whether a call would be let through; if not, how long it would have to wait.
    pub(super) fn check(&self, now: Instant) -> Result<(), Duration> {
        match &self.state {
            State::Open { until } if now < *until => Err(*until - now),
            State::HalfOpen { is_probing: true } => Err(COME_BACK_AFTER),
            State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } => Ok(()),
        }
    }

    /// The period in which a call is let through, or how long it has to wait.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(u64, Change), Duration> {
        self.check(now)?;
        let change = match &mut self.state {
            State::Closed { .. } => None,
            State::Open { .. } => Some(self.turn(State::HalfOpen { is_probing: true })),
            State::HalfOpen { is_probing } => {
                *is_probing = true;
                None
            }
        };
        Ok((self.period, change))
    }

    /// A call of this period ended, with or without a verdict.
    pub(super) fn judge(&mut self, period: u64, verdict: Option<Verdict>, now: Instant) -> Change {
        if period != self.period {
            return None;
        }
        let next = match (&mut self.state, verdict) {
            (State::HalfOpen { is_probing }, None) => {
                *is_probing = false;
                None
            }
            (State::HalfOpen { .. }, Some(Verdict::Succeeded)) => Some(State::closed()),
            (State::HalfOpen { .. }, Some(Verdict::Failed)) => Some(State::open(now)),
            (
                State::Closed {
                    failures_in_a_row,
                    recent,
                },
                Some(verdict),
            ) => {
                let is_failure = verdict == Verdict::Failed;
                *failures_in_a_row = if is_failure {
                    *failures_in_a_row + 1
                } else {
                    0
                };
                recent.record(now, is_failure);
                let is_down = *failures_in_a_row >= MAX_FAILURES_IN_A_ROW;
                let is_bad = recent.calls() >= MIN_CALLS_TO_WEIGH && recent.is_half_failures();
                (is_down || is_bad).then(|| State::open(now))
            }
            // Nothing is let through while it is open.
            (State::Closed { .. }, None) | (State::Open { .. }, _) => None,
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
            failures_in_a_row: 0,
            recent: Window::default(),
        }
    }

    fn open(now: Instant) -> Self {
        State::Open {
            until: now + OPEN_FOR,
        }
    }
}
