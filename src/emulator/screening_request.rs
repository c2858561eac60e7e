//! The body of `POST /screenings`: what is asked for.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use super::envelope::{Detail, Refusal};
use super::subject::{Profile, invalid_subject, text};

/// How a screening is run (Kora docs: screening-flow).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Mode {
    /// The answer has the result.
    Sync,
    /// The answer has the id only. The result comes later.
    Async,
}

/// Who is screened. A request names exactly one of the two.
pub(super) enum Party {
    /// A subject described in the request itself.
    Inline(Profile),
    /// The id of a subject that exists.
    ById(String),
}

/// What a screening is made of, the person or entity aside.
#[derive(Clone, Serialize)]
pub(super) struct Terms {
    /// `SYNC` when the request does not say. Kora does not document a default.
    pub(super) mode: Mode,
    /// Any text: Kora's list of purposes is not known in full.
    pub(super) purpose: String,
    /// At least one. Any text, for the same reason.
    pub(super) checks: Vec<String>,
}

/// A readable `POST /screenings`. Unknown fields are ignored.
pub(super) struct ScreeningRequest {
    pub(super) terms: Terms,
    pub(super) party: Party,
}

/// The bad fields found so far.
#[derive(Default)]
struct Bad {
    request: Vec<Detail>,
    subject: Vec<Detail>,
}

impl ScreeningRequest {
    /// Reads the body, or refuses it with every bad field.
    pub(super) fn read(mut fields: Map<String, Value>) -> Result<Self, Refusal> {
        let mut bad = Bad::default();
        let mode = bad.note(read_mode(fields.get("mode")));
        let purpose = bad.note(read_purpose(&fields));
        let checks = bad.note(read_checks(fields.get("checks")));
        let party = bad.read_party(fields.remove("subject"), fields.remove("subject_id"));
        let (Some(mode), Some(purpose), Some(checks), Some(party)) = (mode, purpose, checks, party)
        else {
            return Err(bad.into_refusal());
        };
        let terms = Terms {
            mode,
            purpose,
            checks,
        };
        Ok(Self { terms, party })
    }
}

impl Bad {
    /// Keeps the field that was read, or the fault that was found.
    fn note<T>(&mut self, read: Result<T, Detail>) -> Option<T> {
        read.map_err(|detail| self.request.push(detail)).ok()
    }

    fn read_party(&mut self, subject: Option<Value>, subject_id: Option<Value>) -> Option<Party> {
        match (subject, subject_id) {
            (Some(Value::Object(fields)), None) => Profile::read(fields, "subject.")
                .map(Party::Inline)
                .map_err(|details| self.subject = details)
                .ok(),
            (Some(_), None) => {
                self.subject
                    .push(Detail::new("subject", "must be an object"));
                None
            }
            (None, Some(Value::String(id))) if !id.is_empty() => Some(Party::ById(id)),
            (None, Some(_)) => self.note(Err(Detail::new(
                "subject_id",
                "must be a string that is not empty",
            ))),
            (Some(_), Some(_)) | (None, None) => self.note(Err(Detail::new(
                "subject",
                "exactly one of subject and subject_id is required",
            ))),
        }
    }

    /// `INVALID_SUBJECT` when nothing but the subject is bad, else `VALIDATION_ERROR` (Kora docs:
    /// error-codes).
    fn into_refusal(mut self) -> Refusal {
        if self.request.is_empty() {
            return invalid_subject(self.subject);
        }
        self.request.append(&mut self.subject);
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "VALIDATION_ERROR",
            "Request validation failed",
        )
        .details(self.request)
    }
}

fn read_mode(mode: Option<&Value>) -> Result<Mode, Detail> {
    match mode.map(Value::as_str) {
        None | Some(Some("SYNC")) => Ok(Mode::Sync),
        Some(Some("ASYNC")) => Ok(Mode::Async),
        Some(_) => Err(Detail::new("mode", "must be SYNC or ASYNC")),
    }
}

fn read_purpose(fields: &Map<String, Value>) -> Result<String, Detail> {
    text(fields, "purpose")
        .map(str::to_owned)
        .ok_or_else(|| Detail::new("purpose", "is required"))
}

fn read_checks(checks: Option<&Value>) -> Result<Vec<String>, Detail> {
    let bad = || Detail::new("checks", "must be a list of at least one check");
    let checks = checks.and_then(Value::as_array).ok_or_else(bad)?;
    if checks.is_empty() {
        return Err(bad());
    }
    checks
        .iter()
        .map(|check| check.as_str().filter(|check| !check.is_empty()))
        .map(|check| check.map(str::to_owned).ok_or_else(bad))
        .collect()
}
