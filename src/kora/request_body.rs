//! Writes requests as Kora's JSON: snake_case, and what is not known is absent, never null.

use bytes::Bytes;
use serde::Serialize;

use crate::screening::{
    CheckType, CreateSubject, Identifier, JsonObject, Mode, Party, Purpose, ScreenRequest,
    SubjectProfile, SubjectType,
};

#[derive(Serialize)]
struct ScreeningBody<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<SubjectBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<&'static str>,
    #[serde(flatten)]
    additional_fields: &'a JsonObject,
}

#[derive(Serialize)]
struct SubjectBody<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    date_of_birth: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    nationality: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    country: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    identifiers: Vec<IdentifierBody<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    external_id: &'a str,
    #[serde(flatten)]
    additional_fields: &'a JsonObject,
}

#[derive(Serialize)]
struct IdentifierBody<'a> {
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    country: &'a str,
}

/// The body of `POST /screenings`.
pub(super) fn screening(request: &ScreenRequest) -> Bytes {
    let (subject, subject_id) = match &request.party {
        Party::Inline(profile) => (Some(SubjectBody::from(profile)), None),
        Party::Known(id) => (None, Some(id.as_str())),
    };
    json(&ScreeningBody {
        mode: Mode::code(request.mode),
        purpose: request.purpose.map(Purpose::code),
        subject,
        subject_id,
        checks: request
            .checks
            .iter()
            .copied()
            .map(CheckType::code)
            .collect(),
        additional_fields: &request.additional_fields,
    })
}

/// The body of `POST /subjects`: the subject is the top-level object (Kora docs: server-integration).
pub(super) fn subject(request: &CreateSubject) -> Bytes {
    json(&SubjectBody::from(&request.subject))
}

impl<'a> From<&'a SubjectProfile> for SubjectBody<'a> {
    fn from(profile: &'a SubjectProfile) -> Self {
        SubjectBody {
            kind: profile.kind.map(SubjectType::code),
            name: &profile.name,
            date_of_birth: &profile.date_of_birth,
            nationality: &profile.nationality,
            country: &profile.country,
            identifiers: profile
                .identifiers
                .iter()
                .map(IdentifierBody::from)
                .collect(),
            external_id: &profile.external_id,
            additional_fields: &profile.additional_fields,
        }
    }
}

impl<'a> From<&'a Identifier> for IdentifierBody<'a> {
    fn from(identifier: &'a Identifier) -> Self {
        IdentifierBody {
            kind: &identifier.kind,
            value: &identifier.value,
            country: &identifier.country,
        }
    }
}

fn json(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body)
        .expect("strings, finite numbers and objects with string keys are always JSON")
        .into()
}
