//! Turns Kora's error answers into reasons.
//!
//! Kora's `code` decides first, the HTTP status second, the message text never (two codes share 500 and
//! two share 503; Kora docs: error-codes). That holds where the two disagree, too: a code is Kora's own
//! word, a status can be a proxy's. The text can hold personal data and goes nowhere.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Endpoint,
    exchange::Answer,
    retry_hint::retry_after,
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
    /// Whether a 503 SERVICE_UNAVAILABLE proves that nothing happened.
    pub(super) is_503_trusted: bool,
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
        Reason::KoraRateLimited | Reason::KoraUnavailable => {
            error.retry_after = Some(retry_after(&answer.headers, now));
        }
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
    let endpoint = asked.endpoint;
    match code {
        Some("VALIDATION_ERROR" | "INVALID_SUBJECT" | "BAD_REQUEST") => Reason::KoraValidation,
        Some("UNAUTHORIZED") => Reason::KoraCredentialRejected,
        Some("FORBIDDEN") => Reason::KoraForbidden,
        Some("NOT_FOUND") => not_found(asked),
        Some("CONFLICT") if endpoint == Endpoint::CreateSubject => Reason::SubjectExists,
        Some("CONFLICT" | "CASE_ALREADY_CLOSED") => Reason::KoraConflict,
        Some("RATE_LIMITED") => Reason::KoraRateLimited,
        Some("SCREENING_TIMEOUT") => Reason::KoraScreeningTimeout,
        Some("SCREENING_FAILED") if endpoint == Endpoint::CreateScreening => {
            Reason::ScreeningFailed
        }
        Some("SERVICE_UNAVAILABLE")
            if status == StatusCode::SERVICE_UNAVAILABLE
                && (asked.is_503_trusted || !endpoint.is_post()) =>
        {
            Reason::KoraUnavailable
        }
        Some(
            "INTERNAL_ERROR" | "SCREENING_FAILED" | "VERIFICATION_FAILED" | "SERVICE_UNAVAILABLE",
        ) => lost_reason(endpoint),
        Some(_) if status == StatusCode::NOT_FOUND => not_found(asked),
        _ => reason_of_status(endpoint, status),
    }
}

fn reason_of_status(endpoint: Endpoint, status: StatusCode) -> Reason {
    match status.as_u16() {
        400 | 422 => Reason::KoraValidation,
        401 => Reason::KoraCredentialRejected,
        403 => Reason::KoraForbidden,
        404 => Reason::KoraRouteNotFound,
        // A timeout that the far side noticed: no word on what it did before.
        408 => lost_reason(endpoint),
        409 => Reason::KoraConflict,
        413 => Reason::KoraTooLarge,
        429 => Reason::KoraRateLimited,
        402..=499 => Reason::KoraRefused,
        500..=599 => lost_reason(endpoint),
        _ => Reason::KoraResponseInvalid,
    }
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
mod tests {
    use super::*;

    fn decide(endpoint: Endpoint, trusted: bool, status: u16, code: Option<&str>) -> Reason {
        let asked = Asked {
            endpoint,
            resource: None,
            sent: Sent::default(),
            is_503_trusted: trusted,
        };
        reason(&asked, StatusCode::from_u16(status).unwrap(), code)
    }

    #[test]
    fn the_code_decides_before_the_status() {
        let screen = |status, code| decide(Endpoint::CreateScreening, false, status, Some(code));
        assert_eq!(screen(500, "SCREENING_FAILED"), Reason::ScreeningFailed);
        assert_eq!(screen(500, "INTERNAL_ERROR"), Reason::KoraOutcomeUnknown);
        assert_eq!(
            screen(503, "SCREENING_TIMEOUT"),
            Reason::KoraScreeningTimeout
        );
        assert_eq!(
            screen(503, "SERVICE_UNAVAILABLE"),
            Reason::KoraOutcomeUnknown
        );
        assert_eq!(screen(418, "RATE_LIMITED"), Reason::KoraRateLimited);
    }

    #[test]
    fn a_503_is_a_refusal_only_where_it_is_trusted_or_harmless() {
        let code = Some("SERVICE_UNAVAILABLE");
        for (endpoint, trusted, status, expected) in [
            (Endpoint::CreateSubject, true, 503, Reason::KoraUnavailable),
            (
                Endpoint::CreateSubject,
                true,
                500,
                Reason::KoraOutcomeUnknown,
            ),
            (
                Endpoint::CreateSubject,
                false,
                503,
                Reason::KoraOutcomeUnknown,
            ),
            (Endpoint::GetSubject, false, 503, Reason::KoraUnavailable),
        ] {
            assert_eq!(decide(endpoint, trusted, status, code), expected);
        }
        let bare = decide(Endpoint::CreateSubject, true, 503, None);
        assert_eq!(bare, Reason::KoraOutcomeUnknown);
    }

    #[test]
    fn a_code_is_a_word_of_capitals() {
        for code in ["RATE_LIMITED", "E2", &"X".repeat(64)] {
            assert!(is_code(code), "{code}");
        }
        for other in ["", "Jane", "NOT FOUND", "É", &"X".repeat(65)] {
            assert!(!is_code(other), "{other}");
        }
    }

    #[test]
    fn no_status_is_left_without_a_reason() {
        for status in 100..=599 {
            let reason = decide(Endpoint::CreateScreening, false, status, None);
            if status >= 500 || status == 408 {
                assert_eq!(reason, Reason::KoraOutcomeUnknown, "{status}");
            }
        }
    }
}
