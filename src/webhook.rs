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
mod payload;
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/properties/webhook/properties.rs"]
pub(crate) mod properties;
mod signature;
mod upload;

use std::{fmt, sync::Arc, time::Duration};

use axum::Router;
use secrecy::{ExposeSecret, SecretString};

pub use metrics::Metrics;

use crate::{secret::Secret, store::EventLog};
use intake::Intake;

/// How long the head of a request may take. The port's listener keeps it.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(9);

/// How many secrets there can be at a time.
const MAX_SECRETS: usize = 16;

/// What is accepted.
#[derive(Clone)]
pub struct Config {
    /// The secrets that Kora may sign with. Any of them will do, so that a rotation has no gap; without one
    /// nothing is authentic. One a line.
    pub secrets: Secret,
    /// The tenant's id at Kora, as it may stand in the path.
    pub tenant: String,
    /// How large a body may be.
    pub max_bytes: usize,
}

/// Builds what the webhook port serves: `POST /webhooks/compliance`, also with the tenant behind it.
pub fn service(config: Config, log: Arc<dyn EventLog>, metrics: Metrics) -> Router {
    let intake = Arc::new(Intake::new(config, log, metrics));
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

impl fmt::Debug for Config {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Config")
            .field("secrets", &secrets_of(&self.secrets.now().text).len())
            .field("tenant", &self.tenant)
            .field("max_bytes", &self.max_bytes)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_configuration_shows_no_secret() {
        let config = Config {
            secrets: "whsec_do_not_show".into(),
            tenant: "tenant_1".to_owned(),
            max_bytes: 4096,
        };
        let printed = format!("{config:?}");
        assert!(printed.contains("tenant_1") && printed.contains("4096"));
        assert!(!printed.contains("whsec"), "{printed}");
    }
}
