//! What each pair of code and status means, derived here from the rule and not from the code under test.

use super::*;
use crate::error::Outcome;

const POSTS: [Endpoint; 2] = [Endpoint::CreateScreening, Endpoint::CreateSubject];
const GETS: [Endpoint; 2] = [Endpoint::GetScreening, Endpoint::GetSubject];

/// Kora's codes, and what each claims of a POST that carried no key (Kora docs: error-codes).
const CODES: [(&str, Outcome); 21] = [
    ("BAD_REQUEST", Outcome::Rejected),
    ("VALIDATION_ERROR", Outcome::Rejected),
    ("INVALID_SUBJECT", Outcome::Rejected),
    ("UNAUTHORIZED", Outcome::Rejected),
    ("FORBIDDEN", Outcome::Rejected),
    ("NOT_FOUND", Outcome::Rejected),
    ("CONFLICT", Outcome::Rejected),
    ("CASE_ALREADY_CLOSED", Outcome::Rejected),
    ("RATE_LIMITED", Outcome::Rejected),
    ("INTERNAL_ERROR", Outcome::Unknown),
    ("VERIFICATION_FAILED", Outcome::Unknown),
    ("SERVICE_UNAVAILABLE", Outcome::Unknown),
    ("SCREENING_TIMEOUT", Outcome::Unknown),
    ("SCREENING_FAILED", Outcome::Accepted),
    // These claim nothing, so that the status alone speaks.
    ("DATASET_NOT_FOUND", Outcome::NotSent),
    ("INVALID_DISPOSITION", Outcome::NotSent),
    ("PAYMENT_REQUIRED", Outcome::NotSent),
    ("IDEMPOTENCY_CONFLICT", Outcome::NotSent),
    ("idempotency_key_in_use", Outcome::NotSent),
    ("IDEMPOTENCY_KEY_REQUIRED", Outcome::NotSent),
    ("", Outcome::NotSent),
];

fn asked(endpoint: Endpoint, has_idempotency_key: bool, is_503_trusted: bool) -> Asked<'static> {
    Asked {
        endpoint,
        resource: None,
        sent: Sent::default(),
        has_idempotency_key,
        is_503_trusted,
    }
}

fn reason_for(asked: &Asked<'_>, status: u16, code: &str) -> Reason {
    let code = Some(code).filter(|code| !code.is_empty());
    reason(asked, StatusCode::from_u16(status).unwrap(), code)
}

/// The outcome that the rule gives to a POST.
fn expected(asked: &Asked<'_>, status: u16, code: &str, claimed: Outcome) -> Outcome {
    let is_screen = asked.endpoint == Endpoint::CreateScreening;
    let is_4xx = (400..500).contains(&status) && status != 408;
    let by_status = if !is_4xx || (status == 409 && asked.has_idempotency_key) {
        Outcome::Unknown
    } else {
        Outcome::Rejected
    };
    let is_about_the_key = code.to_uppercase().contains("IDEMPOTENCY")
        || matches!(code, "CASE_ALREADY_CLOSED")
        || (code == "CONFLICT" && is_screen);
    let by_code = match code {
        "SCREENING_FAILED" if !is_screen => Outcome::Unknown,
        _ if asked.has_idempotency_key && is_about_the_key => Outcome::Unknown,
        _ => claimed,
    };
    match (status, code) {
        (500, "SCREENING_FAILED") if is_screen => Outcome::Accepted,
        (503, "SERVICE_UNAVAILABLE") if asked.is_503_trusted => Outcome::Rejected,
        (409, "CONFLICT") if !is_screen => Outcome::Rejected,
        (_, "IDEMPOTENCY_KEY_REQUIRED") if is_4xx => Outcome::Rejected,
        _ => by_status.max(by_code),
    }
}

#[test]
fn of_code_and_status_the_one_that_is_less_certain_decides_about_a_post() {
    let mut pairs = 0;
    for endpoint in POSTS {
        for (is_keyed, is_trusted) in [(false, false), (false, true), (true, false), (true, true)] {
            let asked = asked(endpoint, is_keyed, is_trusted);
            for ((code, claimed), status) in CODES
                .into_iter()
                .flat_map(|code| (300..1000).map(move |status| (code, status)))
            {
                let reason = reason_for(&asked, status, code);
                let context = format!(
                    "{status} {code} to {endpoint:?}, keyed: {is_keyed}, trusted: {is_trusted}: {}",
                    reason.name()
                );
                let outcome = reason.of_paid_call().1;
                assert_eq!(
                    outcome,
                    expected(&asked, status, code, claimed),
                    "{context}"
                );
                if status >= 500 && reason != Reason::KoraUnavailable {
                    assert!(outcome > Outcome::Rejected, "{context}");
                }
                pairs += 1;
            }
        }
    }
    assert_eq!(pairs, 2 * 4 * 21 * 700);
}

#[test]
fn a_read_that_fails_with_a_5xx_can_be_repeated_whatever_its_code() {
    for (endpoint, (code, claimed)) in GETS
        .into_iter()
        .flat_map(|endpoint| CODES.map(|code| (endpoint, code)))
    {
        let asked = asked(endpoint, false, false);
        for status in [500, 502, 503, 504, 599] {
            let expected = match (status, code) {
                (503, "SERVICE_UNAVAILABLE") => Reason::KoraUnavailable,
                (_, "SCREENING_TIMEOUT") => Reason::KoraScreeningTimeout,
                _ => Reason::KoraInternal,
            };
            let reason = reason_for(&asked, status, code);
            assert_eq!(reason, expected, "{status} {code} to {endpoint:?}");
        }
        // A conflict says nothing about a key that was never sent.
        let reason = reason_for(&asked, 409, code);
        if claimed == Outcome::NotSent {
            assert_eq!(reason, Reason::KoraConflict, "409 {code}");
        }
    }
}

#[test]
fn where_both_say_as_much_the_code_names_the_reason() {
    let screen = asked(Endpoint::CreateScreening, false, false);
    let keyed = asked(Endpoint::CreateScreening, true, false);
    for (asked, status, code, expected) in [
        (&screen, 418, "RATE_LIMITED", Reason::KoraRateLimited),
        (&screen, 400, "UNAUTHORIZED", Reason::KoraCredentialRejected),
        (&screen, 429, "FORBIDDEN", Reason::KoraForbidden),
        (&screen, 422, "CONFLICT", Reason::KoraConflict),
        (
            &screen,
            500,
            "SCREENING_TIMEOUT",
            Reason::KoraScreeningTimeout,
        ),
        (
            &screen,
            400,
            "SCREENING_TIMEOUT",
            Reason::KoraScreeningTimeout,
        ),
        (&screen, 400, "SCREENING_FAILED", Reason::ScreeningFailed),
        (&screen, 502, "SCREENING_FAILED", Reason::KoraOutcomeUnknown),
        (&screen, 500, "RATE_LIMITED", Reason::KoraOutcomeUnknown),
        (&screen, 999, "RATE_LIMITED", Reason::KoraResponseInvalid),
        (&screen, 302, "RATE_LIMITED", Reason::KoraRedirect),
        (&screen, 404, "RECORD_MISSING", Reason::KoraRouteNotFound),
        (&screen, 413, "BODY_TOO_LARGE", Reason::KoraTooLarge),
        (&screen, 409, "", Reason::KoraConflict),
        (&keyed, 409, "", Reason::KoraOutcomeUnknown),
        (&keyed, 409, "RATE_LIMITED", Reason::KoraOutcomeUnknown),
        (&keyed, 400, "IDEMPOTENCY_KEY_REQUIRED", Reason::KoraRefused),
    ] {
        let reason = reason_for(asked, status, code);
        assert_eq!(reason, expected, "{status} {code}");
    }
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
