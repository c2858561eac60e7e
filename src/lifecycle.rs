//! Birth and death of a gateway: readiness, the order to stop, and the signals that give it.

mod signals;
mod watchdog;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use signals::{STOPPED_AT_ONCE, serve_signals, stop_on_signals};
pub use watchdog::Watchdog;

/// How far a gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not everything that it needs is there: not yet, or not now.
    Starting,
    /// Serving.
    Ready,
    /// Told to stop.
    Draining,
}

/// The one gateway's phase, for everyone to see.
#[derive(Clone, Debug)]
pub struct Readiness {
    phase: Arc<watch::Sender<Phase>>,
    /// What a gateway that starts is waiting for, where it is known.
    waits_for: Arc<Mutex<Option<String>>>,
}

/// The order to stop, given once.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

/// The order to read again at once what can change while the gateway runs. It can be given any number of times.
#[derive(Clone, Debug)]
pub struct Reload(watch::Sender<u64>);

/// The orders to reload that one follower has yet to see. Orders that come in quick succession are seen as one.
#[derive(Debug)]
pub struct ReloadRequests(watch::Receiver<u64>);

impl Default for Reload {
    fn default() -> Self {
        Reload(watch::Sender::new(0))
    }
}

impl Reload {
    /// Gives the order.
    pub fn request(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// The orders from now on.
    pub fn requests(&self) -> ReloadRequests {
        ReloadRequests(self.0.subscribe())
    }
}

impl ReloadRequests {
    /// Waits for the next order; `false` once none can come any more.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Readiness {
            phase: Arc::new(watch::Sender::new(Phase::Starting)),
            waits_for: Arc::default(),
        }
    }
}

impl Readiness {
    /// Everything that the gateway needs is there. Has no effect on one that was told to stop.
    pub fn ready(&self) {
        self.phase.send_if_modified(|phase| {
            let starts = *phase == Phase::Starting;
            if starts {
                *phase = Phase::Ready;
            }
            starts
        });
    }

    /// Something that the gateway needs is gone for now. Has no effect on one that was told to stop.
    pub fn not_ready(&self) {
        self.phase.send_if_modified(|phase| {
            let was_ready = *phase == Phase::Ready;
            if was_ready {
                *phase = Phase::Starting;
            }
            was_ready
        });
    }

    /// The gateway was told to stop; it never gets ready again.
    pub fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// Sets what the gateway waits for before it can be ready, in words for the operator; `None` where it goes on.
    pub fn set_waits_for(&self, what: Option<String>) {
        *self
            .waits_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// What the gateway waits for before it can be ready, where it is known.
    pub fn waits_for(&self) -> Option<String> {
        let waits_for = self.waits_for.lock();
        waits_for.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an orchestrator should send calls here.
    pub fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Ready
    }

    /// The phase and its changes.
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }
}

impl Shutdown {
    /// Gives the order. Giving it again changes nothing.
    pub fn start(&self) {
        self.0.cancel();
    }

    /// Whether the order was given.
    pub fn is_started(&self) -> bool {
        self.0.is_cancelled()
    }

    /// An order that is given with this one, and can be given before it.
    #[must_use]
    pub fn child(&self) -> Shutdown {
        Shutdown(self.0.child_token())
    }

    /// Waits for the order.
    pub fn started(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.clone().cancelled_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draining_gateway_never_gets_ready_again() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready());
        readiness.ready();
        assert!(readiness.is_ready());
        readiness.not_ready();
        assert!(!readiness.is_ready());
        readiness.ready();
        assert!(readiness.is_ready());
        readiness.drain();
        readiness.ready();
        readiness.not_ready();
        assert_eq!(*readiness.subscribe().borrow(), Phase::Draining);
    }
}
