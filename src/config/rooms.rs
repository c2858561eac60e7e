//! What single rooms need to know.

use std::net::SocketAddr;

use secrecy::ExposeSecret;
use url::Url;

use super::{
    reader::Reader,
    values::{self, EventLogPlace},
};
use crate::{
    emulator, kora,
    memory::{MESSAGES_IN_BUDGET, MIN_BUDGET_BYTES},
    secret::Secret,
    store, webhook,
};

/// Stands for the emulator's address until it is bound.
const EMULATOR_URL: &str = "http://127.0.0.1/api/v1";

/// Where Kora's API is, unless a tenant says otherwise.
pub(super) fn base_url(reader: &mut Reader<'_>, with_emulator: bool) -> Option<Url> {
    if !with_emulator {
        return reader.value("kora-base-url", values::base_url);
    }
    if reader.is_set("kora-base-url") {
        reader.problem("kora-base-url", "cannot be given together with --emulator");
    }
    reader.value_or("kora-base-url", "(the emulator's)", |_| {
        values::base_url(EMULATOR_URL)
    })
}

pub(super) fn kora_config(reader: &mut Reader<'_>) -> Option<kora::Config> {
    let timeout = reader.value("kora-timeout", values::duration);
    let idle_timeout = reader.value("kora-idle-timeout", values::duration);
    let connection_max_age = reader.value("kora-connection-max-age", values::connection_age);
    let proxy = reader.optional("kora-proxy", values::proxy_url);
    let ca_file = reader.optional("kora-ca-file", values::path);
    let trust_503 = reader.switch("trust-kora-503");
    let max_response_bytes = reader.value("kora-max-response-bytes", values::bytes);
    Some(kora::Config {
        timeout: timeout?,
        idle_timeout: idle_timeout?,
        connection_max_age: connection_max_age?,
        proxy,
        ca_file,
        max_response_bytes: max_response_bytes?,
        trust_503,
    })
}

pub(super) fn webhook_secrets(reader: &mut Reader<'_>, with_emulator: bool) -> Option<Secret> {
    let (name, check) = ("kora-webhook-secret", webhook::check_secrets);
    match with_emulator {
        true => reader.secret_or(name, emulator::WEBHOOK_SECRET, check),
        false => reader.secret(name, check),
    }
}

/// One message of the largest size always has to have room.
pub(super) fn memory_budget(
    reader: &mut Reader<'_>,
    largest_messages: [Option<usize>; 2],
) -> Option<usize> {
    let budget = reader.value("memory-budget", values::bytes)?;
    let largest = largest_messages.into_iter().flatten().max().unwrap_or(0);
    if budget < MIN_BUDGET_BYTES {
        reader.problem("memory-budget", "is less than 32MiB");
    } else if budget < MESSAGES_IN_BUDGET.saturating_mul(largest) {
        let problem = "is less than 8 times webhook-max-bytes or max-request-bytes";
        reader.problem("memory-budget", problem);
    }
    Some(budget)
}

/// Where the emulator alone sends webhooks.
pub(super) fn preset_webhook(reader: &mut Reader<'_>, url: String) -> Option<emulator::Webhook> {
    let secrets = webhook_secrets(reader, true)?.now();
    let secret = webhook::secrets_of(&secrets.text).into_iter().next()?;
    let webhook = emulator::Webhook {
        url,
        secret: secret.expose_secret().to_owned(),
    };
    if let Err(what) = webhook.check() {
        reader.problem("webhook-url", what);
    }
    Some(webhook)
}

pub(super) fn store_place(reader: &mut Reader<'_>) -> Option<store::Place> {
    let event_log = reader.value("event-log", values::event_log);
    let retention_age = reader.value("retention-age", values::period);
    let retention_bytes = reader.value("retention-size", values::disk_bytes);
    let dedup_window = reader.value("dedup-window", values::period);
    if dedup_window > retention_age && retention_age.is_some() {
        let problem = "is longer than retention-age: what is not kept is not known again";
        reader.problem("dedup-window", problem);
    }
    let request_retention = reader.value("request-retention", values::request_retention);
    let request_bytes = reader.value("request-size", values::request_bytes);
    let credentials_file = reader.optional("nats-credentials-file", values::existing_file);
    let ca_file = reader.optional("nats-ca-file", values::path);
    let stream_prefix = reader.value("nats-stream-prefix", values::stream_prefix);
    let replicas = reader.value("nats-replicas", values::stream_replicas);
    Some(match event_log? {
        EventLogPlace::Directory(directory) => store::Place::Directory(store::Config {
            directory,
            retention_age: retention_age?,
            retention_bytes: retention_bytes?,
            dedup_window: dedup_window?,
            request_retention: request_retention?,
            request_bytes: request_bytes?,
        }),
        EventLogPlace::Nats(servers) => store::Place::Nats(store::jetstream::Config {
            servers,
            credentials_file,
            ca_file,
            stream_prefix: stream_prefix?,
            replicas: replicas?,
            retention_age: retention_age?,
            retention_bytes: retention_bytes?,
            dedup_window: dedup_window?,
            request_retention: request_retention?,
            request_bytes: request_bytes?,
        }),
    })
}

/// Its control door is open to whoever reaches it.
pub(super) fn emulator_addr(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let addr = reader.value("emulator-addr", values::socket_addr)?;
    if !addr.ip().is_loopback() {
        reader.problem("emulator-addr", "is not a loopback address");
    }
    Some(addr)
}
