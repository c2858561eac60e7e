//! The sandbox's test names, and what comes of screening them.
//!
//! The name of the subject decides alone, whatever its type, country or the checks asked for. It
//! must match exactly.

use std::time::Duration;

use serde::Serialize;

/// Every name with a part of its own. All others get [`ORDINARY`].
const NAMES: [(&str, Part); 10] = [
    // Kora's own names (Kora docs: sandbox-testing).
    ("Test Clean User", Part::Decides(CLEAN)),
    ("Test Sanctioned Entity", Part::Decides(SANCTIONED)),
    ("Test PEP Person", Part::Decides(PEP)),
    // The emulator's names, for what Kora has no test name.
    ("Test Monitored User", Part::Decides(MONITORED)),
    ("Test Unknown Decision", Part::Decides(UNDOCUMENTED)),
    ("Test Failed Screening", Part::Fails),
    ("Test Screening Error", Part::BreaksDown),
    ("Test Slow Screening", Part::DecidesAfter(SLOWNESS, CLEAN)),
    (
        "Test Screening Timeout",
        Part::TakesTooLongForSync(ORDINARY),
    ),
    ("Test Rate Limited", Part::RateLimited),
];

/// How long the slow screening takes.
const SLOWNESS: Duration = Duration::from_secs(2);

/// A subject of no note (Kora docs: quickstart has this score and band).
const ORDINARY: Verdict = Verdict {
    risk_score: 150,
    risk_band: "LOW",
    outcome: "APPROVE",
    triggered_rules: &[],
    explanation: "No matches found",
    hit: None,
};

const CLEAN: Verdict = Verdict {
    risk_score: 50,
    ..ORDINARY
};

const MONITORED: Verdict = Verdict {
    risk_score: 350,
    risk_band: "MEDIUM",
    outcome: "APPROVE_WITH_MONITORING",
    triggered_rules: &["ELEVATED_RISK"],
    explanation: "No relevant match, but elevated risk",
    hit: None,
};

const PEP: Verdict = Verdict {
    risk_score: 650,
    risk_band: "HIGH",
    outcome: "REVIEW_REQUIRED",
    triggered_rules: &["PEP_MATCH"],
    explanation: "Strong match on a list of politically exposed persons",
    hit: Some(Hit {
        list: List::Pep,
        source: "OS_GLOBAL_PEP",
        strength: Strength::Strong,
        score: 0.94,
    }),
};

const SANCTIONED: Verdict = Verdict {
    risk_score: 950,
    risk_band: "CRITICAL",
    outcome: "BLOCK",
    triggered_rules: &["SANCTIONS_MATCH"],
    explanation: "Exact match on a sanctions list",
    hit: Some(Hit {
        list: List::Sanctions,
        source: "OFAC_SDN",
        strength: Strength::Exact,
        score: 1.0,
    }),
};

/// A finished screening with an outcome that Kora does not document: nobody may read it as an
/// approval.
const UNDOCUMENTED: Verdict = Verdict {
    risk_score: 400,
    risk_band: "MEDIUM",
    outcome: "ESCALATE_TO_REGULATOR",
    triggered_rules: &["REGULATORY_ESCALATION"],
    explanation: "Escalated to the regulator",
    hit: None,
};

/// What screening a name leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// The screening ends with this verdict.
    Decides(Verdict),
    /// The same, but a SYNC answer comes only after this time.
    DecidesAfter(Duration, Verdict),
    /// A SYNC request is refused with 503 `SCREENING_TIMEOUT`. An ASYNC one ends with this verdict.
    TakesTooLongForSync(Verdict),
    /// The screening ends as `FAILED`, without a decision.
    Fails,
    /// The request is refused with 500 `SCREENING_FAILED`.
    BreaksDown,
    /// The request is refused with 429 `RATE_LIMITED`.
    RateLimited,
}

impl Part {
    /// The part that this name has.
    pub(super) fn of(name: &str) -> Self {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(Self::Decides(ORDINARY), |(_, part)| *part)
    }
}

/// The result of a screening that completed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// 0 to 1000 (Kora docs: risk-scoring).
    pub(super) risk_score: u16,
    pub(super) risk_band: &'static str,
    pub(super) outcome: &'static str,
    pub(super) triggered_rules: &'static [&'static str],
    pub(super) explanation: &'static str,
    pub(super) hit: Option<Hit>,
}

/// A match on a watchlist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) list: List,
    /// Code of the list (Kora docs: watchlist-sources).
    pub(super) source: &'static str,
    pub(super) strength: Strength,
    /// 0 to 1, the composite score (Kora docs: matching-algorithms).
    pub(super) score: f64,
}

/// The kind of list that a match is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Sanctions,
    Pep,
}

/// How close a match is (Kora docs: matching-algorithms).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Strength {
    /// Composite score 1.0.
    Exact,
    /// Composite score of at least 0.92.
    Strong,
}
