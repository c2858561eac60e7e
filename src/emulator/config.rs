//! What an emulator is told at its start.

use std::fmt;

use super::webhooks::{NOT_A_TARGET, Target};

/// The API key that the emulator expects unless told otherwise.
pub const API_KEY: &str = "emulator-api-key";

/// The tenant that the emulator serves unless told otherwise.
pub const TENANT_ID: &str = "5f0c9a52-7c1e-4c8b-9d57-3a1e6b2f4d80";

/// The secret of the preset webhook subscription unless told otherwise.
pub const WEBHOOK_SECRET: &str = "emulator-webhook-secret";

/// What the emulator expects of its callers, and whom it tells of what happens.
#[derive(Clone)]
pub struct Config {
    /// The key expected in `Authorization: Bearer <key>`. Anything else is answered 401.
    pub api_key: String,
    /// The tenant expected in `X-Tenant-ID`, compared without case. Anything else is answered 403.
    pub tenant_id: String,
    /// A webhook subscription that is there from the start, for all events.
    pub webhook: Option<Webhook>,
}

/// A webhook subscription.
#[derive(Clone)]
pub struct Webhook {
    /// Where webhooks are posted. An `http` URL on loopback: the emulator posts to no other machine.
    /// (Real Kora wants https.)
    pub url: String,
    /// The key of the signatures: its UTF-8 bytes.
    pub secret: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_key: API_KEY.to_owned(),
            tenant_id: TENANT_ID.to_owned(),
            webhook: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("api_key", &"[redacted]")
            .field("tenant_id", &self.tenant_id)
            .field("webhook", &self.webhook)
            .finish()
    }
}

impl Webhook {
    /// Checks the URL.
    ///
    /// # Errors
    /// What is wrong with it, without repeating it.
    pub fn check(&self) -> Result<(), &'static str> {
        match Target::read(&self.url) {
            Some(_) => Ok(()),
            None => Err(NOT_A_TARGET),
        }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.url)
            .field("secret", &"[redacted]")
            .finish()
    }
}
