//! Who is let in: key, tenant, rate limit, and a body that is JSON.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};

use super::envelope::{Refusal, unix_seconds};
use super::rate::Window;
use super::{Config, Twin};

/// Header that names the tenant (Kora docs: authentication).
pub(super) const X_TENANT_ID: &str = "x-tenant-id";

/// What a request's `Authorization` header is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Authorization {
    Valid,
    Wrong,
    Missing,
}

impl Authorization {
    pub(super) fn of(headers: &HeaderMap, config: &Config) -> Self {
        let Some(value) = headers.get(AUTHORIZATION) else {
            return Self::Missing;
        };
        match value.as_bytes().strip_prefix(b"Bearer ") {
            Some(key) if key == config.api_key.as_bytes() => Self::Valid,
            _ => Self::Wrong,
        }
    }
}

/// Proof that a request has the right key and tenant, and was counted against the rate limit.
///
/// Refused: 401 `UNAUTHORIZED`, 403 `FORBIDDEN`, 429 `RATE_LIMITED`, in this order (Kora docs:
/// error-codes). Kora limits by key, so a request with a wrong one is not counted.
pub(super) struct Admitted;

impl FromRequestParts<Arc<Twin>> for Admitted {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, twin: &Arc<Twin>) -> Result<Self, Refusal> {
        if Authorization::of(&parts.headers, &twin.config) != Authorization::Valid {
            return Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "Missing or invalid API key",
            ));
        }
        let tenant = parts.headers.get(X_TENANT_ID).map(|value| value.as_bytes());
        if !tenant.is_some_and(|id| id.eq_ignore_ascii_case(twin.config.tenant_id.as_bytes())) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "FORBIDDEN",
                "The API key has no access to this tenant",
            ));
        }
        let now = unix_seconds();
        if !twin.state().window.spend(now) {
            return Err(Refusal::rate_limited(Window::reset(now) - now));
        }
        Ok(Self)
    }
}

/// A request body that is a JSON object.
///
/// Refused: 415 when the content type is not `application/json`, 400 `BAD_REQUEST` when the body is
/// anything else.
pub(super) struct JsonObject(pub(super) Map<String, Value>);

impl FromRequest<Arc<Twin>> for JsonObject {
    type Rejection = Refusal;

    async fn from_request(request: Request, twin: &Arc<Twin>) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "BAD_REQUEST",
                "The content type must be application/json",
            ));
        }
        let body = Bytes::from_request(request, twin)
            .await
            .map_err(|_| Refusal::bad_request("The body could not be read"))?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|_| Refusal::bad_request("The body is not a JSON object"))
    }
}

/// Whether the content type is `application/json`, with or without parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
