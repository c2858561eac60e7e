//! Reads a screening out of Kora's JSON, of an answer or of an event.
//!
//! Here it is decided what may read as an approval: a decision is read only under status COMPLETED, its
//! outcome byte for byte. Ids, status and outcome are strict: what cannot be read, repeats a key or has a twin with
//! another value is an error. Everything else is left out where it has an odd form, and noted: the result beside it
//! was paid for.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, value::RawValue};

use super::{
    CheckType, Decision, DecisionOutcome, JsonObject, KoraObject, MAX_ID_BYTES, Match,
    MatchSummary, Mode, OddFields, Purpose, RiskBand, Screening, ScreeningStatus, Unreadable,
};

/// How long a word of Kora's may be, in bytes. The documented ones have at most 23.
const MAX_WORD_BYTES: usize = 256;

/// How many counts of a summary are kept that have no field here.
const MAX_OTHER_COUNTS: usize = 64;

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
        let status = status(answer, unsaid)?;
        let mut odd = OddFields::default();
        let decision = match status {
            ScreeningStatus::Completed => decision(answer, &mut odd)?,
            _ => None,
        };
        let (matches, matches_omitted) = matches(answer, &mut odd);
        Ok(Screening {
            screening_id: answer.id("screening_id")?,
            subject_id: subject_id(answer)?,
            status,
            risk_score: risk_score(answer, &mut odd),
            risk_band: risk_band(answer, &mut odd),
            decision,
            matches,
            matches_omitted,
            match_summary: match_summary(answer, &mut odd)?,
            mode: word(answer, "mode", &mut odd).and_then(|code| Mode::from_code(&code)),
            purpose: word(answer, "purpose", &mut odd).and_then(|code| Purpose::from_code(&code)),
            checks: checks(answer, &mut odd),
            create_time: time_or_odd(answer, "created_at", &mut odd),
            complete_time: time_or_odd(answer, "completed_at", &mut odd),
            kora_request_id: String::new(),
            raw_json: Bytes::new(),
            odd_fields: odd,
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

fn status(
    answer: &KoraObject<'_>,
    unsaid: Option<ScreeningStatus>,
) -> Result<ScreeningStatus, Unreadable> {
    let field = "status";
    let status = match answer.field::<String>(field)? {
        Some(code) if code.len() > MAX_WORD_BYTES => return Err(Unreadable::Field { field }),
        Some(code) => ScreeningStatus::from_code(&code),
        None => unsaid.ok_or(Unreadable::Absent { field })?,
    };
    // A twin may not contradict what is only supposed, either.
    answer.twins_say(
        field,
        match &status {
            ScreeningStatus::PendingUnsaid => ScreeningStatus::Pending.code(),
            status => status.code(),
        },
    )?;
    Ok(status)
}

fn decision(answer: &KoraObject<'_>, odd: &mut OddFields) -> Result<Option<Decision>, Unreadable> {
    answer.check_twins("decision")?;
    let Some(decision) = answer.object("decision")? else {
        return Ok(None);
    };
    let field = "outcome";
    decision.check_twins(field)?;
    let outcome: String = decision.field(field)?.ok_or(Unreadable::Absent { field })?;
    if outcome.len() > MAX_WORD_BYTES {
        return Err(Unreadable::Field { field });
    }
    let rules: Vec<Value> = odd.read(&decision, "triggered_rules").unwrap_or_default();
    Ok(Some(Decision {
        outcome: DecisionOutcome::from_code(&outcome),
        triggered_rules: rules.into_iter().map(rule_name).collect(),
        explanation: odd.read(&decision, "explanation").unwrap_or_default(),
    }))
}

/// The subject's id; empty where Kora names none.
fn subject_id(answer: &KoraObject<'_>) -> Result<String, Unreadable> {
    let field = "subject_id";
    answer.check_twins(field)?;
    let id: String = answer.field(field)?.unwrap_or_default();
    if id.len() > MAX_ID_BYTES {
        return Err(Unreadable::Field { field });
    }
    Ok(id)
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

/// The risk score, 0 to 1000: an integer in Kora's samples; a float is rounded. Anything else is left out.
pub fn risk_score(answer: &KoraObject<'_>, odd: &mut OddFields) -> Option<i32> {
    let field = "risk_score";
    let score = odd.read::<f64>(answer, field)?.round();
    let is_score = (0.0..=MAX_RISK_SCORE).contains(&score);
    odd.note_unless(is_score, answer, field);
    is_score.then_some(score as i32)
}

/// The risk's band. What is no word is left out.
pub fn risk_band(answer: &KoraObject<'_>, odd: &mut OddFields) -> Option<RiskBand> {
    word(answer, "risk_band", odd).map(|code| RiskBand::from_code(&code))
}

/// The matches that can be read, and how many cannot. `matches` that are no list count as one.
fn matches(answer: &KoraObject<'_>, odd: &mut OddFields) -> (Vec<Match>, u32) {
    let field = "matches";
    if !answer.has(field) {
        return (Vec::new(), 0);
    }
    let Some(elements) = answer.list_if_any(field) else {
        odd.note(field);
        return (Vec::new(), 1);
    };
    let count = elements.len();
    let matches: Vec<_> = elements
        .into_iter()
        .filter_map(|element| serde_json::from_str(element.get()).ok())
        .map(Match::from_kora)
        .collect();
    let unreadable = count - matches.len();
    if unreadable > 0 {
        odd.note(field);
    }
    (matches, u32::try_from(unreadable).unwrap_or(u32::MAX))
}

/// # Errors
/// If it is an object that repeats a key.
fn match_summary(
    answer: &KoraObject<'_>,
    odd: &mut OddFields,
) -> Result<Option<MatchSummary>, Unreadable> {
    let field = "match_summary";
    if answer.has(field) && !answer.is_object(field) {
        odd.note(field);
        return Ok(None);
    }
    let Some(counts) = answer.object(field)? else {
        return Ok(None);
    };
    let mut summary = MatchSummary::default();
    for (name, raw) in counts.fields() {
        let known = match name {
            "total_matches" => &mut summary.total_matches,
            "sanctions_matches" => &mut summary.sanctions_matches,
            "pep_matches" => &mut summary.pep_matches,
            "adverse_media_matches" => &mut summary.adverse_media_matches,
            "exact_matches" => &mut summary.exact_matches,
            "strong_matches" => &mut summary.strong_matches,
            "possible_matches" => &mut summary.possible_matches,
            _ if name.len() > MAX_WORD_BYTES || summary.other.len() == MAX_OTHER_COUNTS => {
                odd.note(field);
                continue;
            }
            _ => {
                let other = serde_json::from_str(raw.get()).ok();
                summary
                    .other
                    .extend(other.map(|count| (name.to_owned(), count)));
                continue;
            }
        };
        *known = count(raw).unwrap_or_else(|| {
            odd.note(field);
            None
        });
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

/// The checks that are documented, each once.
fn checks(answer: &KoraObject<'_>, odd: &mut OddFields) -> Vec<CheckType> {
    let codes: Vec<Value> = odd.read(answer, "checks").unwrap_or_default();
    let mut checks = Vec::new();
    for code in &codes {
        match code.as_str().and_then(CheckType::from_code) {
            Some(check) if !checks.contains(&check) => checks.push(check),
            _ => {}
        }
    }
    checks
}

fn word(answer: &KoraObject<'_>, field: &'static str, odd: &mut OddFields) -> Option<String> {
    let word: Option<String> = answer
        .text_if_any(field)
        .filter(|word| word.len() <= MAX_WORD_BYTES);
    odd.note_unless(word.is_some(), answer, field);
    word
}

fn time_or_odd(
    answer: &KoraObject<'_>,
    field: &'static str,
    odd: &mut OddFields,
) -> Option<Timestamp> {
    let time = time(answer, field);
    odd.note_unless(time.is_some(), answer, field);
    time
}

/// The field as a time, where it is one (RFC 3339) that callers can be told.
pub fn time(answer: &KoraObject<'_>, field: &str) -> Option<Timestamp> {
    let time = answer.text_if_any(field)?.parse().ok();
    time.filter(|time| *time >= EARLIEST_TIME)
}
