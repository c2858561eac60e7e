//! Which server of a cluster the client talks to. One that was cut off from the others keeps its clients, and can serve
//! none of them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{ReconnectToServer, Server, ServerAddr};
use tokio::time::Instant;

/// After how long without a success another server is tried. A cluster that elects a leader takes 4 s or more, whichever
/// server is asked.
const SWITCH_AFTER: Duration = Duration::from_secs(4);

/// How long a server has to serve before it is left at the earliest.
const STAY: Duration = Duration::from_secs(1);

/// The choice of a server.
#[derive(Debug, Default)]
pub(super) struct Servers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The servers that were chosen, the last one at the end.
    chosen: Vec<ServerAddr>,
    /// Since when no write has succeeded.
    failing_since: Option<Instant>,
    /// When a server was left for another one.
    left_at: Option<Instant>,
}

impl Servers {
    /// Another server than last time: of those that have failed least of late, the one that was chosen longest ago. `None`
    /// to leave it to the client.
    pub(super) fn choose(&self, mut servers: Vec<Server>) -> Option<ReconnectToServer> {
        let mut state = self.state();
        fastrand::shuffle(&mut servers);
        let others = servers
            .into_iter()
            .filter(|server| Some(&server.addr) != state.chosen.last());
        let chosen_at = |server: &Server| {
            let mut chosen = state.chosen.iter();
            chosen.position(|addr| *addr == server.addr)
        };
        let addr = others
            .min_by_key(|server| (server.failed_attempts, chosen_at(server)))?
            .addr;
        state.chosen.retain(|chosen| *chosen != addr);
        state.chosen.push(addr.clone());
        Some(ReconnectToServer { addr, delay: None })
    }

    /// A write succeeded.
    pub(super) fn succeeded(&self) {
        self.state().failing_since = None;
    }

    /// A write that was begun then failed. Whether another server should be tried.
    pub(super) fn failed(&self, began: Instant) -> bool {
        let mut state = self.state();
        let since = *state.failing_since.get_or_insert(began);
        state.is_useless_since(since)
    }

    /// Whether this server has had time enough to answer, and has not since then.
    pub(super) fn is_silent_since(&self, heard: Instant) -> bool {
        self.state().is_useless_since(heard)
    }

    /// Whether the server may be left now. Not again before the next one had time to serve.
    pub(super) fn may_leave(&self) -> bool {
        let mut state = self.state();
        let may_leave = state.left_at.is_none_or(|left| left.elapsed() >= STAY);
        if may_leave {
            state.left_at = Some(Instant::now());
        }
        may_leave
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What failed at the server before says nothing about this one.
    fn is_useless_since(&self, since: Instant) -> bool {
        let since = self.left_at.map_or(since, |left| left.max(since));
        since.elapsed() >= SWITCH_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_is_left_once_it_has_had_time_to_serve() {
        let servers = Servers::default();
        let began = Instant::now();
        tokio::time::advance(SWITCH_AFTER / 2).await;
        assert!(!servers.failed(began));
        tokio::time::advance(SWITCH_AFTER / 2).await;
        assert!(servers.failed(Instant::now()));
        assert!(servers.is_silent_since(began));
        assert!(servers.may_leave());
        // The next one has as much time.
        assert!(!servers.failed(Instant::now()) && !servers.is_silent_since(began));
        assert!(!servers.may_leave());
        tokio::time::advance(STAY).await;
        assert!(servers.may_leave());
        tokio::time::advance(SWITCH_AFTER).await;
        servers.succeeded();
        assert!(!servers.failed(Instant::now()));
    }
}
