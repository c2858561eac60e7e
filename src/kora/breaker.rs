//! The circuit breaker: while Kora does not answer, calls are refused at once instead of waiting in vain.
//!
//! Failures of one caller alone, while calls of others succeed, are taken for that caller's: something on the way may
//! refuse what it sends.
//!
//! It is one of our own because failsafe and recloser let every call through while half-open,
//! tower-resilience-circuitbreaker opens by one rule at a time, and none of them runs on tokio's clock.

mod circuit;
mod streak;
mod window;

#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use self::circuit::{Caller, Change, Circuit, Ticket, Verdict};
use super::Metrics;
use crate::error::{CallError, Reason};

pub(super) use self::circuit::Position;

/// Decides whether calls go to Kora. Clones share the decision.
#[derive(Clone)]
pub(super) struct Breaker(Arc<Shared>);

/// A call that may go to Kora. Dropped without a verdict, it says nothing about Kora, and its place as a
/// probe goes to the next call.
pub(super) struct Admitted {
    breaker: Arc<Shared>,
    ticket: Ticket,
    caller: Caller,
    verdict: Option<Verdict>,
}

/// Calls are not let through now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// How long until one is worth trying.
    pub(super) retry_after: Duration,
}

struct Shared {
    circuit: Mutex<Circuit>,
    metrics: Metrics,
}

impl Breaker {
    /// A closed circuit.
    pub(super) fn new(metrics: Metrics) -> Self {
        metrics.circuit_is(Position::Closed);
        let circuit = Mutex::new(Circuit::new());
        Breaker(Arc::new(Shared { circuit, metrics }))
    }

    /// Refuses what [`Breaker::admit`] would refuse `caller` now. What is not refused has no place yet.
    pub(super) fn check(&self, caller: Option<&str>) -> Result<(), Open> {
        let caller = caller.map(Arc::from);
        let checked = self
            .0
            .with(|circuit, now| (circuit.check(&caller, now), None));
        checked.map_err(|retry_after| Open { retry_after })
    }

    /// Lets a call of `caller` through, or refuses it at once; `None` is the gateway itself. To be asked when the call is
    /// about to be sent: while one is let through as a probe, nobody else is, until it has gone 5 s without a verdict.
    pub(super) fn admit(&self, caller: Option<&str>) -> Result<Admitted, Open> {
        let caller = caller.map(Arc::from);
        let admitted = self
            .0
            .with(|circuit, now| match circuit.admit(&caller, now) {
                Ok((ticket, change)) => (Ok(ticket), change),
                Err(retry_after) => (Err(Open { retry_after }), None),
            });
        admitted.map(|ticket| Admitted {
            breaker: Arc::clone(&self.0),
            ticket,
            caller,
            verdict: None,
        })
    }
}

impl Admitted {
    /// Kora answered, whatever it said: a refusal and an error in its own envelope are answers too.
    pub(super) fn succeeded(mut self) {
        self.verdict = Some(Verdict::Succeeded);
    }

    /// Kora could not be connected to, its answer was lost or did not come in time, or it was a 5xx
    /// without Kora's envelope.
    pub(super) fn failed(mut self) {
        self.verdict = Some(Verdict::Failed);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let (ticket, caller, verdict) = (self.ticket, self.caller.take(), self.verdict);
        self.breaker
            .with(|circuit, now| ((), circuit.judge(ticket, caller, verdict, now)));
    }
}

impl Shared {
    /// Shows and tells the change of position that `act` leads to, if it does.
    fn with<T>(&self, act: impl FnOnce(&mut Circuit, Instant) -> (T, Change)) -> T {
        let (result, change) = {
            let mut circuit = self.circuit.lock().unwrap_or_else(PoisonError::into_inner);
            // In here, so that neither time nor the metric goes back.
            let (result, change) = act(&mut circuit, Instant::now());
            if let Some(position) = change {
                self.metrics.circuit_is(position);
            }
            (result, change)
        };
        let tenant = &*self.metrics.tenant;
        match change {
            Some(Position::Open) => {
                tracing::warn!(tenant, "Kora fails; it is not asked for a moment");
            }
            Some(Position::HalfOpen) => {
                tracing::info!(
                    tenant,
                    "one call at a time finds out whether Kora answers again"
                );
            }
            Some(Position::Closed) => tracing::info!(tenant, "Kora answers again"),
            None => {}
        }
        result
    }
}

impl From<Open> for CallError {
    fn from(open: Open) -> Self {
        CallError {
            retry_after: Some(open.retry_after),
            ..CallError::new(Reason::KoraCircuitOpen)
        }
    }
}
