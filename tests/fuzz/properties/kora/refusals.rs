//! What holds for every error that Kora answers.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{self, RETRY_AFTER},
};
use jiff::Timestamp;

use super::waits;
use crate::{
    error::{CallError, MAX_VIOLATIONS, Outcome, Reason, Resource},
    fuzzing::{input::Input, members::Members},
    kora::{
        Endpoint,
        exchange::Answer,
        refusal::{Asked, refusal},
        violations::Sent,
    },
    screening::{JsonObject, SCREEN_FIELDS, SUBJECT_FIELDS},
};

/// A field that was sent and that the API has none for.
const ADDITIONAL_FIELD: &str = "list";

/// An answer that is no success.
pub(super) fn refused(input: &mut Input<'_>) {
    let kind = input.byte();
    let sent: JsonObject = [(ADDITIONAL_FIELD.to_owned(), 1.into())]
        .into_iter()
        .collect();
    let asked = asked(kind, &sent);
    let status = 300 + u16::from(input.byte()) + u16::from(input.byte());
    let status = StatusCode::from_u16(status).expect("there is a status for 300 to 810");
    let mut headers = HeaderMap::new();
    for name in [
        HeaderName::from_static("x-request-id"),
        RETRY_AFTER,
        header::SERVER,
    ] {
        if let Ok(value) = HeaderValue::from_bytes(input.part()) {
            headers.append(name, value);
        }
    }
    let answer = Answer {
        status,
        headers,
        body: Bytes::copy_from_slice(input.rest()),
    };
    let error = refusal(&asked, &answer, Timestamp::UNIX_EPOCH);
    if asked.endpoint.is_post() {
        check_outcome(&error, &asked, &answer);
    }
    check_cause(&error, status);
    check_details(&error);
}

fn asked(kind: u8, sent: &JsonObject) -> Asked<'_> {
    let (endpoint, resource) = match kind & 7 {
        0 => (
            Endpoint::GetScreening,
            Some(Resource::Screening("scr_1".to_owned())),
        ),
        1 => (
            Endpoint::GetSubject,
            Some(Resource::Subject("subj_1".to_owned())),
        ),
        2 | 3 => (Endpoint::CreateSubject, None),
        4 => (
            Endpoint::CreateScreening,
            Some(Resource::Subject("subj_1".to_owned())),
        ),
        _ => (Endpoint::CreateScreening, None),
    };
    Asked {
        endpoint,
        resource,
        sent: Sent {
            screening: (kind & 8 != 0).then_some(sent),
            subject: (kind & 16 != 0).then_some(sent),
        },
        has_idempotency_key: kind & 64 != 0,
        is_503_trusted: kind & 32 != 0,
    }
}

/// What was created, or may have been, is never safe to be sent again.
fn check_outcome(error: &CallError, asked: &Asked<'_>, answer: &Answer) {
    let code = Members::of(&answer.body)
        .filter(|body| !body.repeats())
        .and_then(|body| body.text("code"));
    let code = code.as_deref();
    let status = answer.status;
    let is_503 = status == StatusCode::SERVICE_UNAVAILABLE && code == Some("SERVICE_UNAVAILABLE");
    let is_clients = status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT;
    match error.reason.of_paid_call().1 {
        Outcome::NotSent => panic!("what Kora answered was sent"),
        Outcome::Rejected => {
            assert!(is_clients || (is_503 && asked.is_503_trusted));
            let is_conflict = status == StatusCode::CONFLICT && asked.has_idempotency_key;
            let is_told =
                code == Some("IDEMPOTENCY_KEY_REQUIRED") || error.reason == Reason::SubjectExists;
            assert!(!is_conflict || is_told);
        }
        Outcome::Accepted => assert_eq!(code, Some("SCREENING_FAILED")),
        Outcome::Unknown => {}
    }
}

/// The operator's log shows Kora's code, and no other text of the answer.
fn check_cause(error: &CallError, status: StatusCode) {
    let cause = error
        .cause
        .as_ref()
        .expect("a refusal has a cause")
        .to_string();
    let told = cause.strip_prefix(&format!("Kora answered {} ", status.as_u16()));
    let told = told.expect("the cause begins with the status");
    let is_code_byte =
        |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_code = (1..=64).contains(&told.len()) && told.bytes().all(is_code_byte);
    assert!(is_code || told == "without a code", "{told:?}");
}

/// Callers get ids that look like ids, fields of the API or of their own, and a bounded wait.
fn check_details(error: &CallError) {
    if let Some(id) = &error.kora_request_id {
        assert!((1..=128).contains(&id.len()));
        assert!(
            id.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        );
    }
    assert_eq!(
        error.violations.is_empty(),
        error.reason != Reason::KoraValidation
    );
    assert!(error.violations.len() <= MAX_VIOLATIONS);
    for violation in &error.violations {
        let is_known = |step: &str| {
            step.is_empty()
                || step.parse::<u32>().is_ok()
                || SCREEN_FIELDS.contains(&step)
                || SUBJECT_FIELDS.contains(&step)
                || ["value", ADDITIONAL_FIELD].contains(&step)
        };
        let mut steps = violation.field.split(['.', '[', ']']);
        assert!(steps.all(is_known), "{} is no field", violation.field);
    }
    if let Some(wait) = error.retry_after {
        assert!(waits::BOUNDS.contains(&wait), "{wait:?}");
    }
}
