//! When an attempt may be followed by another.
//!
//! A POST is repeated only if it certainly did not happen: it was not sent, or Kora refused it with the
//! word that it may come again. A GET is also repeated when Kora failed. What this gateway itself decided
//! (it drains, it paces, the circuit is open, the deadline is near) would be decided the same way at once.

use std::time::Duration;

use tokio::time::Instant;
use tower::retry::budget::{Budget, TpsBudget};

use super::{Endpoint, Metrics, pacing::MIN_TIME_TO_SEND};
use crate::error::{CallError, Reason};

/// How many attempts one call has.
const MAX_ATTEMPTS: usize = 3;

/// The longest pauses before the second and the third attempt, where Kora names none. Each pause is drawn
/// from nothing up to these, so that calls that failed together do not come back together.
const LONGEST_PAUSES: [Duration; MAX_ATTEMPTS - 1] =
    [Duration::from_millis(250), Duration::from_secs(1)];

/// How long a call that succeeded pays for retries.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// How many retries a second need no successes to pay for them.
const FREE_RETRIES_PER_SECOND: u32 = 10;

/// How many retries the success of one call pays for.
const RETRIES_PER_SUCCESS: f32 = 0.2;

/// Decides about retries, for all calls together: when most calls fail, repeating them all would only add
/// to the load.
pub(super) struct Retries {
    budget: TpsBudget,
    metrics: Metrics,
}

impl Retries {
    pub(super) fn new(metrics: Metrics) -> Self {
        Retries {
            budget: TpsBudget::new(BUDGET_WINDOW, FREE_RETRIES_PER_SECOND, RETRIES_PER_SUCCESS),
            metrics,
        }
    }

    /// A call succeeded, which pays for retries of others.
    pub(super) fn succeeded(&self) {
        self.budget.deposit();
    }

    /// How long to pause before the next attempt of a call whose attempt of this number (from 1) failed
    /// with `error`; `None` if there is to be none. To be asked once for each failed attempt: the answer
    /// is paid for and counted.
    pub(super) fn next(
        &self,
        endpoint: Endpoint,
        error: &CallError,
        attempt: usize,
        now: Instant,
        wait_until: Instant,
    ) -> Option<Duration> {
        let longest = *LONGEST_PAUSES.get(attempt.checked_sub(1)?)?;
        if !may_be_repeated(endpoint, error.reason) {
            return None;
        }
        let pause = error.retry_after.unwrap_or_else(|| jittered(longest));
        if pause + MIN_TIME_TO_SEND > wait_until.saturating_duration_since(now) {
            return None;
        }
        if !self.budget.withdraw() {
            self.metrics.retry_refused();
            return None;
        }
        self.metrics.retried(error.reason);
        Some(pause)
    }
}

fn may_be_repeated(endpoint: Endpoint, reason: Reason) -> bool {
    match reason {
        Reason::KoraUnreachable | Reason::KoraRateLimited | Reason::KoraUnavailable => true,
        // Kora failed, or did not answer in time.
        Reason::KoraInternal | Reason::KoraScreeningTimeout | Reason::DeadlineExceeded => {
            !endpoint.is_post()
        }
        _ => false,
    }
}

/// Full jitter: anything from nothing to `longest`.
fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests;
