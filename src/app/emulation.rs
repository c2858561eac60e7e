//! An emulator in the gateway's process, each pointed at the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use secrecy::ExposeSecret;
use tokio::task::JoinHandle;
use url::Url;

use crate::{
    config::Config,
    emulator::{self, Webhook},
    lifecycle::Shutdown,
    listener::Listener,
    webhook,
};

/// Starts the emulator, if one is configured, and points the gateway at it and its webhooks at the gateway.
pub(super) fn start(
    config: &mut Config,
    listener: Option<Listener>,
    webhook_addr: SocketAddr,
    stop: Shutdown,
) -> Option<JoinHandle<()>> {
    let (mut emulator, listener) = (config.emulator.take()?, listener?);
    // An emulator is configured for one tenant alone.
    let tenant = &mut config.tenants[0];
    tenant.kora.base_url = Url::parse(&format!("http://{}/api/v1", listener.addr()))
        .expect("a socket address makes a URL's authority");
    let secrets = webhook::secrets_of(&tenant.webhook_secrets.now().text);
    let webhook = secrets.first().map(|secret| Webhook {
        url: format!(
            "http://{}/webhooks/compliance",
            reached_on_loopback(webhook_addr)
        ),
        secret: secret.expose_secret().to_owned(),
    });
    emulator.config.webhook = webhook.filter(|webhook| {
        let is_reachable = webhook.check().is_ok();
        if !is_reachable {
            tracing::warn!("webhook-addr is not on loopback: the emulator sends no webhooks");
        }
        is_reachable
    });
    Some(tokio::spawn(async move {
        let served = emulator::serve(listener.into_socket(), emulator.config, stop.started());
        if let Err(error) = served.await {
            tracing::error!(%error, "the emulator ended");
        }
    }))
}

/// The address as the same machine reaches it.
fn reached_on_loopback(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}
