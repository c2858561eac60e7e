//! Turns answers into messages.

use jiff::Timestamp;

use super::{
    CheckType, Decision, DecisionOutcome, Match, MatchSummary, Mode, Purpose, RiskBand, Screening,
    ScreeningStatus, Subject, SubjectProfile, SubjectType, fields::object_to_wire,
};
use crate::pb;

impl From<Screening> for pb::Screening {
    fn from(screening: Screening) -> Self {
        let (risk_band, risk_band_code) = risk_band_to_wire(screening.risk_band);
        let matches_omitted = i32::try_from(screening.matches_omitted).unwrap_or(i32::MAX);
        pb::Screening {
            screening_id: screening.screening_id,
            subject_id: screening.subject_id,
            status: pb::ScreeningStatus::from(&screening.status).into(),
            status_code: screening.status.code().to_owned(),
            risk_score: screening.risk_score,
            risk_band,
            risk_band_code,
            decision: screening.decision.map(pb::Decision::from),
            matches: screening.matches.into_iter().map(pb::Match::from).collect(),
            match_summary: screening.match_summary.map(pb::MatchSummary::from),
            mode: pb::ScreeningMode::from(screening.mode).into(),
            purpose: pb::ScreeningPurpose::from(screening.purpose).into(),
            checks: screening
                .checks
                .into_iter()
                .map(|check| pb::CheckType::from(check).into())
                .collect(),
            create_time: screening.create_time.map(timestamp_to_wire),
            complete_time: screening.complete_time.map(timestamp_to_wire),
            kora_request_id: screening.kora_request_id,
            raw_json: screening.raw_json.into(),
            raw_json_omitted: false,
            matches_omitted,
        }
    }
}

impl From<Subject> for pb::Subject {
    fn from(subject: Subject) -> Self {
        let (risk_band, risk_band_code) = risk_band_to_wire(subject.risk_band);
        pb::Subject {
            subject_id: subject.subject_id,
            profile: Some(subject.profile.into()),
            risk_band,
            risk_band_code,
            create_time: subject.create_time.map(timestamp_to_wire),
            update_time: subject.update_time.map(timestamp_to_wire),
            profile_omitted: false,
        }
    }
}

impl From<SubjectProfile> for pb::SubjectProfile {
    fn from(profile: SubjectProfile) -> Self {
        let kind = match profile.kind {
            None => pb::SubjectType::Unspecified,
            Some(SubjectType::Individual) => pb::SubjectType::Individual,
            Some(SubjectType::Entity) => pb::SubjectType::Entity,
        };
        let identifiers = profile
            .identifiers
            .into_iter()
            .map(|identifier| pb::Identifier {
                r#type: identifier.kind,
                value: identifier.value,
                country: identifier.country,
            });
        pb::SubjectProfile {
            r#type: kind.into(),
            name: profile.name,
            date_of_birth: profile.date_of_birth,
            nationality: profile.nationality,
            country: profile.country,
            identifiers: identifiers.collect(),
            external_id: profile.external_id,
            additional_fields: match profile.additional_fields.is_empty() {
                true => None,
                false => Some(object_to_wire(profile.additional_fields)),
            },
        }
    }
}

impl From<Decision> for pb::Decision {
    fn from(decision: Decision) -> Self {
        pb::Decision {
            outcome: pb::Outcome::from(&decision.outcome).into(),
            outcome_code: decision.outcome.code().to_owned(),
            triggered_rules: decision.triggered_rules,
            explanation: decision.explanation,
            explanation_truncated: false,
            triggered_rules_truncated: false,
        }
    }
}

impl From<&DecisionOutcome> for pb::Outcome {
    fn from(outcome: &DecisionOutcome) -> Self {
        match outcome {
            DecisionOutcome::Approve => pb::Outcome::Approve,
            DecisionOutcome::ApproveWithMonitoring => pb::Outcome::ApproveWithMonitoring,
            DecisionOutcome::ReviewRequired => pb::Outcome::ReviewRequired,
            DecisionOutcome::Block => pb::Outcome::Block,
            DecisionOutcome::Unrecognized(_) => pb::Outcome::Unrecognized,
        }
    }
}

impl From<&ScreeningStatus> for pb::ScreeningStatus {
    fn from(status: &ScreeningStatus) -> Self {
        match status {
            ScreeningStatus::Pending | ScreeningStatus::PendingUnsaid => {
                pb::ScreeningStatus::Pending
            }
            ScreeningStatus::InProgress => pb::ScreeningStatus::InProgress,
            ScreeningStatus::Completed => pb::ScreeningStatus::Completed,
            ScreeningStatus::Failed => pb::ScreeningStatus::Failed,
            ScreeningStatus::Unrecognized(_) => pb::ScreeningStatus::Unrecognized,
        }
    }
}

impl From<Match> for pb::Match {
    fn from(found: Match) -> Self {
        pb::Match {
            match_id: found.match_id,
            source: found.source,
            score: found.score,
            strength: found.strength,
            fields: Some(object_to_wire(found.fields)),
            fields_omitted: false,
        }
    }
}

impl From<MatchSummary> for pb::MatchSummary {
    fn from(summary: MatchSummary) -> Self {
        pb::MatchSummary {
            total_matches: summary.total_matches,
            sanctions_matches: summary.sanctions_matches,
            pep_matches: summary.pep_matches,
            adverse_media_matches: summary.adverse_media_matches,
            exact_matches: summary.exact_matches,
            strong_matches: summary.strong_matches,
            possible_matches: summary.possible_matches,
            other: summary.other.into_iter().collect(),
        }
    }
}

impl From<Option<Mode>> for pb::ScreeningMode {
    fn from(mode: Option<Mode>) -> Self {
        match mode {
            None => pb::ScreeningMode::Unspecified,
            Some(Mode::Sync) => pb::ScreeningMode::Sync,
            Some(Mode::Async) => pb::ScreeningMode::Async,
        }
    }
}

impl From<Option<Purpose>> for pb::ScreeningPurpose {
    fn from(purpose: Option<Purpose>) -> Self {
        match purpose {
            None => pb::ScreeningPurpose::Unspecified,
            Some(Purpose::Onboarding) => pb::ScreeningPurpose::Onboarding,
            Some(Purpose::Periodic) => pb::ScreeningPurpose::Periodic,
        }
    }
}

impl From<CheckType> for pb::CheckType {
    fn from(check: CheckType) -> Self {
        match check {
            CheckType::Sanctions => pb::CheckType::Sanctions,
            CheckType::Pep => pb::CheckType::Pep,
            CheckType::AdverseMedia => pb::CheckType::AdverseMedia,
        }
    }
}

/// The band's value and its word.
pub fn risk_band_to_wire(band: Option<RiskBand>) -> (i32, String) {
    let wire = match &band {
        None => pb::RiskBand::Unspecified,
        Some(RiskBand::Low) => pb::RiskBand::Low,
        Some(RiskBand::Medium) => pb::RiskBand::Medium,
        Some(RiskBand::High) => pb::RiskBand::High,
        Some(RiskBand::Critical) => pb::RiskBand::Critical,
        Some(RiskBand::Unrecognized(_)) => pb::RiskBand::Unrecognized,
    };
    let code = band.as_ref().map_or("", RiskBand::code).to_owned();
    (wire.into(), code)
}

/// A time as protobuf counts it.
pub fn timestamp_to_wire(time: Timestamp) -> prost_types::Timestamp {
    // Protobuf's nanoseconds count forward even before 1970.
    let nanoseconds = time.as_nanosecond();
    let per_second = 1_000_000_000;
    prost_types::Timestamp {
        seconds: i64::try_from(nanoseconds.div_euclid(per_second))
            .expect("a jiff timestamp's seconds fit in 64 bits"),
        nanos: i32::try_from(nanoseconds.rem_euclid(per_second))
            .expect("a remainder below 10^9 fits in 32 bits"),
    }
}
