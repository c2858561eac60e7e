//! What holds for every screening that Kora answers.

use bytes::Bytes;
use http::StatusCode;

use crate::{
    fuzzing::{input::Input, members::Members, message},
    kora::screening_answer,
    pb,
    screening::{
        CheckType, JsonObject, MAX_ID_BYTES, Mode, Party, Purpose, ScreenRequest, Screening,
        SubjectProfile, TimeoutPolicy,
    },
};

/// The id that is asked for.
const SCREENING_ID: &str = "scr_1";

/// The subject that is screened.
const SUBJECT_ID: &str = "subj_1";

/// The answer to a new screening.
pub(super) fn created(input: &mut Input<'_>) {
    let kind = input.byte();
    let status = match kind & 3 {
        0 => StatusCode::OK,
        1 => StatusCode::CREATED,
        _ => StatusCode::ACCEPTED,
    };
    let is_known = kind & 8 != 0;
    let request = ScreenRequest {
        party: match is_known {
            true => Party::Known(SUBJECT_ID.to_owned()),
            false => Party::Inline(SubjectProfile::default()),
        },
        mode: match kind & 4 {
            0 => Mode::Sync,
            _ => Mode::Async,
        },
        purpose: Some(Purpose::Onboarding),
        checks: vec![CheckType::Sanctions],
        request_id: None,
        on_timeout: TimeoutPolicy::Fail,
        additional_fields: JsonObject::new(),
        late_violations: Vec::new(),
        include_raw_json: true,
    };
    let body = Bytes::copy_from_slice(input.rest());
    if let Ok(screening) = screening_answer::created(status, &body, &request) {
        assert_eq!(screening.raw_json, body);
        assert!(!is_known || screening.subject_id == SUBJECT_ID);
        let json = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
        let told = Members::of(json).expect("a screening is an object");
        assert!(!is_known || !told.says_otherwise("subject_id", SUBJECT_ID));
        check(screening, &body);
    }
}

/// The answer to a question for a screening.
pub(super) fn found(body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    if let Ok(screening) = screening_answer::found(&body, SCREENING_ID) {
        assert_eq!(screening.screening_id, SCREENING_ID);
        check(screening, &body);
    }
}

fn check(screening: Screening, body: &[u8]) {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let told = Members::of(body).expect("a screening is an object");
    assert!(!told.repeats(), "it says one thing twice");
    assert!(!told.says_otherwise("screening_id", &screening.screening_id));
    if let Some(subject_id) = told.text("subject_id") {
        assert!(!told.says_otherwise("subject_id", &subject_id));
    }
    if told.get("status").is_some() {
        assert!(!told.says_otherwise("status", screening.status.code()));
    }
    let id = told.text("screening_id").or_else(|| told.text("id"));
    assert_eq!(Some(&screening.screening_id), id.as_ref());
    assert!((1..=MAX_ID_BYTES).contains(&screening.screening_id.len()));
    let screening = pb::Screening::from(screening);
    message::check_screening(&screening, told.decided(false).as_deref());
    message::check(&screening, body);
}
