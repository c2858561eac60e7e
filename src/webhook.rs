//! Kora's webhooks: only what Kora signed is taken, and Kora is told `200` when it is in the log.
//!
//! What cannot be read is kept all the same, as an event of type [`UNREADABLE`](crate::event::UNREADABLE):
//! a signed event that is refused might not be offered again.

mod answer;
mod body;
mod envelope;
mod head;
mod intake;
mod metrics;
mod owners;
mod parse_cost;
mod payload;
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/properties/webhook/properties.rs"]
pub(crate) mod properties;
mod signature;
mod tenant;
mod upload;
mod uploads;

use std::{sync::Arc, time::Duration};

use axum::Router;
use secrecy::{ExposeSecret, SecretString};

pub use metrics::Metrics;
pub use owners::SecretOwners;

use crate::{memory::Budget, secret::Secret, store::EventLog};
use intake::Intake;
use tenant::Tenants;

/// How long the head of a request may take. The port's listener keeps it.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(9);

/// How many secrets there can be at a time.
const MAX_SECRETS: usize = 16;

/// A shorter secret can be guessed.
const SHORT_SECRET_BYTES: usize = 16;

/// What is accepted.
#[derive(Clone, Debug)]
pub struct Config {
    /// How large a body may be.
    pub max_bytes: usize,
}

/// One of those whose webhooks come.
pub struct Tenant {
    /// Its name, as it stands in the path.
    pub name: String,
    /// The secrets that Kora may sign with. Any of them will do, so that a rotation has no gap; without one
    /// nothing is authentic. One a line.
    pub secrets: Secret,
    /// Where its events are kept.
    pub log: Arc<dyn EventLog>,
}

/// Builds what the webhook port serves: `POST /webhooks/compliance/NAME` for each tenant, and where there is one alone
/// also `POST /webhooks/compliance`. All of them share the memory for bodies, of which none has more than half.
pub fn service(config: &Config, tenants: Vec<Tenant>, metrics: Metrics, budget: &Budget) -> Router {
    let intake = Arc::new(Intake::new(
        Tenants::new(tenants, config.max_bytes, &budget.webhook_bodies),
        budget.webhook_parsing.clone(),
        metrics,
    ));
    Router::new().fallback(intake::receive).with_state(intake)
}

/// The secrets that are one a line.
pub fn secrets_of(text: &SecretString) -> Vec<SecretString> {
    let lines = text.expose_secret().lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(SecretString::from).collect()
}

/// # Errors
/// If these are no secrets, or too many.
pub fn check_secrets(text: &SecretString) -> Result<(), &'static str> {
    match secrets_of(text).len() {
        0 => Err("is empty"),
        1..=MAX_SECRETS => Ok(()),
        _ => Err("has more than 16 lines"),
    }
}

/// Whether one of these secrets is so short that it can be guessed.
pub fn has_short_secret(text: &SecretString) -> bool {
    let secrets = secrets_of(text);
    let mut lengths = secrets.iter().map(|secret| secret.expose_secret().len());
    lengths.any(|length| length < SHORT_SECRET_BYTES)
}
