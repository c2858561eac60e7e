//! The content of the events that have a message of their own.
//!
//! An event whose ids, status or decision cannot be read, or contradict themselves, has no payload: a half of it could
//! read as an approval. Other fields in an odd form are left out.

use super::{
    envelope::{Data, Detail},
    parse_cost::parse_cost,
};
use crate::{
    event::{Keys, Payload, SCREENING_COMPLETED as COMPLETED, SCREENING_FAILED as FAILED},
    screening::{
        JsonObject, KoraObject, Match, OddFields, Screening, ScreeningStatus, Unreadable,
        risk_band, risk_score,
    },
};

/// The events of a screening begin so.
const SCREENING_GROUP: &str = "screening.";
const MATCH_FOUND: &str = "screening.match_found";
const MATCH_RESOLVED: &str = "screening.match_resolved";
const STARTED: &str = "screening.started";
const RISK_THRESHOLD_BREACHED: &str = "risk.threshold_breached";

/// Why what it says cannot be used.
pub(super) enum Dropped {
    /// It cannot be read, or does not fit the event.
    Unreadable,
    /// It says one thing in two spellings, and not the same.
    Contradictory,
    /// Reading it would take more memory than there is for it.
    TooLarge,
}

/// How much memory the rest of a screening may take to be read, without its matches.
const MAX_REDUCED_COST: usize = 8 << 20;

impl From<Unreadable> for Dropped {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Contradicted { .. } => Dropped::Contradictory,
            _ => Dropped::Unreadable,
        }
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
    detail: Detail,
    odd: &mut OddFields,
) -> Result<Option<Payload>, Dropped> {
    let data = match data {
        Data::None => return Ok(None),
        Data::Contradictory => return Err(Dropped::Unreadable),
        Data::Object(data) => data,
    };
    match keys.kind.as_str() {
        STARTED | COMPLETED | FAILED | MATCH_RESOLVED => {
            screening(keys, data, detail, odd).map(Some)
        }
        MATCH_FOUND | RISK_THRESHOLD_BREACHED if detail == Detail::Reduced => {
            Err(Dropped::TooLarge)
        }
        MATCH_FOUND => found(keys, data),
        RISK_THRESHOLD_BREACHED => {
            let fields = envelope
                .field::<JsonObject>("data")?
                .ok_or(Dropped::Unreadable)?;
            Ok(Some(Payload::RiskThreshold {
                subject_id: keys.subject_id.clone(),
                risk_score: risk_score(data, odd),
                risk_band: risk_band(data, odd),
                fields,
            }))
        }
        // Whatever else Kora may come to send about screenings: what it means is not known.
        _ => Ok(None),
    }
}

fn found(keys: &Keys, data: &KoraObject<'_>) -> Result<Option<Payload>, Dropped> {
    // First read as an object that must not repeat a key.
    if data.object("match")?.is_none() {
        return Ok(None);
    }
    let element = data
        .field::<JsonObject>("match")?
        .ok_or(Dropped::Unreadable)?;
    Ok(Some(Payload::Match {
        screening_id: keys.screening_id.clone(),
        found: Match::from_kora(element),
    }))
}

fn screening(
    keys: &Keys,
    data: &KoraObject<'_>,
    detail: Detail,
    odd: &mut OddFields,
) -> Result<Payload, Dropped> {
    if detail == Detail::Full {
        return screening_of(keys, data, odd).map(|screening| Payload::Screening(screening.into()));
    }
    let (rest, omitted) = data.without_list("matches");
    let cost = rest
        .fields()
        .map(|(_, raw)| parse_cost(raw.get().as_bytes()));
    if cost.sum::<usize>() > MAX_REDUCED_COST {
        return Err(Dropped::TooLarge);
    }
    let mut screening = screening_of(keys, &rest, odd)?;
    screening.matches_omitted = omitted;
    Ok(Payload::Screening(screening.into()))
}

fn screening_of(
    keys: &Keys,
    data: &KoraObject<'_>,
    odd: &mut OddFields,
) -> Result<Screening, Dropped> {
    let told = match keys.kind.as_str() {
        STARTED => Some(ScreeningStatus::InProgress),
        COMPLETED => Some(ScreeningStatus::Completed),
        FAILED => Some(ScreeningStatus::Failed),
        _ => None,
    };
    let mut screening = Screening::from_kora(data, told)?;
    odd.extend(screening.odd_fields.clone());
    if screening.screening_id != keys.screening_id {
        return Err(Dropped::Unreadable);
    }
    if screening.decision.is_some() {
        match keys.kind.as_str() {
            COMPLETED => {}
            // What was decided may be the match.
            MATCH_RESOLVED => screening.decision = None,
            _ => return Err(Dropped::Unreadable),
        }
    }
    screening.subject_id.clone_from(&keys.subject_id);
    Ok(screening)
}
