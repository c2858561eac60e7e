//! The calls of one HTTP/2 connection, and how many of them its client resets before they were admitted.
//!
//! A client that opens streams and resets them at once (rapid reset, CVE-2023-44487) makes the gateway work at no cost to
//! itself. h2 counts such streams too, and cuts the connection at its limit with every call on it. The limit here is
//! lower and gentler: the connection takes no new stream and finishes those that it has.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::lifecycle::Shutdown;

/// How many calls a client may reset before they were admitted, within [`WINDOW`].
const MAX_EARLY_RESETS: usize = 200;

/// The time in which resets are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// How far a call has come.
const ARRIVING: u8 = 0;
const ADMITTED: u8 = 1;
const ADMITTED_PAID: u8 = 2;

/// The calls of one connection. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// When calls were reset early, oldest first; at most [`MAX_EARLY_RESETS`].
    early_resets: Mutex<VecDeque<Instant>>,
    exceeded: Shutdown,
    paid_in_flight: AtomicUsize,
}

/// How far one call has come; every request of an HTTP/2 connection carries it in its extensions.
#[derive(Clone, Debug, Default)]
pub struct CallProgress {
    stage: Arc<AtomicU8>,
    calls: Calls,
}

/// A call that has no answer yet. Dropping it before it is admitted counts as an early reset.
#[derive(Debug)]
pub(super) struct Unanswered {
    progress: CallProgress,
    is_answered: bool,
}

impl Calls {
    /// A request arrives.
    pub(super) fn begin(&self) -> (CallProgress, Unanswered) {
        let progress = CallProgress {
            stage: Arc::default(),
            calls: self.clone(),
        };
        let unanswered = Unanswered {
            progress: progress.clone(),
            is_answered: false,
        };
        (progress, unanswered)
    }

    /// Whether the client has reset too many calls: the connection takes no new ones.
    pub(super) fn is_limit_exceeded(&self) -> bool {
        self.0.exceeded.is_started()
    }

    /// Waits until the client has reset too many calls.
    pub(super) fn limit_exceeded(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.exceeded.started()
    }

    /// How many admitted paid calls have no answer yet.
    pub(super) fn paid_in_flight(&self) -> usize {
        self.0.paid_in_flight.load(Ordering::Relaxed)
    }

    fn count_early_reset(&self) {
        let now = Instant::now();
        let mut resets = self
            .0
            .early_resets
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while resets.front().is_some_and(|first| now - *first >= WINDOW) {
            resets.pop_front();
        }
        resets.push_back(now);
        if resets.len() >= MAX_EARLY_RESETS {
            resets.pop_front();
            self.0.exceeded.start();
        }
    }
}

impl CallProgress {
    /// The call is admitted: a reset from now on is an ordinary cancellation. `is_paid` tells that it can cost money at
    /// Kora. Only the first admission of a call counts.
    pub fn admit(&self, is_paid: bool) {
        let stage = if is_paid { ADMITTED_PAID } else { ADMITTED };
        let admitted =
            self.stage
                .compare_exchange(ARRIVING, stage, Ordering::Relaxed, Ordering::Relaxed);
        if admitted.is_ok() && is_paid {
            self.calls.0.paid_in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Unanswered {
    /// The call is answered.
    pub(super) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let CallProgress { stage, calls } = &self.progress;
        match stage.load(Ordering::Relaxed) {
            ARRIVING if !self.is_answered => calls.count_early_reset(),
            ADMITTED_PAID => {
                calls.0.paid_in_flight.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn reset(calls: &Calls, count: usize) {
        for _ in 0..count {
            drop(calls.begin());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn early_resets_are_limited_within_a_sliding_window() {
        let calls = Calls::default();
        reset(&calls, MAX_EARLY_RESETS - 1);
        advance(WINDOW).await;
        reset(&calls, MAX_EARLY_RESETS - 1);
        assert!(!calls.is_limit_exceeded());
        advance(WINDOW - Duration::from_millis(1)).await;
        reset(&calls, 1);
        assert!(calls.is_limit_exceeded());
        calls.limit_exceeded().await;
    }

    #[tokio::test(start_paused = true)]
    async fn answered_and_admitted_calls_are_no_early_resets() {
        let calls = Calls::default();
        for number in 0..3 * MAX_EARLY_RESETS {
            let (progress, unanswered) = calls.begin();
            match number % 3 {
                0 => unanswered.answered(),
                kind => {
                    progress.admit(kind == 1);
                    drop(unanswered);
                }
            }
        }
        assert!(!calls.is_limit_exceeded());
        assert_eq!(calls.paid_in_flight(), 0);
    }

    #[test]
    fn paid_calls_are_in_flight_from_their_admission_to_their_end() {
        let calls = Calls::default();
        let (first, unanswered) = calls.begin();
        let (second, cancelled) = calls.begin();
        let (read, _unanswered) = calls.begin();
        assert_eq!(calls.paid_in_flight(), 0);
        first.admit(true);
        first.admit(true);
        second.admit(true);
        read.admit(false);
        assert_eq!(calls.paid_in_flight(), 2);
        unanswered.answered();
        drop(cancelled);
        assert_eq!(calls.paid_in_flight(), 0);
    }
}
