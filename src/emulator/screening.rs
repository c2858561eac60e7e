//! A screening: how it moves on, and what it ends with.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::ledger::now;
use super::sandbox::{Hit, List, Strength, Verdict};
use super::screening_request::{Mode, Terms};

/// What a screening ends with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// `COMPLETED`, with a decision.
    Decided(Verdict),
    /// `FAILED`, without one.
    Failed,
}

/// Where a screening stands (Kora docs: screening-flow).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Status {
    Pending,
    InProgress,
    Completed,
    Failed,
}

/// A screening that the emulator keeps.
#[derive(Clone)]
pub(super) struct Screening {
    pub(super) screening_id: String,
    subject_id: String,
    subject_name: String,
    terms: Terms,
    ending: Ending,
    status: Status,
    asked: bool,
    created_at: String,
    completed_at: Option<String>,
}

impl Screening {
    /// A new screening with an id of its own. A SYNC one is over at once, an ASYNC one is pending.
    pub(super) fn new(
        subject_id: String,
        subject_name: String,
        terms: Terms,
        ending: Ending,
    ) -> Self {
        let mut screening = Self {
            screening_id: format!("scr_{}", Uuid::new_v4().simple()),
            subject_id,
            subject_name,
            terms,
            ending,
            status: Status::Pending,
            asked: false,
            created_at: now(),
            completed_at: None,
        };
        if screening.terms.mode == Mode::Sync {
            screening.finish();
        }
        screening
    }

    /// Moves on because somebody asks: the first one to ask sees it pending, the second in
    /// progress, the third over. `true` when it ended right now.
    pub(super) fn ask(&mut self) -> bool {
        match self.status {
            Status::Pending if !self.asked => self.asked = true,
            Status::Pending => self.status = Status::InProgress,
            Status::InProgress => return self.finish(),
            Status::Completed | Status::Failed => {}
        }
        false
    }

    /// Ends. `false`, and nothing changed, when it had ended before.
    pub(super) fn finish(&mut self) -> bool {
        if self.completed_at.is_some() {
            return false;
        }
        self.status = match self.ending {
            Ending::Decided(_) => Status::Completed,
            Ending::Failed => Status::Failed,
        };
        self.completed_at = Some(now());
        true
    }

    /// The screening as JSON. The result is in it from `COMPLETED` on.
    pub(super) fn json(&self) -> Value {
        let result = match (self.status, self.ending) {
            (Status::Completed, Ending::Decided(verdict)) => Some(self.result(&verdict)),
            _ => None,
        };
        let answer = Answer {
            screening_id: &self.screening_id,
            subject_id: &self.subject_id,
            status: self.status,
            terms: &self.terms,
            result,
            created_at: &self.created_at,
            completed_at: self.completed_at.as_deref(),
        };
        serde_json::to_value(answer).expect("an answer has string keys and finite numbers")
    }

    /// The screening as a 202 shows it: its id and its status (Kora docs: screening-flow).
    pub(super) fn receipt(&self) -> Value {
        serde_json::json!({ "screening_id": self.screening_id, "status": self.status })
    }

    fn result(&self, verdict: &Verdict) -> ResultBody<'_> {
        ResultBody {
            risk_score: verdict.risk_score,
            risk_band: verdict.risk_band,
            decision: Decision {
                outcome: verdict.outcome,
                triggered_rules: verdict.triggered_rules,
                explanation: verdict.explanation,
            },
            matches: verdict.hit.iter().map(|hit| self.matched(hit)).collect(),
            match_summary: MatchSummary::of(verdict.hit),
        }
    }

    fn matched(&self, hit: &Hit) -> Match<'_> {
        Match {
            // Made of the screening's id, so that it is the same whenever the screening is read.
            match_id: self.screening_id.replacen("scr_", "mat_", 1),
            source: hit.source,
            strength: hit.strength,
            score: hit.score,
            matched_name: &self.subject_name,
        }
    }
}

/// The whole answer (Kora docs: quickstart). Kora does not show the fields of `terms` and the
/// times.
#[derive(Serialize)]
struct Answer<'a> {
    screening_id: &'a str,
    subject_id: &'a str,
    status: Status,
    #[serde(flatten)]
    terms: &'a Terms,
    #[serde(flatten)]
    result: Option<ResultBody<'a>>,
    created_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<&'a str>,
}

#[derive(Serialize)]
struct ResultBody<'a> {
    risk_score: u16,
    risk_band: &'static str,
    decision: Decision,
    matches: Vec<Match<'a>>,
    match_summary: MatchSummary,
}

#[derive(Serialize)]
struct Decision {
    outcome: &'static str,
    triggered_rules: &'static [&'static str],
    explanation: &'static str,
}

/// An element of `matches`. Kora documents that a match has a source and a score, and not the other
/// names.
#[derive(Serialize)]
struct Match<'a> {
    match_id: String,
    source: &'static str,
    strength: Strength,
    score: f64,
    matched_name: &'a str,
}

#[derive(Serialize)]
struct MatchSummary {
    total_matches: usize,
    sanctions_matches: usize,
    pep_matches: usize,
    exact_matches: usize,
    strong_matches: usize,
}

impl MatchSummary {
    fn of(hit: Option<Hit>) -> Self {
        let count = |counts: fn(&Hit) -> bool| usize::from(hit.as_ref().is_some_and(counts));
        Self {
            total_matches: count(|_| true),
            sanctions_matches: count(|hit| hit.list == List::Sanctions),
            pep_matches: count(|hit| hit.list == List::Pep),
            exact_matches: count(|hit| hit.strength == Strength::Exact),
            strong_matches: count(|hit| hit.strength == Strength::Strong),
        }
    }
}
