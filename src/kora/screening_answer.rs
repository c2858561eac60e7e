//! Reads a screening out of Kora's JSON.
//!
//! Here it is decided what may read as an approval: a decision is read only under status COMPLETED, its
//! outcome byte for byte, and an answer that cannot be read, repeats a key or is about another screening
//! is an error. What Kora has not documented (matches, times) is taken where it fits and left out where
//! it does not.

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, value::RawValue};

use super::answer_object::{AnswerObject, Unreadable};
use crate::screening::{
    CheckType, Decision, DecisionOutcome, JsonObject, Match, MatchSummary, Mode, Party, Purpose,
    RiskBand, ScreenRequest, Screening, ScreeningStatus,
};

/// The highest risk score (Kora docs: risk-scoring).
const MAX_RISK_SCORE: f64 = 1000.0;

/// Reads the answer to a new screening. What Kora leaves out is filled in from the request.
pub(super) fn created(
    status: StatusCode,
    body: &Bytes,
    request: &ScreenRequest,
) -> Result<Screening, Unreadable> {
    let answer = AnswerObject::read(body)?;
    // Kora answers an ASYNC screening with 202 and, for certain, no more than its id (Kora docs:
    // screening-flow). A synchronous answer has to say how far it is.
    let may_be_bare = status == StatusCode::ACCEPTED || request.mode == Mode::Async;
    let mut screening = read(&answer, may_be_bare)?;
    if let Party::Known(subject_id) = &request.party {
        if !answer.has("subject_id") {
            screening.subject_id.clone_from(subject_id);
        } else if screening.subject_id != *subject_id {
            return Err(Unreadable::OtherId {
                field: "subject_id",
            });
        }
    }
    screening.mode = screening.mode.or(Some(request.mode));
    screening.purpose = screening.purpose.or(request.purpose);
    if screening.checks.is_empty() {
        screening.checks.clone_from(&request.checks);
    }
    if request.include_raw_json {
        screening.raw_json = body.clone();
    }
    Ok(screening)
}

/// Reads the screening that was asked for by id.
pub(super) fn found(body: &Bytes, screening_id: &str) -> Result<Screening, Unreadable> {
    let screening = read(&AnswerObject::read(body)?, false)?;
    if screening.screening_id != screening_id {
        return Err(Unreadable::OtherId {
            field: "screening_id",
        });
    }
    Ok(screening)
}

fn read(answer: &AnswerObject<'_>, may_be_bare: bool) -> Result<Screening, Unreadable> {
    let status = match answer.field::<String>("status")? {
        Some(code) => ScreeningStatus::from_code(&code),
        None if may_be_bare && !answer.has("decision") => ScreeningStatus::PendingUnsaid,
        None => return Err(Unreadable::Absent { field: "status" }),
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

fn read_decision(decision: &AnswerObject<'_>) -> Result<Decision, Unreadable> {
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

/// An integer in Kora's samples; a float is rounded.
fn risk_score(answer: &AnswerObject<'_>) -> Result<Option<i32>, Unreadable> {
    let score: Option<f64> = answer.field("risk_score")?;
    match score.map(f64::round) {
        None => Ok(None),
        Some(score) if (0.0..=MAX_RISK_SCORE).contains(&score) => Ok(Some(score as i32)),
        Some(_) => Err(Unreadable::Field {
            field: "risk_score",
        }),
    }
}

fn risk_band(answer: &AnswerObject<'_>) -> Result<Option<RiskBand>, Unreadable> {
    let code: Option<String> = answer.field("risk_band")?;
    Ok(code.map(|code| RiskBand::from_code(&code)))
}

fn matches(answer: &AnswerObject<'_>) -> Result<Vec<Match>, Unreadable> {
    let elements: Vec<JsonObject> = answer.field("matches")?.unwrap_or_default();
    let text = |element: &JsonObject, names: [&str; 2]| {
        names
            .iter()
            .find_map(|name| element.get(*name)?.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    Ok(elements
        .into_iter()
        .map(|element| Match {
            match_id: text(&element, ["match_id", "id"]),
            source: text(&element, ["source", "source_code"]),
            score: element.get("score").and_then(Value::as_f64),
            strength: text(&element, ["strength", "match_strength"]),
            fields: element,
        })
        .collect())
}

fn match_summary(answer: &AnswerObject<'_>) -> Result<Option<MatchSummary>, Unreadable> {
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

fn checks(answer: &AnswerObject<'_>) -> Vec<CheckType> {
    let codes: Vec<Value> = answer.field_if_any("checks").unwrap_or_default();
    codes
        .iter()
        .filter_map(|code| CheckType::from_code(code.as_str()?))
        .collect()
}

fn word(answer: &AnswerObject<'_>, field: &str) -> Option<String> {
    answer.text_if_any(field)
}

/// RFC 3339, where it is one.
pub(super) fn time(answer: &AnswerObject<'_>, field: &str) -> Option<Timestamp> {
    answer.text_if_any(field)?.parse().ok()
}
