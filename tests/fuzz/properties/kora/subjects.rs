//! What holds for every subject that Kora answers.

use serde_json::Value;

use crate::{
    fuzzing::{members::Members, message},
    kora::subject_answer,
    pb,
    screening::{MAX_ID_BYTES, Subject, SubjectProfile},
};

/// The id that is asked for.
const SUBJECT_ID: &str = "subj_1";

/// The answer to a new subject.
pub(super) fn created(body: &[u8]) {
    if let Ok(subject) = subject_answer::created(body) {
        check(subject, body);
    }
}

/// The answer to a question for a subject.
pub(super) fn found(body: &[u8]) {
    if let Ok(subject) = subject_answer::found(body, SUBJECT_ID) {
        assert_eq!(subject.subject_id, SUBJECT_ID);
        check(subject, body);
    }
}

fn check(subject: Subject, body: &[u8]) {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let told = Members::of(body).expect("a subject is an object");
    assert!(!told.repeats(), "it says one thing twice");
    assert!(!told.says_otherwise("subject_id", &subject.subject_id));
    let id = told.text("subject_id").or_else(|| told.text("id"));
    assert_eq!(Some(&subject.subject_id), id.as_ref());
    assert!((1..=MAX_ID_BYTES).contains(&subject.subject_id.len()));
    for (name, raw) in told
        .iter()
        .filter(|(name, _)| !matches!(*name, "id" | "subject_id"))
    {
        let value: Value = serde_json::from_slice(raw).expect("what was read is JSON");
        assert!(is_kept(&subject, name, &value), "{name} is lost");
    }
    let subject = pb::Subject::from(subject);
    message::check_time(subject.create_time.as_ref());
    message::check_time(subject.update_time.as_ref());
    message::check(&subject, body);
}

/// Whether a member is there: as it came, or in the field of its name.
fn is_kept(subject: &Subject, name: &str, value: &Value) -> bool {
    let profile = &subject.profile;
    profile.additional_fields.get(name) == Some(value)
        || match (name, value) {
            ("created_at", Value::String(_)) => subject.create_time.is_some(),
            ("updated_at", Value::String(_)) => subject.update_time.is_some(),
            ("identifiers", Value::Array(told)) => profile.identifiers.len() == told.len(),
            (_, Value::String(told)) => text(subject, profile, name) == Some(told),
            (_, Value::Null) => text(subject, profile, name).is_some_and(str::is_empty),
            _ => false,
        }
}

/// The field of this name, if there is one for texts.
fn text<'a>(subject: &'a Subject, profile: &'a SubjectProfile, name: &str) -> Option<&'a str> {
    Some(match name {
        "name" => &profile.name,
        "date_of_birth" => &profile.date_of_birth,
        "nationality" => &profile.nationality,
        "country" => &profile.country,
        "external_id" => &profile.external_id,
        "type" => profile.kind?.code(),
        "risk_band" => subject.risk_band.as_ref()?.code(),
        _ => return None,
    })
}
