//! Reads a screening out of Kora's JSON, of an answer or of an event.
//!
//! Here it is decided what may read as an approval: a decision is read only under status COMPLETED, its
//! outcome byte for byte, and what cannot be read or repeats a key is an error. What Kora has not documented
//! (matches, times) is taken where it fits and left out where it does not.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, value::RawValue};

use super::{
    CheckType, Decision, DecisionOutcome, JsonObject, KoraObject, Match, MatchSummary, Mode,
    Purpose, RiskBand, Screening, ScreeningStatus, Unreadable,
};

/// The highest risk score (Kora docs: risk-scoring).
const MAX_RISK_SCORE: f64 = 1000.0;

/// 0001-01-01T00:00:00Z, before which a `google.protobuf.Timestamp` tells no time.
const EARLIEST_TIME: Timestamp = Timestamp::constant(-62_135_596_800, 0);

impl Screening {
    /// Reads a screening. `unsaid` is the status where Kora says none; without it there must be one.
    ///
    /// # Errors
    /// What cannot be read. No part of it is used then.
    pub fn from_kora(
        answer: &KoraObject<'_>,
        unsaid: Option<ScreeningStatus>,
    ) -> Result<Self, Unreadable> {
        let status = match answer.field::<String>("status")? {
            Some(code) => ScreeningStatus::from_code(&code),
            None => unsaid.ok_or(Unreadable::Absent { field: "status" })?,
        };
        let decision = match status {
            ScreeningStatus::Completed => answer.object("decision")?,
            _ => None,
        };
        Ok(Screening {
            screening_id: answer.id("screening_id")?,
            subject_id: answer.text_if_any("subject_id").unwrap_or_default(),
            status,
            risk_score: risk_score(answer)?,
            risk_band: risk_band(answer)?,
            decision: decision.as_ref().map(read_decision).transpose()?,
            matches: matches(answer)?,
            match_summary: match_summary(answer)?,
            mode: word(answer, "mode").as_deref().and_then(Mode::from_code),
            purpose: word(answer, "purpose")
                .as_deref()
                .and_then(Purpose::from_code),
            checks: checks(answer),
            create_time: time(answer, "created_at"),
            complete_time: time(answer, "completed_at"),
            kora_request_id: String::new(),
            raw_json: Bytes::new(),
        })
    }
}

impl Match {
    /// Takes what fits out of an element whose shape Kora has not documented, and keeps all of it.
    pub fn from_kora(element: JsonObject) -> Self {
        let text = |names: [&str; 2]| {
            names
                .iter()
                .find_map(|name| element.get(*name)?.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        Match {
            match_id: text(["match_id", "id"]),
            source: text(["source", "source_code"]),
            score: element.get("score").and_then(Value::as_f64),
            strength: text(["strength", "match_strength"]),
            fields: element,
        }
    }
}

fn read_decision(decision: &KoraObject<'_>) -> Result<Decision, Unreadable> {
    let outcome: String = decision
        .field("outcome")?
        .ok_or(Unreadable::Absent { field: "outcome" })?;
    let rules: Vec<Value> = decision.field("triggered_rules")?.unwrap_or_default();
    Ok(Decision {
        outcome: DecisionOutcome::from_code(&outcome),
        triggered_rules: rules.into_iter().map(rule_name).collect(),
        explanation: decision.field("explanation")?.unwrap_or_default(),
    })
}

/// Screenings name their rules by strings, transaction monitoring by objects whose `rule_id` stays the same
/// when their `name` is edited (Kora docs: quickstart, transaction-monitoring). Whatever else comes is kept
/// as its JSON.
fn rule_name(rule: Value) -> String {
    let name = ["rule_id", "name"]
        .iter()
        .find_map(|field| rule.get(field)?.as_str());
    match (name, &rule) {
        (Some(name), _) => name.to_owned(),
        (None, Value::String(name)) => name.clone(),
        (None, other) => other.to_string(),
    }
}

/// The risk score, 0 to 1000: an integer in Kora's samples; a float is rounded.
///
/// # Errors
/// If it is something else.
pub fn risk_score(answer: &KoraObject<'_>) -> Result<Option<i32>, Unreadable> {
    let score: Option<f64> = answer.field("risk_score")?;
    match score.map(f64::round) {
        None => Ok(None),
        Some(score) if (0.0..=MAX_RISK_SCORE).contains(&score) => Ok(Some(score as i32)),
        Some(_) => Err(Unreadable::Field {
            field: "risk_score",
        }),
    }
}

/// The risk's band.
///
/// # Errors
/// If it is no word.
pub fn risk_band(answer: &KoraObject<'_>) -> Result<Option<RiskBand>, Unreadable> {
    let code: Option<String> = answer.field("risk_band")?;
    Ok(code.map(|code| RiskBand::from_code(&code)))
}

fn matches(answer: &KoraObject<'_>) -> Result<Vec<Match>, Unreadable> {
    let elements: Vec<JsonObject> = answer.field("matches")?.unwrap_or_default();
    Ok(elements.into_iter().map(Match::from_kora).collect())
}

fn match_summary(answer: &KoraObject<'_>) -> Result<Option<MatchSummary>, Unreadable> {
    let Some(counts) = answer.object("match_summary")? else {
        return Ok(None);
    };
    let mut summary = MatchSummary::default();
    for (name, raw) in counts.fields() {
        let field = match name {
            "total_matches" => &mut summary.total_matches,
            "sanctions_matches" => &mut summary.sanctions_matches,
            "pep_matches" => &mut summary.pep_matches,
            "adverse_media_matches" => &mut summary.adverse_media_matches,
            "exact_matches" => &mut summary.exact_matches,
            "strong_matches" => &mut summary.strong_matches,
            "possible_matches" => &mut summary.possible_matches,
            _ => {
                let other = serde_json::from_str(raw.get()).ok();
                summary
                    .other
                    .extend(other.map(|count| (name.to_owned(), count)));
                continue;
            }
        };
        *field = count(raw).ok_or(Unreadable::Field {
            field: "match_summary",
        })?;
    }
    Ok(Some(summary))
}

/// A whole number, however it is written; null counts nothing.
fn count(raw: &RawValue) -> Option<Option<i32>> {
    let number: Option<f64> = serde_json::from_str(raw.get()).ok()?;
    let is_count =
        |number: f64| number.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&number);
    match number {
        None => Some(None),
        Some(number) => is_count(number).then_some(Some(number as i32)),
    }
}

fn checks(answer: &KoraObject<'_>) -> Vec<CheckType> {
    let codes: Vec<Value> = answer.field_if_any("checks").unwrap_or_default();
    codes
        .iter()
        .filter_map(|code| CheckType::from_code(code.as_str()?))
        .collect()
}

fn word(answer: &KoraObject<'_>, field: &str) -> Option<String> {
    answer.text_if_any(field)
}

/// The field as a time, where it is one (RFC 3339) that callers can be told.
pub fn time(answer: &KoraObject<'_>, field: &str) -> Option<Timestamp> {
    let time = answer.text_if_any(field)?.parse().ok();
    time.filter(|time| *time >= EARLIEST_TIME)
}
