//! What Kora found out.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;

use super::{CheckType, JsonObject, Mode, OddFields, Purpose};

/// How far a screening is.
#[derive(Clone, PartialEq, Eq)]
pub enum ScreeningStatus {
    /// Taken, not begun.
    Pending,
    /// Taken, and Kora sent nothing but an id.
    PendingUnsaid,
    /// Begun.
    InProgress,
    /// Finished.
    Completed,
    /// Given up.
    Failed,
    /// A word that is not documented.
    Unrecognized(String),
}

/// The band of a risk.
#[derive(Clone, PartialEq, Eq)]
pub enum RiskBand {
    /// Typically a score of 0 to 250.
    Low,
    /// Typically 251 to 500.
    Medium,
    /// Typically 501 to 750.
    High,
    /// Typically 751 to 1000.
    Critical,
    /// A word that is not documented.
    Unrecognized(String),
}

/// What Kora decided. Only the first two let a customer in.
#[derive(Clone, PartialEq, Eq)]
pub enum DecisionOutcome {
    /// Go on.
    Approve,
    /// Go on, and watch.
    ApproveWithMonitoring,
    /// A person must look.
    ReviewRequired,
    /// Deny.
    Block,
    /// A word that is not documented. Not an approval.
    Unrecognized(String),
}

/// Kora's decision.
#[derive(Clone, PartialEq)]
pub struct Decision {
    /// What to do.
    pub outcome: DecisionOutcome,
    /// The rules that led to it.
    pub triggered_rules: Vec<String>,
    /// For people. It can hold personal data.
    pub explanation: String,
}

/// A list entry that resembles the party.
#[derive(Clone, PartialEq)]
pub struct Match {
    /// Kora's id of it; empty where there is none.
    pub match_id: String,
    /// The list; empty where Kora named none.
    pub source: String,
    /// On Kora's own scale.
    pub score: Option<f64>,
    /// In Kora's words; empty where there is none.
    pub strength: String,
    /// The whole element.
    pub fields: JsonObject,
}

/// Kora's count of the matches; `None` where Kora did not count.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MatchSummary {
    /// All.
    pub total_matches: Option<i32>,
    /// On sanctions lists.
    pub sanctions_matches: Option<i32>,
    /// On lists of politically exposed persons.
    pub pep_matches: Option<i32>,
    /// In adverse media.
    pub adverse_media_matches: Option<i32>,
    /// Of strength EXACT.
    pub exact_matches: Option<i32>,
    /// Of strength STRONG.
    pub strong_matches: Option<i32>,
    /// Of strength POSSIBLE.
    pub possible_matches: Option<i32>,
    /// Whole-number counts without a field here, by Kora's name.
    pub other: Vec<(String, i64)>,
}

/// A screening as Kora has it.
#[derive(Clone, PartialEq)]
pub struct Screening {
    /// Kora's id.
    pub screening_id: String,
    /// Kora's id of the subject; empty where it is not known.
    pub subject_id: String,
    /// How far it is.
    pub status: ScreeningStatus,
    /// 0 to 1000.
    pub risk_score: Option<i32>,
    /// The risk's band.
    pub risk_band: Option<RiskBand>,
    /// Only when completed.
    pub decision: Option<Decision>,
    /// What was found.
    pub matches: Vec<Match>,
    /// How many entries of Kora's list of matches could not be read.
    pub matches_omitted: u32,
    /// Kora's count of it.
    pub match_summary: Option<MatchSummary>,
    /// The mode, where known.
    pub mode: Option<Mode>,
    /// The purpose, where known.
    pub purpose: Option<Purpose>,
    /// The checks that are known.
    pub checks: Vec<CheckType>,
    /// When Kora created it.
    pub create_time: Option<Timestamp>,
    /// When Kora finished it.
    pub complete_time: Option<Timestamp>,
    /// Kora's id of the HTTP request that answered; empty where there is none.
    pub kora_request_id: String,
    /// Kora's body; empty unless asked for.
    pub raw_json: Bytes,
    /// The optional fields that were left out, because they could not be read.
    pub odd_fields: OddFields,
}

impl ScreeningStatus {
    /// Reads Kora's word, letter for letter (Kora docs: screening-flow).
    pub fn from_code(code: &str) -> Self {
        match code {
            "PENDING" => ScreeningStatus::Pending,
            "IN_PROGRESS" => ScreeningStatus::InProgress,
            "COMPLETED" => ScreeningStatus::Completed,
            "FAILED" => ScreeningStatus::Failed,
            other => ScreeningStatus::Unrecognized(other.to_owned()),
        }
    }

    /// Whether Kora has nothing more to say of it.
    pub fn is_final(&self) -> bool {
        matches!(self, ScreeningStatus::Completed | ScreeningStatus::Failed)
    }

    /// Kora's word; empty where Kora sent none.
    pub fn code(&self) -> &str {
        match self {
            ScreeningStatus::PendingUnsaid => "",
            ScreeningStatus::Pending => "PENDING",
            ScreeningStatus::InProgress => "IN_PROGRESS",
            ScreeningStatus::Completed => "COMPLETED",
            ScreeningStatus::Failed => "FAILED",
            ScreeningStatus::Unrecognized(code) => code,
        }
    }
}

impl RiskBand {
    /// Reads Kora's word (Kora docs: risk-scoring).
    pub fn from_code(code: &str) -> Self {
        match code {
            "LOW" => RiskBand::Low,
            "MEDIUM" => RiskBand::Medium,
            "HIGH" => RiskBand::High,
            "CRITICAL" => RiskBand::Critical,
            other => RiskBand::Unrecognized(other.to_owned()),
        }
    }

    /// Kora's word.
    pub fn code(&self) -> &str {
        match self {
            RiskBand::Low => "LOW",
            RiskBand::Medium => "MEDIUM",
            RiskBand::High => "HIGH",
            RiskBand::Critical => "CRITICAL",
            RiskBand::Unrecognized(code) => code,
        }
    }
}

impl DecisionOutcome {
    /// Reads Kora's word, byte for byte: no trimming, no change of case (Kora docs: risk-scoring).
    pub fn from_code(code: &str) -> Self {
        match code {
            "APPROVE" => DecisionOutcome::Approve,
            "APPROVE_WITH_MONITORING" => DecisionOutcome::ApproveWithMonitoring,
            "REVIEW_REQUIRED" => DecisionOutcome::ReviewRequired,
            "BLOCK" => DecisionOutcome::Block,
            other => DecisionOutcome::Unrecognized(other.to_owned()),
        }
    }

    /// Kora's word.
    pub fn code(&self) -> &str {
        match self {
            DecisionOutcome::Approve => "APPROVE",
            DecisionOutcome::ApproveWithMonitoring => "APPROVE_WITH_MONITORING",
            DecisionOutcome::ReviewRequired => "REVIEW_REQUIRED",
            DecisionOutcome::Block => "BLOCK",
            DecisionOutcome::Unrecognized(code) => code,
        }
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Decision")
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Match {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Match(..)")
    }
}

impl fmt::Debug for Screening {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Screening")
            .field("screening_id", &self.screening_id)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// A word that is not documented can be anything.
const UNRECOGNIZED: &str = "Unrecognized(..)";

impl fmt::Debug for ScreeningStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            ScreeningStatus::Pending => "Pending",
            ScreeningStatus::PendingUnsaid => "PendingUnsaid",
            ScreeningStatus::InProgress => "InProgress",
            ScreeningStatus::Completed => "Completed",
            ScreeningStatus::Failed => "Failed",
            ScreeningStatus::Unrecognized(_) => UNRECOGNIZED,
        })
    }
}

impl fmt::Debug for RiskBand {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            RiskBand::Low => "Low",
            RiskBand::Medium => "Medium",
            RiskBand::High => "High",
            RiskBand::Critical => "Critical",
            RiskBand::Unrecognized(_) => UNRECOGNIZED,
        })
    }
}

impl fmt::Debug for DecisionOutcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            DecisionOutcome::Approve => "Approve",
            DecisionOutcome::ApproveWithMonitoring => "ApproveWithMonitoring",
            DecisionOutcome::ReviewRequired => "ReviewRequired",
            DecisionOutcome::Block => "Block",
            DecisionOutcome::Unrecognized(_) => UNRECOGNIZED,
        })
    }
}

impl fmt::Debug for MatchSummary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("MatchSummary")
            .field("total_matches", &self.total_matches)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kora_wrote_is_not_printed() {
        let text = || "MARKER".to_owned();
        for printed in [
            format!("{:?}", ScreeningStatus::Unrecognized(text())),
            format!("{:?}", RiskBand::Unrecognized(text())),
            format!("{:?}", DecisionOutcome::Unrecognized(text())),
            format!(
                "{:?}",
                MatchSummary {
                    other: vec![(text(), 1)],
                    ..MatchSummary::default()
                }
            ),
            format!(
                "{:?}",
                Decision {
                    outcome: DecisionOutcome::Unrecognized(text()),
                    triggered_rules: vec![text()],
                    explanation: text(),
                }
            ),
            format!(
                "{:?}",
                Match {
                    match_id: text(),
                    source: text(),
                    score: None,
                    strength: text(),
                    fields: JsonObject::new(),
                }
            ),
        ] {
            assert!(!printed.contains("MARKER"), "{printed}");
        }
        assert_eq!(format!("{:?}", ScreeningStatus::Completed), "Completed");
    }
}
