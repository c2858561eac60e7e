//! Screenings and subjects: what they are, which requests are valid, and how they travel over gRPC.
//!
//! A request comes in as a protobuf message and leaves this room as a domain type that is known to be
//! valid. An answer comes from Kora as a domain type and leaves as a protobuf message. What Kora's JSON
//! looks like is the business of [`crate::kora`].

mod fields;
mod request;
mod result;
mod rules;
mod subject;
mod to_wire;
mod validation;

pub use fields::{JsonObject, SCREEN_FIELDS, SUBJECT_FIELDS, names_the_same_field};
pub use request::{
    CheckType, CreateSubject, GetScreening, GetSubject, Mode, Party, Purpose, ScreenRequest,
};
pub use result::{
    Decision, DecisionOutcome, Match, MatchSummary, RiskBand, Screening, ScreeningStatus,
};
pub use rules::MAX_ID_BYTES;
pub use subject::{Identifier, Subject, SubjectProfile, SubjectType};
