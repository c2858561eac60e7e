//! How Kora says no, and what every answer of Kora's carries.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use super::Twin;
use super::rate::{REQUESTS_PER_MINUTE, Window};

/// Header with the answer's id (Kora docs: authentication).
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RATE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const RATE_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RATE_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The security headers of every answer (Kora docs: authentication). Kora's value for the last one
/// is not known.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 3] = [
    (
        HeaderName::from_static("strict-transport-security"),
        HeaderValue::from_static("max-age=31536000"),
    ),
    (
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    ),
    (
        HeaderName::from_static("x-frame-options"),
        HeaderValue::from_static("DENY"),
    ),
];

/// One bad field of a request (Kora docs: error-codes).
#[derive(Clone, Serialize)]
pub(super) struct Detail {
    /// Path of the field in the request's JSON, with dots.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) message: String,
}

impl Detail {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// An error answer in Kora's envelope. The request id is put in by [`seal`].
#[derive(Clone)]
pub(super) struct Refusal {
    status: StatusCode,
    code: String,
    message: String,
    details: Vec<Detail>,
    retry_after: Option<u64>,
}

/// The envelope as it is written: top-level fields, no wrapper (Kora docs: error-codes).
#[derive(Serialize)]
struct Envelope<'a> {
    code: &'a str,
    message: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[Detail]>::is_empty")]
    details: &'a [Detail],
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            details: Vec::new(),
            retry_after: None,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    pub(super) fn rate_limited(retry_after: u64) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "RATE_LIMITED",
            "Rate limit exceeded",
        )
        .retry_after(Some(retry_after))
    }

    pub(super) fn details(mut self, details: Vec<Detail>) -> Self {
        self.details = details;
        self
    }

    /// `seconds` becomes the header `Retry-After`.
    pub(super) fn retry_after(mut self, seconds: Option<u64>) -> Self {
        self.retry_after = seconds;
        self
    }

    fn body(&self, request_id: &str) -> Vec<u8> {
        let envelope = Envelope {
            code: &self.code,
            message: &self.message,
            request_id,
            details: &self.details,
        };
        serde_json::to_vec(&envelope).expect("strings and a list of strings are always JSON")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Marks an answer that is not Kora's own but of a proxy in front of it: [`seal`] leaves it as it
/// is.
#[derive(Clone, Copy)]
pub(super) struct FromProxy;

/// Completes an answer of Kora's: the request id in header and envelope, rate limit and security
/// headers.
pub(super) fn seal(response: Response, twin: &Twin) -> Response {
    let (mut parts, mut body) = response.into_parts();
    if parts.extensions.get::<FromProxy>().is_some() {
        return Response::from_parts(parts, body);
    }
    let request_id = format!("req_{}", Uuid::new_v4().simple());
    if let Some(refusal) = parts.extensions.remove::<Refusal>() {
        body = Body::from(refusal.body(&request_id));
        parts.headers.remove(CONTENT_LENGTH);
        parts
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let request_id =
        HeaderValue::try_from(request_id).expect("a prefix and hex digits are a header value");
    parts.headers.insert(X_REQUEST_ID, request_id);
    insert_rate_headers(&mut parts.headers, twin);
    parts.headers.extend(SECURITY_HEADERS);
    Response::from_parts(parts, body)
}

fn insert_rate_headers(headers: &mut HeaderMap, twin: &Twin) {
    let now = unix_seconds();
    let remaining = twin.state().window.remaining(now);
    headers.insert(RATE_LIMIT, HeaderValue::from(REQUESTS_PER_MINUTE));
    headers.insert(RATE_REMAINING, HeaderValue::from(remaining));
    headers.insert(RATE_RESET, HeaderValue::from(Window::reset(now)));
}

/// The time in Unix seconds.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
