//! What was read of the settings, and what should be said of it.

use std::time::Duration;

use super::{Config, Effective, GivenSecret, Tenant, tenants::TENANTS};
use crate::webhook;

/// How much longer than an attempt at Kora a stop should be allowed to take.
const DRAIN_MARGIN: Duration = Duration::from_secs(10);

/// How many of the largest events a log should have room for.
const EVENTS_KEPT_AT_LEAST: u64 = 16;

/// What was read: the configuration, and where each part of it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every setting with its value, secrets redacted, and its origin.
    pub effective: Vec<Effective>,
    /// Every secret with its origin.
    pub secrets: Vec<GivenSecret>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

/// What only a restart changes, to be compared with what is configured later. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    settings: Vec<(&'static str, Option<String>)>,
    /// Where each secret is; what it is can change at any time.
    secrets: Vec<(String, String)>,
    /// Name, id at Kora and base URL.
    tenants: Vec<[String; 3]>,
}

impl Fixed {
    /// The names of what is different `now`.
    pub fn changes<'a>(&self, now: &'a Fixed) -> Vec<&'a str> {
        let settings = now.settings.iter();
        let settings = settings.filter(|setting| !self.settings.contains(setting));
        let mut changes: Vec<_> = settings.map(|(name, _)| *name).collect();
        let secrets = now.secrets.iter();
        let secrets = secrets.filter(|secret| !self.secrets.contains(secret));
        changes.extend(secrets.map(|(name, _)| name.as_str()));
        if now.tenants != self.tenants {
            changes.push(TENANTS);
        }
        changes.dedup();
        changes
    }
}

impl Loaded {
    /// What only a restart changes.
    pub fn fixed(&self) -> Fixed {
        let settings = self.effective.iter();
        let secrets = self.secrets.iter();
        let tenants = self.config.tenants.iter();
        Fixed {
            settings: settings.map(|one| (one.name, one.value.clone())).collect(),
            secrets: secrets
                .map(|one| (one.name.clone(), one.from.clone()))
                .collect(),
            tenants: tenants
                .map(|one| {
                    [
                        one.name.clone(),
                        one.kora.tenant_id.clone(),
                        one.kora.base_url.to_string(),
                    ]
                })
                .collect(),
        }
    }

    /// Who may do everything; `None` where callers are listed.
    pub fn everyone(&self) -> Option<&'static str> {
        if !self.config.callers.are_everyone() {
            return None;
        }
        let mut settings = self.effective.iter();
        let has_client_ca =
            settings.any(|setting| setting.name == "tls-client-ca" && setting.value.is_some());
        Some(match has_client_ca {
            true => "whoever shows a certificate of --tls-client-ca, with every right",
            false => "whoever reaches the port, with every right",
        })
    }
}

pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.drain_timeout < config.kora.timeout + DRAIN_MARGIN {
        warnings.push(
            "drain-timeout is less than kora-timeout plus 10s: a stop can cut calls that Kora would \
             still have answered"
                .to_owned(),
        );
    }
    let is_in_the_clear =
        config.grpc_listener.tls.is_none() && !config.grpc_addr.ip().is_loopback();
    if is_in_the_clear && !config.callers.are_everyone() {
        warnings.push(
            "callers' tokens travel in the clear, unless something in front of the gateway encrypts: set \
             tls-cert and tls-key"
                .to_owned(),
        );
    }
    let largest = config.webhook.max_bytes.max(config.kora.max_response_bytes) as u64;
    if config.store.retention_bytes() < EVENTS_KEPT_AT_LEAST * largest {
        warnings.push(format!(
            "retention-size has no room for {EVENTS_KEPT_AT_LEAST} events as large as webhook-max-bytes and \
             kora-max-response-bytes allow: one large event can push out all others"
        ));
    }
    warnings.extend(short_webhook_secrets(config));
    warnings
}

/// One warning for all tenants, of whom there can be very many.
fn short_webhook_secrets(config: &Config) -> Option<String> {
    let is_short = |tenant: &&Tenant| webhook::has_short_secret(&tenant.webhook_secrets.now().text);
    let mut tenants = config.tenants.iter();
    let first = tenants.find(is_short)?;
    let count = 1 + tenants.filter(is_short).count();
    Some(format!(
        "a webhook secret of {} is shorter than 16 bytes, and who guesses it signs as Kora (tenants with one: {count})",
        first.name
    ))
}
