//! The content of the events that have a message of their own.
//!
//! Whole or not at all: what cannot be read, or contradicts itself, leaves an event without a payload. A half
//! of it could read as an approval.

use super::envelope::Data;
use crate::{
    event::{Keys, Payload, SCREENING_COMPLETED as COMPLETED, SCREENING_FAILED as FAILED},
    screening::{
        JsonObject, KoraObject, Match, Screening, ScreeningStatus, Unreadable, risk_band,
        risk_score,
    },
};

/// The events of a screening begin so.
const SCREENING_GROUP: &str = "screening.";
const MATCH_FOUND: &str = "screening.match_found";
const MATCH_RESOLVED: &str = "screening.match_resolved";
const STARTED: &str = "screening.started";
const RISK_THRESHOLD_BREACHED: &str = "risk.threshold_breached";

/// What it says cannot be used.
pub(super) struct Dropped;

impl From<Unreadable> for Dropped {
    fn from(_: Unreadable) -> Self {
        Dropped
    }
}

/// Whether the events of this name are about a screening as a whole: an `id` in their data is the screening's.
pub(super) fn is_about_screening(name: &str) -> bool {
    name.starts_with(SCREENING_GROUP) && !matches!(name, MATCH_FOUND | MATCH_RESOLVED)
}

/// Reads the payload; none where the event has none.
///
/// # Errors
/// If it has one that cannot be used.
pub(super) fn read(
    keys: &Keys,
    envelope: &KoraObject<'_>,
    data: &Data<'_>,
) -> Result<Option<Payload>, Dropped> {
    let data = match data {
        Data::None => return Ok(None),
        Data::Contradictory => return Err(Dropped),
        Data::Object(data) => data,
    };
    match keys.kind.as_str() {
        MATCH_FOUND => found(keys, data),
        RISK_THRESHOLD_BREACHED => {
            let fields = envelope.field::<JsonObject>("data")?.ok_or(Dropped)?;
            Ok(Some(Payload::RiskThreshold {
                subject_id: keys.subject_id.clone(),
                risk_score: risk_score(data)?,
                risk_band: risk_band(data)?,
                fields,
            }))
        }
        STARTED | COMPLETED | FAILED | MATCH_RESOLVED => screening(keys, data).map(Some),
        // Whatever else Kora may come to send about screenings: what it means is not known.
        _ => Ok(None),
    }
}

fn found(keys: &Keys, data: &KoraObject<'_>) -> Result<Option<Payload>, Dropped> {
    // First read as an object that must not repeat a key.
    if data.object("match")?.is_none() {
        return Ok(None);
    }
    let element = data.field::<JsonObject>("match")?.ok_or(Dropped)?;
    Ok(Some(Payload::Match {
        screening_id: keys.screening_id.clone(),
        found: Match::from_kora(element),
    }))
}

fn screening(keys: &Keys, data: &KoraObject<'_>) -> Result<Payload, Dropped> {
    let told = match keys.kind.as_str() {
        STARTED => Some(ScreeningStatus::InProgress),
        COMPLETED => Some(ScreeningStatus::Completed),
        FAILED => Some(ScreeningStatus::Failed),
        _ => None,
    };
    let mut screening = Screening::from_kora(data, told)?;
    if screening.screening_id != keys.screening_id {
        return Err(Dropped);
    }
    if screening.decision.is_some() {
        match keys.kind.as_str() {
            COMPLETED => {}
            // What was decided may be the match.
            MATCH_RESOLVED => screening.decision = None,
            _ => return Err(Dropped),
        }
    }
    screening.subject_id.clone_from(&keys.subject_id);
    Ok(Payload::Screening(Box::new(screening)))
}
