//! Who is screened.

use std::fmt;

use jiff::Timestamp;

use super::{JsonObject, RiskBand};

/// What kind of party a subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectType {
    /// A natural person.
    Individual,
    /// A company or another organisation.
    Entity,
}

/// A document or registration number.
#[derive(Clone, PartialEq)]
pub struct Identifier {
    /// What the number is; free text.
    pub kind: String,
    /// The number.
    pub value: String,
    /// The country that issued it, two letters.
    pub country: String,
}

/// The particulars of a subject. An empty text means "not known".
#[derive(Clone, Default, PartialEq)]
pub struct SubjectProfile {
    /// Always known in a request; an answer may lack it.
    pub kind: Option<SubjectType>,
    /// The full name.
    pub name: String,
    /// `YYYY-MM-DD`.
    pub date_of_birth: String,
    /// Two letters.
    pub nationality: String,
    /// Two letters.
    pub country: String,
    /// Documents and registration numbers.
    pub identifiers: Vec<Identifier>,
    /// The caller's own id.
    pub external_id: String,
    /// Fields of Kora's that have no field here.
    pub additional_fields: JsonObject,
}

/// A subject as Kora keeps it.
#[derive(Clone, PartialEq)]
pub struct Subject {
    /// Kora's id.
    pub subject_id: String,
    /// The particulars as Kora answered them.
    pub profile: SubjectProfile,
    /// The risk's band, where Kora gave one.
    pub risk_band: Option<RiskBand>,
    /// When Kora created it.
    pub create_time: Option<Timestamp>,
    /// When Kora last changed it.
    pub update_time: Option<Timestamp>,
}

impl SubjectType {
    /// The word that Kora uses (Kora docs: quickstart).
    pub fn code(self) -> &'static str {
        match self {
            SubjectType::Individual => "INDIVIDUAL",
            SubjectType::Entity => "ENTITY",
        }
    }

    /// The type of Kora's word, if it is one of the documented ones.
    pub fn from_code(code: &str) -> Option<Self> {
        [SubjectType::Individual, SubjectType::Entity]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Identifier(..)")
    }
}

impl fmt::Debug for SubjectProfile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SubjectProfile")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Subject")
            .field("subject_id", &self.subject_id)
            .finish_non_exhaustive()
    }
}
