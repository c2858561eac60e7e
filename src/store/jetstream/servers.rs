//! Which server of a cluster the client talks to. One that was cut off from the others keeps its clients, and can serve
//! none of them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{ReconnectToServer, Server, ServerAddr};
use tokio::time::Instant;

/// After how long without a success another server is tried. A cluster that elects a leader takes some seconds, whichever
/// server is asked.
pub(super) const SWITCH_AFTER: Duration = Duration::from_secs(3);

/// The choice of a server.
#[derive(Debug, Default)]
pub(super) struct Servers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The server that was chosen last.
    chosen: Option<ServerAddr>,
    /// Since when no write has succeeded.
    failing_since: Option<Instant>,
    /// When another one was tried because of that.
    left_at: Option<Instant>,
}

impl Servers {
    /// Another server than last time, and one that has failed least of late; `None` to leave it to the client.
    pub(super) fn choose(&self, mut servers: Vec<Server>) -> Option<ReconnectToServer> {
        let mut state = self.state();
        fastrand::shuffle(&mut servers);
        let others = servers
            .into_iter()
            .filter(|server| Some(&server.addr) != state.chosen.as_ref());
        let addr = others.min_by_key(|server| server.failed_attempts)?.addr;
        state.chosen = Some(addr.clone());
        Some(ReconnectToServer { addr, delay: None })
    }

    /// A write succeeded.
    pub(super) fn succeeded(&self) {
        self.state().failing_since = None;
    }

    /// A write that was begun then failed. Whether another server should be tried.
    pub(super) fn failed(&self, began: Instant) -> bool {
        let mut state = self.state();
        let is_time = state.failing_since.get_or_insert(began).elapsed() >= SWITCH_AFTER;
        if is_time {
            state.failing_since = Some(Instant::now());
        }
        is_time
    }

    /// Whether the server may be left now. Not again before the next one had time to serve.
    pub(super) fn may_leave(&self) -> bool {
        let mut state = self.state();
        let may_leave = state
            .left_at
            .is_none_or(|left| left.elapsed() >= SWITCH_AFTER);
        if may_leave {
            state.left_at = Some(Instant::now());
        }
        may_leave
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
