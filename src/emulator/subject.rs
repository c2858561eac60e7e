//! A subject: the person or entity that is screened.

use axum::http::StatusCode;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::envelope::{Detail, Refusal};
use super::ledger::now;

/// The types of a subject (Kora docs: error-codes, quickstart).
const TYPES: [&str; 2] = ["INDIVIDUAL", "ENTITY"];

/// A subject as the caller describes it. Fields that Kora does not know are kept like the others.
#[derive(Clone)]
pub(super) struct Profile {
    name: String,
    fields: Map<String, Value>,
}

impl Profile {
    /// Reads a profile, or says what is wrong with it. `path` goes before the names of the bad
    /// fields.
    ///
    /// Type and name are required (Kora docs: error-codes). The rest is taken as it is.
    pub(super) fn read(fields: Map<String, Value>, path: &str) -> Result<Self, Vec<Detail>> {
        let mut bad = Vec::new();
        if !text(&fields, "type").is_some_and(|kind| TYPES.contains(&kind)) {
            let message = format!("must be one of {}", TYPES.join(", "));
            bad.push(Detail::new(format!("{path}type"), message));
        }
        let name = text(&fields, "name").unwrap_or_default().to_owned();
        if name.is_empty() {
            bad.push(Detail::new(format!("{path}name"), "is required"));
        }
        if bad.is_empty() {
            Ok(Self { name, fields })
        } else {
            Err(bad)
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The caller's own id of the subject.
    pub(super) fn external_id(&self) -> Option<&str> {
        text(&self.fields, "external_id")
    }
}

/// The refusal of a subject with these bad fields (Kora docs: error-codes).
pub(super) fn invalid_subject(details: Vec<Detail>) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "INVALID_SUBJECT",
        "A subject needs a type and a name",
    )
    .details(details)
}

/// The string of this name, when there is one and it says something.
pub(super) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let text = fields.get(name)?.as_str()?;
    (!text.trim().is_empty()).then_some(text)
}

/// A subject that the emulator keeps.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) subject_id: String,
    pub(super) profile: Profile,
    created_at: String,
}

impl Subject {
    /// A new subject with an id of its own.
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            subject_id: format!("subj_{}", Uuid::new_v4().simple()),
            profile,
            created_at: now(),
        }
    }

    /// The subject as JSON: the profile's fields, then the emulator's own, which win over equal
    /// names.
    ///
    /// Kora does not document this answer. `subject_id` is named like the other ids.
    pub(super) fn json(&self) -> Value {
        let mut fields = self.profile.fields.clone();
        fields.insert("subject_id".into(), self.subject_id.clone().into());
        fields.insert("risk_band".into(), "LOW".into());
        fields.insert("created_at".into(), self.created_at.clone().into());
        fields.insert("updated_at".into(), self.created_at.clone().into());
        Value::Object(fields)
    }
}
