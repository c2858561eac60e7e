//! The client of Kora's REST API.
//!
//! It knows Kora's JSON and HTTP, and no gRPC. A request to Kora that creates something (a screening, a
//! subject) is paid for and regulated, so every failure says whether it may have happened, and "certainly
//! not" needs proof: see [`transmission`](self::transmission). An answer that cannot be read is an error,
//! never a guess.

mod admission;
mod attempt;
mod breaker;
mod client;
mod connection;
mod departure;
mod ended;
mod exchange;
mod http_client;
mod idempotency;
mod metrics;
mod order;
mod pacing;
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/properties/kora/properties.rs"]
pub(crate) mod properties;
mod refusal;
mod request_body;
mod retry_hint;
mod retrying;
mod screening_answer;
mod subject_answer;
mod transmission;
mod tries;
mod violations;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use url::Url;

use crate::{lifecycle::Shutdown, secret::Secret};

pub use client::Client;
pub use connection::{check_api_key, check_tenant_id};
pub use departure::{Departure, GivenUp};
pub use http_client::{HttpClient, SetupError};
pub use metrics::Metrics;
pub use pacing::Lane;

/// How Kora is reached, by all tenants.
#[derive(Clone)]
pub struct Config {
    /// How long one attempt may take once it was sent.
    pub timeout: Duration,
    /// When an idle connection is dropped. Must be below the far side's keep-alive, or a POST meets a
    /// connection that is being closed and ends as "may have happened".
    pub idle_timeout: Duration,
    /// How old a connection may be that is used for another exchange. Kora's name is resolved for each new one.
    pub connection_max_age: Duration,
    /// The way out of a closed network.
    pub proxy: Option<Url>,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How large an answer may be.
    pub max_response_bytes: usize,
    /// Whether Kora's 503 SERVICE_UNAVAILABLE to a POST means that it was not done.
    pub trust_503: bool,
}

/// One tenant's account with Kora.
#[derive(Clone)]
pub struct Account {
    /// Where the API is, such as `https://api.korastratum.com/api/v1`.
    pub base_url: Url,
    /// The bearer key.
    pub api_key: Secret,
    /// The tenant's id at Kora.
    pub tenant_id: String,
}

/// Whom something is created for.
#[derive(Clone, Debug)]
pub struct Requester {
    /// The caller's name; callers take turns in the rate limit.
    pub name: Arc<str>,
    /// The scope of its request ids, which makes idempotency keys and outlives the name.
    pub scope: Arc<str>,
}

/// The orders of a stop that concern reads. What creates something is taken back by its [`Departure`].
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// Whoever waits for a turn is refused from now on.
    pub stop: Shutdown,
    /// Whoever still waits is answered now.
    pub give_up: Shutdown,
}

/// The endpoints in use (Kora docs: api-reference/overview).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Endpoint {
    CreateScreening,
    GetScreening,
    CreateSubject,
    GetSubject,
}

impl Endpoint {
    /// Method and path, for logs and metrics.
    fn name(self) -> &'static str {
        match self {
            Endpoint::CreateScreening => "POST /screenings",
            Endpoint::GetScreening => "GET /screenings/{id}",
            Endpoint::CreateSubject => "POST /subjects",
            Endpoint::GetSubject => "GET /subjects/{id}",
        }
    }

    /// Whether it creates something.
    fn is_post(self) -> bool {
        matches!(self, Endpoint::CreateScreening | Endpoint::CreateSubject)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Account")
            .field("base_url", &self.base_url.as_str())
            .field("tenant_id", &self.tenant_id)
            .finish_non_exhaustive()
    }
}

/// Without the proxy, whose URL can hold a password.
impl fmt::Debug for Config {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Config")
            .field("timeout", &self.timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("connection_max_age", &self.connection_max_age)
            .field("max_response_bytes", &self.max_response_bytes)
            .field("trust_503", &self.trust_503)
            .finish_non_exhaustive()
    }
}
