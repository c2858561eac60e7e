//! Turns Kora's error answers into reasons.
//!
//! Kora's `code` decides first, the HTTP status second, the message text never (two codes share 500 and
//! two share 503; Kora docs: error-codes). The text can hold personal data and goes nowhere.
//!
//! Where code and status contradict each other, the reading that claims less certainty wins: the one with
//! the higher [`Outcome`]. Either can be wrong (a proxy's status, a code from a layer that did not see what
//! happened before it), and taking a request for refused that was not is how a screening is paid twice.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Endpoint, Lane,
    exchange::Answer,
    pacing::Kind,
    retry_hint::{retry_after, until_rate_limit_allows},
    violations::{Sent, named_by_kora},
};
use crate::{
    error::{CallError, Reason, Resource},
    screening::KoraObject,
};

/// What was asked of Kora, as far as an error has to speak of it.
pub(super) struct Asked<'a> {
    pub(super) endpoint: Endpoint,
    /// The subject or screening that the request named.
    pub(super) resource: Option<Resource>,
    /// The fields that were sent.
    pub(super) sent: Sent<'a>,
    /// Whether an `Idempotency-Key` was sent: a conflict may then mean that Kora has the request already.
    pub(super) has_idempotency_key: bool,
    /// Whether a 503 SERVICE_UNAVAILABLE proves that nothing happened.
    pub(super) is_503_trusted: bool,
}

impl Asked<'_> {
    /// What the request has in common with others that wait in `lane`.
    pub(super) fn kind(&self, lane: Lane) -> Kind {
        let endpoint = self.endpoint;
        Kind { endpoint, lane }
    }
}

/// Says why an answer that is no success is none.
pub(super) fn refusal(asked: &Asked<'_>, answer: &Answer, now: Timestamp) -> CallError {
    let envelope = KoraObject::read(&answer.body).ok();
    let code = envelope.as_ref().and_then(|body| body.text_if_any("code"));
    let reason = reason(asked, answer.status, code.as_deref());
    let mut error = CallError::new(reason).because(format!(
        "Kora answered {} {}",
        answer.status.as_u16(),
        code.as_deref()
            .filter(|code| is_code(code))
            .unwrap_or("without a code"),
    ));
    error.kora_request_id = answer.kora_request_id();
    match reason {
        Reason::KoraValidation => {
            let details: Option<Value> = envelope.and_then(|body| body.field_if_any("details"));
            error.violations = named_by_kora(details.as_ref(), &asked.sent);
        }
        Reason::KoraRateLimited => {
            error.retry_after = Some(until_rate_limit_allows(&answer.headers, now));
        }
        Reason::KoraUnavailable => error.retry_after = retry_after(&answer.headers, now),
        Reason::SubjectNotFound | Reason::ScreeningNotFound => {
            error.resource.clone_from(&asked.resource);
        }
        _ => {}
    }
    error
}

/// The reason for a lost answer or a failure on Kora's side: a POST may have happened, a GET can be repeated.
pub(super) fn lost_reason(endpoint: Endpoint) -> Reason {
    if endpoint.is_post() {
        Reason::KoraOutcomeUnknown
    } else {
        Reason::KoraInternal
    }
}

fn reason(asked: &Asked<'_>, status: StatusCode, code: Option<&str>) -> Reason {
    if status.is_redirection() {
        return Reason::KoraRedirect;
    }
    if let Some(reason) = code.and_then(|code| reason_of_pair(asked, status, code)) {
        return reason;
    }
    let by_status = reason_of_status(asked, status, code.is_some());
    match code.and_then(|code| reason_of_code(asked, code)) {
        Some(by_code) if by_code.of_paid_call().1 >= by_status.of_paid_call().1 => by_code,
        _ => by_status,
    }
}

/// The pairs of status and code that Kora documents, of which the status alone would claim less (Kora docs:
/// error-codes); and a missing key, which no request was accepted under.
fn reason_of_pair(asked: &Asked<'_>, status: StatusCode, code: &str) -> Option<Reason> {
    match (status.as_u16(), code, asked.endpoint) {
        (500, "SCREENING_FAILED", Endpoint::CreateScreening) => Some(Reason::ScreeningFailed),
        (503, "SERVICE_UNAVAILABLE", endpoint) if asked.is_503_trusted || !endpoint.is_post() => {
            Some(Reason::KoraUnavailable)
        }
        (409, "CONFLICT", Endpoint::CreateSubject) => Some(Reason::SubjectExists),
        (400..=407 | 409..=499, "IDEMPOTENCY_KEY_REQUIRED", endpoint) if endpoint.is_post() => {
            Some(Reason::KoraRefused)
        }
        _ => None,
    }
}

/// What a code means by itself; `None` if it is none that says more than the status.
fn reason_of_code(asked: &Asked<'_>, code: &str) -> Option<Reason> {
    let endpoint = asked.endpoint;
    Some(match code {
        "VALIDATION_ERROR" | "INVALID_SUBJECT" | "BAD_REQUEST" => Reason::KoraValidation,
        "UNAUTHORIZED" => Reason::KoraCredentialRejected,
        "FORBIDDEN" => Reason::KoraForbidden,
        "NOT_FOUND" => not_found(asked),
        "CONFLICT" if endpoint == Endpoint::CreateSubject => Reason::SubjectExists,
        "CONFLICT" | "CASE_ALREADY_CLOSED" => conflict(asked),
        "RATE_LIMITED" => Reason::KoraRateLimited,
        "SCREENING_TIMEOUT" => Reason::KoraScreeningTimeout,
        "SCREENING_FAILED" if endpoint == Endpoint::CreateScreening => Reason::ScreeningFailed,
        "INTERNAL_ERROR" | "SCREENING_FAILED" | "VERIFICATION_FAILED" | "SERVICE_UNAVAILABLE" => {
            lost_reason(endpoint)
        }
        _ if is_keyed_post(asked) && is_about_idempotency(code) => Reason::KoraOutcomeUnknown,
        _ => return None,
    })
}

fn reason_of_status(asked: &Asked<'_>, status: StatusCode, has_code: bool) -> Reason {
    match status.as_u16() {
        400 | 422 => Reason::KoraValidation,
        401 => Reason::KoraCredentialRejected,
        403 => Reason::KoraForbidden,
        404 if has_code => not_found(asked),
        404 => Reason::KoraRouteNotFound,
        // A timeout that the far side noticed: no word on what it did before.
        408 => lost_reason(asked.endpoint),
        409 => conflict(asked),
        413 => Reason::KoraTooLarge,
        429 => Reason::KoraRateLimited,
        402..=499 => Reason::KoraRefused,
        500..=599 => lost_reason(asked.endpoint),
        _ => Reason::KoraResponseInvalid,
    }
}

/// A conflict over a request with an `Idempotency-Key` may be with the same request, sent before: the
/// vendor's sibling products answer so (Kora docs for the core banking API: errors).
fn conflict(asked: &Asked<'_>) -> Reason {
    if is_keyed_post(asked) {
        Reason::KoraOutcomeUnknown
    } else {
        Reason::KoraConflict
    }
}

fn is_keyed_post(asked: &Asked<'_>) -> bool {
    asked.endpoint.is_post() && asked.has_idempotency_key
}

fn is_about_idempotency(code: &str) -> bool {
    code.to_ascii_uppercase().contains("IDEMPOTENCY")
}

/// A 404 speaks of what the request named; where it named nothing, the route itself is missing.
fn not_found(asked: &Asked<'_>) -> Reason {
    match asked.resource {
        Some(Resource::Subject(_)) => Reason::SubjectNotFound,
        Some(Resource::Screening(_)) => Reason::ScreeningNotFound,
        None => Reason::KoraRouteNotFound,
    }
}

/// A code is a word of capitals; anything else that stands in its place is not logged.
fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests;
