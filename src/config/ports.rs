//! Where the ports are, and what they accept.

use std::net::SocketAddr;

use super::{callers::CALLERS, reader::Reader, values};
use crate::{
    listener::{self, Http1Patience, Patience, Protocol, Tls, TlsFile, TlsFiles},
    webhook,
};

/// What gRPC is told apart by on a port with TLS, and HTTP/1.1.
const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Connections of Kora's, and of what stands before the gateway.
const MAX_WEBHOOK_CONNECTIONS: usize = 1024;

pub(super) struct Ports {
    pub(super) grpc_addr: SocketAddr,
    pub(super) webhook_addr: SocketAddr,
    pub(super) admin_addr: SocketAddr,
    pub(super) grpc: listener::Config,
    pub(super) webhook: listener::Config,
}

/// The names of the settings of one port's TLS.
struct TlsSettings {
    cert: &'static str,
    key: &'static str,
    client_ca: Option<&'static str>,
}

const GRPC_TLS: TlsSettings = TlsSettings {
    cert: "tls-cert",
    key: "tls-key",
    client_ca: Some("tls-client-ca"),
};

const WEBHOOK_TLS: TlsSettings = TlsSettings {
    cert: "webhook-tls-cert",
    key: "webhook-tls-key",
    client_ca: None,
};

pub(super) fn ports(reader: &mut Reader<'_>, with_emulator: bool) -> Option<Ports> {
    let grpc_addr = reader.value("grpc-addr", values::socket_addr);
    let webhook_addr = reader.value("webhook-addr", values::socket_addr);
    let is_public_secret = with_emulator && !reader.is_secret_set("kora-webhook-secret");
    if is_public_secret && webhook_addr.is_some_and(|addr| !addr.ip().is_loopback()) {
        reader.problem(
            "webhook-addr",
            "is not a loopback address, and the emulator's webhook secret is known to everybody: set one",
        );
    }
    let admin_addr = reader.value("admin-addr", values::socket_addr);
    let is_anyone_let_in = reader.switch("allow-unauthenticated");
    let has_callers = reader.listed(CALLERS).is_some();
    let is_client_known = reader.is_set("tls-client-ca");
    if !is_anyone_let_in
        && !is_client_known
        && !has_callers
        && grpc_addr.is_some_and(|addr| !addr.ip().is_loopback())
    {
        reader.problem(
            "grpc-addr",
            "is not a loopback address, and callers are not authenticated: anyone who reaches it could \
             screen at your cost; bind a loopback address, list them ([[callers]] in the file), let in clients with \
             certificates alone (--tls-client-ca), or say --allow-unauthenticated",
        );
    }
    let max_connections = reader.value("max-connections", values::positive);
    let max_streams = reader.value("max-streams-per-connection", values::positive);
    let webhook_idle = reader.value("webhook-idle-timeout", values::duration);
    let grpc_tls = tls(reader, &GRPC_TLS, ALPN_HTTP2);
    let webhook_tls = tls(reader, &WEBHOOK_TLS, ALPN_HTTP1);
    Some(Ports {
        grpc_addr: grpc_addr?,
        webhook_addr: webhook_addr?,
        admin_addr: admin_addr?,
        grpc: listener::Config {
            protocol: Protocol::Http2,
            tls: grpc_tls?,
            max_connections: max_connections? as usize,
            max_streams_per_connection: max_streams?,
            patience: Patience::default(),
        },
        webhook: listener::Config {
            protocol: Protocol::Http1(Http1Patience {
                header: webhook::HEADER_TIMEOUT,
                idle: webhook_idle?,
            }),
            tls: webhook_tls?,
            max_connections: MAX_WEBHOOK_CONNECTIONS,
            max_streams_per_connection: 1,
            patience: Patience::default(),
        },
    })
}

/// A port's TLS, if it has any; `None` after a problem.
fn tls(
    reader: &mut Reader<'_>,
    settings: &TlsSettings,
    alpn: &'static [u8],
) -> Option<Option<Tls>> {
    let cert = reader.optional(settings.cert, values::path);
    let key = reader.optional(settings.key, values::path);
    let client_ca = settings
        .client_ca
        .and_then(|name| reader.optional(name, values::path));
    let files = match (cert, key) {
        (Some(cert), Some(key)) => TlsFiles {
            cert,
            key,
            client_ca,
            // Who shows none can have a token; without callers, a certificate is all that there is.
            is_certificate_required: reader.listed(CALLERS).is_none(),
        },
        (None, None) if client_ca.is_none() => return Some(None),
        (cert, _) => {
            let missing = if cert.is_none() {
                settings.cert
            } else {
                settings.key
            };
            reader.problem(
                missing,
                "is not set, and TLS needs a certificate and its key",
            );
            return None;
        }
    };
    match Tls::load(files, alpn) {
        Ok(tls) => Some(Some(tls)),
        Err(error) => {
            let name = match error.file {
                TlsFile::Cert => settings.cert,
                TlsFile::Key => settings.key,
                TlsFile::ClientCa => settings
                    .client_ca
                    .expect("a file that was read has a setting"),
            };
            reader.problem(name, format!("cannot be used: {error}"));
            None
        }
    }
}
