//! Screenings and subjects: what they are, which requests are valid, and how they travel over gRPC.
//!
//! A request comes in as a protobuf message and leaves this room as a domain type that is known to be
//! valid. What Kora says of a screening is read here once, for answers and for webhooks both, and leaves as
//! a protobuf message. The rest of Kora's JSON is the business of [`crate::kora`] and [`crate::webhook`].

mod cuts;
mod fields;
mod fit;
mod from_kora;
mod kora_object;
mod odd_fields;
mod request;
mod result;
mod rules;
mod subject;
mod to_wire;
mod validation;
mod visible;

pub use cuts::{CutCounter, Cuts, Part, PartLabel};
pub use fields::{JsonObject, SCREEN_FIELDS, SUBJECT_FIELDS, names_the_same_field, object_to_wire};
pub use fit::{MAX_MESSAGE_BYTES, fit_screening, fit_subject};
pub use from_kora::{risk_band, risk_score, time};
pub use kora_object::{KoraObject, Unreadable};
pub use odd_fields::OddFields;
pub use request::{
    CheckType, CreateSubject, GetRequest, GetScreening, GetSubject, Mode, Party, Purpose,
    ScreenRequest, TimeoutPolicy,
};
pub use result::{
    Decision, DecisionOutcome, Match, MatchSummary, RiskBand, Screening, ScreeningStatus,
};
pub use rules::MAX_ID_BYTES;
pub use subject::{Identifier, Subject, SubjectProfile, SubjectType};
pub use to_wire::{risk_band_to_wire, timestamp_to_wire};
