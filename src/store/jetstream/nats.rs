//! NATS for all tenants of a gateway: one connection, and a log on it for each.

use tokio::time;

use super::{
    Config, JetStream, LEAVE_TIMEOUT, OpenError,
    connection::{Connection, max_payload_for},
    open,
};
use crate::{clock::Clock, store::Metrics};

/// A connection that logs are opened on. Clones share it.
#[derive(Clone, Debug)]
pub struct Nats {
    connection: Connection,
    config: Config,
}

impl Nats {
    /// Connects.
    ///
    /// # Errors
    /// If NATS does not answer, or is too old.
    pub async fn connect(config: &Config) -> Result<Self, OpenError> {
        let connection = Connection::open(config).await?;
        tracing::warn!(
            "acknowledged events survive a power cut of the NATS servers only with `sync_interval: always` in their \
             jetstream settings, which nobody can read from here"
        );
        Ok(Nats {
            connection,
            config: config.clone(),
        })
    }

    /// Opens a tenant's log, and creates it where there is none.
    ///
    /// # Errors
    /// If NATS does not answer, or has streams with settings that would break a promise.
    pub async fn open(
        &self,
        tenant: &str,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<JetStream, OpenError> {
        let connection = self.connection.clone();
        open::open(connection, &self.config, tenant, clock, metrics).await
    }

    /// How large an event may be on this server, in bytes: what it says and its raw body together.
    pub fn max_event_bytes(&self) -> usize {
        self.connection.max_value_bytes()
    }

    /// Which `max_payload` the server needs for events of this size.
    pub fn max_payload_for(max_event_bytes: usize) -> usize {
        max_payload_for(max_event_bytes)
    }

    /// Takes leave, once all logs are closed.
    pub async fn close(&self) {
        // One that is away has nothing to be told.
        let _ = time::timeout(LEAVE_TIMEOUT, self.connection.close()).await;
    }
}
