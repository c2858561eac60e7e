//! Tells whether the runtime still runs its tasks.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often the runtime is expected to show that it runs.
const BEAT: Duration = Duration::from_secs(1);

/// How long it may fail to, before the process counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// The last sign of life of the runtime.
#[derive(Clone, Debug)]
pub struct Watchdog(Arc<Mutex<Instant>>);

impl Watchdog {
    /// Starts a task on the present runtime that shows signs of life for as long as the runtime lives.
    pub fn start() -> Self {
        let watchdog = Watchdog(Arc::new(Mutex::new(Instant::now())));
        let last = Arc::downgrade(&watchdog.0);
        tokio::spawn(async move {
            let mut beat = tokio::time::interval(BEAT);
            loop {
                beat.tick().await;
                let Some(last) = last.upgrade() else { return };
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            }
        });
        watchdog
    }

    /// Whether the runtime has shown a sign of life lately.
    pub fn is_alive(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.elapsed() < STUCK_AFTER
    }
}
