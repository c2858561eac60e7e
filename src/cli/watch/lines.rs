//! An event, and what a stream says of itself, in one line each.

use jiff::Timestamp;

use super::super::print::{NO_DECISION, decision, plain, short};
use crate::pb::{self, event::Payload};

/// When the gateway received it, what it is, what it is about, and what it says. Never a name: of a match
/// there are only its list and its score.
pub(super) fn event(event: &pb::Event) -> String {
    let mut line = format!("{} {}", time(event.receive_time.as_ref()), event.r#type);
    for (name, id) in [
        ("event", &event.event_id),
        ("screening", &event.screening_id),
        ("subject", &event.subject_id),
        ("case", &event.case_id),
        ("batch", &event.batch_id),
        ("supersedes", &event.supersedes_event_id),
    ] {
        if !id.is_empty() {
            line.push_str(&format!(" {name}={id}"));
        }
    }
    if event.source() == pb::EventSource::Reconciled {
        line.push_str(" (read from Kora)");
    }
    let says = match &event.payload {
        Some(Payload::ScreeningUpdate(update)) => update.screening.as_ref().map(screening),
        Some(Payload::MatchFound(found)) => found.r#match.as_ref().map(found_match),
        Some(Payload::RiskThresholdBreached(breach)) => Some(risk(
            breach.risk_score,
            breach.risk_band(),
            &breach.risk_band_code,
        )),
        None => None,
    };
    let says = says.unwrap_or_else(|| "no details".to_owned());
    plain(&format!("{line}: {says}"))
}

/// What is missing.
pub(super) fn gap(gap: &pb::Gap) -> String {
    let why = match gap.reason() {
        pb::GapReason::Foreign => "the token is of another event log",
        pb::GapReason::Expired => "they are older than what is kept",
        pb::GapReason::Unspecified => "the gateway does not say why",
    };
    let (from, to) = (&gap.from_token, &gap.to_token);
    plain(&format!(
        "events are missing, because {why}: those after {from} up to {to}"
    ))
}

fn screening(screening: &pb::Screening) -> String {
    let status = match screening.status() {
        pb::ScreeningStatus::Unrecognized => format!("{} (unknown word)", screening.status_code),
        status => short(status.as_str_name(), "SCREENING_STATUS_").to_owned(),
    };
    // Only a completed screening has a decision, whatever else stands in the message.
    let decision = match screening.status() {
        pb::ScreeningStatus::Completed => decision(screening),
        _ => NO_DECISION.to_owned(),
    };
    let band = screening.risk_band();
    if screening.risk_score.is_none() && band == pb::RiskBand::Unspecified {
        return format!("{status}, decision {decision}");
    }
    let risk = risk(screening.risk_score, band, &screening.risk_band_code);
    format!("{status}, decision {decision}, {risk}")
}

fn found_match(found: &pb::Match) -> String {
    let source = match found.source.as_str() {
        "" => "a list without a name",
        source => source,
    };
    let mut says = format!("match on {source}");
    if let Some(score) = found.score {
        says.push_str(&format!(", score {score}"));
    }
    if !found.strength.is_empty() {
        says.push_str(&format!(", {}", found.strength));
    }
    says
}

fn risk(score: Option<i32>, band: pb::RiskBand, code: &str) -> String {
    let score = score.map_or_else(|| "without a score".to_owned(), |score| score.to_string());
    match band {
        pb::RiskBand::Unspecified => format!("risk {score}"),
        pb::RiskBand::Unrecognized => format!("risk {score} {code} (unknown word)"),
        band => format!("risk {score} {}", short(band.as_str_name(), "RISK_BAND_")),
    }
}

/// In UTC, to the millisecond.
fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
        .map_or_else(|| "no-time".to_owned(), |time| format!("{time:.3}"))
}
