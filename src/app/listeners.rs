//! The ports, and what each accepts.

use std::{io, time::Duration};

use crate::{
    config::Config,
    listener::{self, Http1Patience, Listener, Patience, Protocol},
};

/// How long the head of a request to the admin port may take, and how long a connection may idle.
const ADMIN_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// What the admin port accepts: an orchestrator and a scraper, not the public.
pub(super) fn admin_config() -> listener::Config {
    listener::Config {
        protocol: Protocol::Http1OrHttp2(Http1Patience {
            header: ADMIN_HEADER_TIMEOUT,
            idle: ADMIN_HEADER_TIMEOUT,
        }),
        tls: None,
        max_connections: 256,
        max_streams_per_connection: 64,
        patience: Patience::default(),
    }
}

/// The bound sockets.
#[derive(Debug)]
pub struct Listeners {
    /// For callers.
    pub grpc: Listener,
    /// For Kora's webhooks.
    pub webhook: Listener,
    /// For the orchestrator.
    pub admin: Listener,
    /// For the emulator, where one runs.
    pub emulator: Option<Listener>,
}

impl Listeners {
    /// Binds every address of the configuration; port 0 takes a free one.
    ///
    /// # Errors
    /// If one of them cannot be bound.
    pub async fn bind(config: &Config) -> io::Result<Self> {
        Ok(Listeners {
            grpc: Listener::bind("grpc", config.grpc_addr).await?,
            webhook: Listener::bind("webhook", config.webhook_addr).await?,
            admin: Listener::bind("admin", config.admin_addr).await?,
            emulator: match &config.emulator {
                Some(emulator) => Some(Listener::bind("emulator", emulator.addr).await?),
                None => None,
            },
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Listener> {
        [&self.grpc, &self.webhook, &self.admin]
            .into_iter()
            .chain(&self.emulator)
    }
}
