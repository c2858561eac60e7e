//! Reads requests from the wire and refuses what is invalid, naming every bad field at once.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    CheckType, CreateSubject, GetRequest, GetScreening, GetSubject, Identifier, JsonObject, Mode,
    Party, Purpose, ScreenRequest, SubjectProfile, SubjectType, TimeoutPolicy,
    fields::{SCREEN_FIELDS, SUBJECT_FIELDS},
    rules::{NO_SUCH_VALUE, REQUIRED, Violations},
};
use crate::{
    error::{CallError, MAX_VIOLATIONS},
    pb,
};

/// Where a purpose and checks are that have no typed value.
const ADDITIONAL_PURPOSE: &str = "additional_fields.purpose";
const ADDITIONAL_CHECKS: &str = "additional_fields.checks";

impl ScreenRequest {
    /// Reads a request, or says what is wrong with it. `now` decides which dates are in the future.
    pub fn from_wire(wire: pb::ScreenRequest, now: Timestamp) -> Result<Self, CallError> {
        let mut bad = Violations::default();
        let (purpose_is_unset, checks_are_unset) = (wire.purpose == 0, wire.checks.is_empty());
        let additional_fields = bad.check_additional(
            "additional_fields",
            wire.additional_fields,
            &SCREEN_FIELDS,
            |name| match name {
                "purpose" => purpose_is_unset,
                "checks" => checks_are_unset,
                _ => false,
            },
        );
        let mut request = ScreenRequest {
            party: party(wire.party, now, &mut bad),
            mode: mode(wire.mode, &mut bad),
            purpose: purpose(wire.purpose, &additional_fields, &mut bad),
            checks: checks(&wire.checks, &additional_fields, &mut bad),
            request_id: bad.check_request_id(&wire.request_id),
            on_timeout: timeout_policy(wire.on_timeout, &mut bad),
            additional_fields,
            late_violations: Vec::new(),
            include_raw_json: wire.include_raw_json,
        };
        request.late_violations = bad.only_late()?;
        Ok(request)
    }
}

impl CreateSubject {
    /// Reads a request, or says what is wrong with it. `now` decides which dates are in the future.
    pub fn from_wire(wire: pb::CreateSubjectRequest, now: Timestamp) -> Result<Self, CallError> {
        let mut bad = Violations::default();
        let subject = match wire.subject {
            Some(subject) => profile(subject, now, &mut bad),
            None => {
                bad.add("subject", REQUIRED);
                SubjectProfile::default()
            }
        };
        let request_id = bad.check_request_id(&wire.request_id);
        Ok(CreateSubject {
            subject,
            request_id,
            late_violations: bad.only_late()?,
        })
    }
}

impl GetScreening {
    /// Reads a request, or says what is wrong with it.
    pub fn from_wire(wire: pb::GetScreeningRequest) -> Result<Self, CallError> {
        let mut bad = Violations::default();
        bad.check_path_id("screening_id", &wire.screening_id);
        bad.none_or(GetScreening {
            screening_id: wire.screening_id,
            include_raw_json: wire.include_raw_json,
        })
    }
}

impl GetRequest {
    /// Reads a request, or says what is wrong with it.
    pub fn from_wire(wire: pb::GetRequestRequest) -> Result<Self, CallError> {
        let mut bad = Violations::default();
        let request_id = bad.check_request_id(&wire.request_id);
        if wire.request_id.is_empty() {
            bad.add("request_id", REQUIRED);
        }
        bad.none_or(GetRequest {
            request_id: request_id.unwrap_or_default(),
        })
    }
}

impl GetSubject {
    /// Reads a request, or says what is wrong with it.
    pub fn from_wire(wire: pb::GetSubjectRequest) -> Result<Self, CallError> {
        let mut bad = Violations::default();
        bad.check_path_id("subject_id", &wire.subject_id);
        bad.none_or(GetSubject {
            subject_id: wire.subject_id,
        })
    }
}

fn party(wire: Option<pb::screen_request::Party>, now: Timestamp, bad: &mut Violations) -> Party {
    match wire {
        Some(pb::screen_request::Party::Subject(subject)) => {
            Party::Inline(profile(subject, now, bad))
        }
        Some(pb::screen_request::Party::SubjectId(id)) => {
            bad.check_id("subject_id", &id);
            bad.check_text("subject_id", &id);
            Party::Known(id)
        }
        None => {
            bad.add("subject", "one of subject and subject_id is required");
            Party::Known(String::new())
        }
    }
}

fn mode(wire: i32, bad: &mut Violations) -> Mode {
    match pb::ScreeningMode::try_from(wire) {
        Ok(pb::ScreeningMode::Unspecified | pb::ScreeningMode::Sync) => Mode::Sync,
        Ok(pb::ScreeningMode::Async) => Mode::Async,
        Err(_) => {
            bad.add("mode", NO_SUCH_VALUE);
            Mode::Sync
        }
    }
}

fn purpose(wire: i32, additional: &JsonObject, bad: &mut Violations) -> Option<Purpose> {
    match pb::ScreeningPurpose::try_from(wire) {
        Ok(pb::ScreeningPurpose::Onboarding) => Some(Purpose::Onboarding),
        Ok(pb::ScreeningPurpose::Periodic) => Some(Purpose::Periodic),
        Ok(pb::ScreeningPurpose::Unspecified) => {
            match additional.get("purpose") {
                None | Some(Value::Null) => bad.add("purpose", REQUIRED),
                Some(Value::String(code)) if !code.is_empty() => {
                    bad.check_text(ADDITIONAL_PURPOSE, code);
                }
                Some(_) => bad.add_late(ADDITIONAL_PURPOSE, "is not a text with characters"),
            }
            None
        }
        Err(_) => {
            bad.add("purpose", NO_SUCH_VALUE);
            None
        }
    }
}

/// The checks, each once.
fn checks(wire: &[i32], additional: &JsonObject, bad: &mut Violations) -> Vec<CheckType> {
    if wire.is_empty() {
        additional_checks(additional, bad);
    }
    let mut checks = Vec::new();
    let mut unknown = 0;
    for (position, number) in wire.iter().enumerate() {
        let check = match pb::CheckType::try_from(*number) {
            Ok(pb::CheckType::Sanctions) => CheckType::Sanctions,
            Ok(pb::CheckType::Pep) => CheckType::Pep,
            Ok(pb::CheckType::AdverseMedia) => CheckType::AdverseMedia,
            Ok(pb::CheckType::Unspecified) | Err(_) => {
                bad.add(format!("checks[{position}]"), NO_SUCH_VALUE);
                unknown += 1;
                // More are not named, and a message has room for a million.
                if unknown == MAX_VIOLATIONS {
                    break;
                }
                continue;
            }
        };
        if !checks.contains(&check) {
            checks.push(check);
        }
    }
    checks
}

/// Checks what stands for the typed field where that is unset.
fn additional_checks(additional: &JsonObject, bad: &mut Violations) {
    match additional.get("checks") {
        None | Some(Value::Null) => bad.add("checks", "at least one is required"),
        Some(Value::Array(codes)) if !codes.is_empty() => {
            for code in codes {
                match code.as_str() {
                    Some(code) if !code.is_empty() => bad.check_text(ADDITIONAL_CHECKS, code),
                    _ => {
                        return bad.add_late(
                            ADDITIONAL_CHECKS,
                            "has an element that is no text with characters",
                        );
                    }
                }
            }
        }
        Some(_) => bad.add_late(ADDITIONAL_CHECKS, "is not a list with at least one text"),
    }
}

fn timeout_policy(wire: i32, bad: &mut Violations) -> TimeoutPolicy {
    match pb::TimeoutPolicy::try_from(wire) {
        Ok(pb::TimeoutPolicy::Unspecified | pb::TimeoutPolicy::Fail) => TimeoutPolicy::Fail,
        Ok(pb::TimeoutPolicy::ContinueAsync) => TimeoutPolicy::ContinueAsync,
        Err(_) => {
            bad.add("on_timeout", NO_SUCH_VALUE);
            TimeoutPolicy::Fail
        }
    }
}

fn profile(wire: pb::SubjectProfile, now: Timestamp, bad: &mut Violations) -> SubjectProfile {
    let kind = match pb::SubjectType::try_from(wire.r#type) {
        Ok(pb::SubjectType::Individual) => Some(SubjectType::Individual),
        Ok(pb::SubjectType::Entity) => Some(SubjectType::Entity),
        Ok(pb::SubjectType::Unspecified) => {
            bad.add("subject.type", REQUIRED);
            None
        }
        Err(_) => {
            bad.add("subject.type", NO_SUCH_VALUE);
            None
        }
    };
    if wire.name.is_empty() {
        bad.add("subject.name", REQUIRED);
    }
    bad.check_visible_text("subject.name", &wire.name);
    bad.check_text("subject.external_id", &wire.external_id);
    bad.check_past_date("subject.date_of_birth", &wire.date_of_birth, now);
    bad.check_country("subject.nationality", &wire.nationality);
    bad.check_country("subject.country", &wire.country);
    let mut identifiers = Vec::with_capacity(wire.identifiers.len());
    for (position, identifier) in wire.identifiers.into_iter().enumerate() {
        check_identifier(position, &identifier, bad);
        identifiers.push(Identifier {
            kind: identifier.r#type,
            value: identifier.value,
            country: identifier.country,
        });
    }
    SubjectProfile {
        kind,
        name: wire.name,
        date_of_birth: wire.date_of_birth,
        nationality: wire.nationality,
        country: wire.country,
        identifiers,
        external_id: wire.external_id,
        additional_fields: bad.check_additional(
            "subject.additional_fields",
            wire.additional_fields,
            &SUBJECT_FIELDS,
            |_| false,
        ),
    }
}

fn check_identifier(position: usize, identifier: &pb::Identifier, bad: &mut Violations) {
    let field = |name| IdentifierField { position, name };
    bad.check_country(field("country"), &identifier.country);
    bad.check_text(field("type"), &identifier.r#type);
    if identifier.value.is_empty() {
        bad.add_late(field("value"), REQUIRED);
    }
    bad.check_visible_text(field("value"), &identifier.value);
}

/// The path of a field, written only where it is bad: a message has room for many identifiers.
struct IdentifierField {
    position: usize,
    name: &'static str,
}

impl From<IdentifierField> for String {
    fn from(field: IdentifierField) -> Self {
        let IdentifierField { position, name } = field;
        format!("subject.identifiers[{position}].{name}")
    }
}
