//! The embedded backend: a directory.

use std::time::Duration;

use kora_gateway::store::Sqlite;

use super::{Hands, Place, SMALL, TIGHT};
use crate::event_log;

/// How long a brief log keeps events; only the log's own clock counts.
const BRIEF: Duration = Duration::from_secs(3600);

impl Place for event_log::Place {
    type Log = Sqlite;

    const KEEPS_NEWEST: bool = true;

    async fn new() -> Self {
        event_log::Place::new()
    }

    async fn small() -> Self {
        let mut place = event_log::Place::new();
        place.config.retention_bytes = SMALL;
        place
    }

    async fn brief() -> Self {
        let mut place = event_log::Place::new();
        place.config.retention_age = BRIEF;
        place
    }

    async fn tight() -> Self {
        let mut place = event_log::Place::new();
        place.config.request_bytes = TIGHT;
        place
    }

    async fn open(&self) -> Sqlite {
        event_log::Place::open(self)
    }

    async fn open_all(&self) -> Vec<Sqlite> {
        vec![event_log::Place::open(self)]
    }

    async fn close(log: &Sqlite) {
        log.close().await;
    }

    fn hands(&self) -> &Hands {
        &self.hands
    }

    fn outlast(&self) {
        self.pass(BRIEF + Duration::from_secs(1));
    }
}
