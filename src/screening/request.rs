//! What a caller asks for, once it is known to be valid.

use std::fmt;

use uuid::Uuid;

use super::{JsonObject, SubjectProfile};
use crate::error::Violation;

/// Whether the caller waits for the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The result comes in the answer.
    Sync,
    /// The answer comes at once; the result later.
    Async,
}

/// What to do when Kora gives up on a SYNC screening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutPolicy {
    /// Say so.
    Fail,
    /// Submit it again as ASYNC, and wait for its event.
    ContinueAsync,
}

/// Why a party is screened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new customer.
    Onboarding,
    /// A customer screened again.
    Periodic,
}

/// What a party is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckType {
    /// Sanctions lists.
    Sanctions,
    /// Politically exposed persons.
    Pep,
    /// Adverse media.
    AdverseMedia,
}

/// Who is screened.
#[derive(Clone, Debug, PartialEq)]
pub enum Party {
    /// A party described in the request.
    Inline(SubjectProfile),
    /// A subject that Kora has, by its id.
    Known(String),
}

/// A valid request for one screening.
#[derive(Clone, PartialEq)]
pub struct ScreenRequest {
    /// Who.
    pub party: Party,
    /// Whether the caller waits.
    pub mode: Mode,
    /// Why; `None` where `additional_fields` says it.
    pub purpose: Option<Purpose>,
    /// Against what; empty where `additional_fields` says it.
    pub checks: Vec<CheckType>,
    /// The caller's id of this request.
    pub request_id: Option<Uuid>,
    /// What to do when Kora gives up on a SYNC screening.
    pub on_timeout: TimeoutPolicy,
    /// Fields of Kora's that have no field here. None of them has the name of one that has.
    pub additional_fields: JsonObject,
    /// What breaks a rule that was added since requests are recorded. Such a request is answered if it is on record,
    /// and never sent.
    pub late_violations: Vec<Violation>,
    /// Whether the answer shall hold Kora's body.
    pub include_raw_json: bool,
}

/// A valid request for a new subject.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSubject {
    /// The particulars.
    pub subject: SubjectProfile,
    /// The caller's id of this request.
    pub request_id: Option<Uuid>,
    /// The same as that of [`ScreenRequest`].
    pub late_violations: Vec<Violation>,
}

/// A valid request for what became of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct GetRequest {
    /// The caller's id of that request.
    pub request_id: Uuid,
}

/// A valid request to read a screening.
#[derive(Clone, Debug, PartialEq)]
pub struct GetScreening {
    /// Kora's id.
    pub screening_id: String,
    /// Whether the answer shall hold Kora's body.
    pub include_raw_json: bool,
}

/// A valid request to read a subject.
#[derive(Clone, Debug, PartialEq)]
pub struct GetSubject {
    /// Kora's id.
    pub subject_id: String,
}

impl Mode {
    /// The word that Kora uses (Kora docs: screening-flow).
    pub fn code(self) -> &'static str {
        match self {
            Mode::Sync => "SYNC",
            Mode::Async => "ASYNC",
        }
    }

    /// The mode of Kora's word, if it is a documented one.
    pub fn from_code(code: &str) -> Option<Self> {
        [Mode::Sync, Mode::Async]
            .into_iter()
            .find(|mode| mode.code() == code)
    }
}

impl Purpose {
    /// The word that Kora uses (Kora docs: server-integration).
    pub fn code(self) -> &'static str {
        match self {
            Purpose::Onboarding => "ONBOARDING",
            Purpose::Periodic => "PERIODIC",
        }
    }

    /// The purpose of Kora's word, if it is a documented one.
    pub fn from_code(code: &str) -> Option<Self> {
        [Purpose::Onboarding, Purpose::Periodic]
            .into_iter()
            .find(|purpose| purpose.code() == code)
    }
}

impl CheckType {
    /// The word that Kora uses (Kora docs: server-integration).
    pub fn code(self) -> &'static str {
        match self {
            CheckType::Sanctions => "SANCTIONS",
            CheckType::Pep => "PEP",
            CheckType::AdverseMedia => "ADVERSE_MEDIA",
        }
    }

    /// The check of Kora's word, if it is a documented one.
    pub fn from_code(code: &str) -> Option<Self> {
        [
            CheckType::Sanctions,
            CheckType::Pep,
            CheckType::AdverseMedia,
        ]
        .into_iter()
        .find(|check| check.code() == code)
    }
}

impl fmt::Debug for ScreenRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ScreenRequest")
            .field("party", &self.party)
            .field("mode", &self.mode)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_about_is_not_printed() {
        let text = || "MARKER".to_owned();
        let subject = || SubjectProfile {
            name: text(),
            external_id: text(),
            ..SubjectProfile::default()
        };
        for printed in [
            format!("{:?}", Party::Inline(subject())),
            format!(
                "{:?}",
                CreateSubject {
                    subject: subject(),
                    request_id: None,
                    late_violations: Vec::new(),
                }
            ),
        ] {
            assert!(!printed.contains("MARKER"), "{printed}");
        }
    }
}
