//! What a line says of an event, and what it never says.

use super::super::lines::{event, gap};
use crate::pb::{self, event::Payload};

fn about(r#type: &str, payload: Option<Payload>) -> pb::Event {
    pb::Event {
        event_id: "evt_1".to_owned(),
        r#type: r#type.to_owned(),
        receive_time: Some(prost_types::Timestamp {
            seconds: 1_769_860_800,
            nanos: 1_999_999,
        }),
        payload,
        ..Default::default()
    }
}

fn update(status: pb::ScreeningStatus, decision: Option<pb::Decision>) -> pb::Event {
    let screening = pb::Screening {
        status: status.into(),
        status_code: "ODD".to_owned(),
        decision,
        ..Default::default()
    };
    let update = pb::ScreeningUpdate {
        screening: Some(screening),
    };
    about(
        "screening.completed",
        Some(Payload::ScreeningUpdate(update)),
    )
}

fn decided(outcome: pb::Outcome, code: &str) -> Option<pb::Decision> {
    Some(pb::Decision {
        outcome: outcome.into(),
        outcome_code: code.to_owned(),
        explanation: "Jane Smith is fine".to_owned(),
        ..Default::default()
    })
}

#[test]
fn a_decision_is_told_with_time_type_and_ids() {
    let mut told = update(
        pb::ScreeningStatus::Completed,
        decided(pb::Outcome::Approve, "APPROVE"),
    );
    told.screening_id = "scr_1".to_owned();
    told.subject_id = "sub_1".to_owned();
    told.source = pb::EventSource::Webhook.into();
    assert_eq!(
        event(&told),
        "2026-01-31T12:00:00.001Z screening.completed event=evt_1 screening=scr_1 subject=sub_1: \
         COMPLETED, decision APPROVE: go on"
    );
}

#[test]
fn only_two_outcomes_read_as_go_on() {
    use pb::Outcome::*;
    for (outcome, code) in [
        (ReviewRequired, "REVIEW_REQUIRED"),
        (Block, "BLOCK"),
        (Unrecognized, "approve"),
        (Unspecified, "APPROVE"),
    ] {
        let line = event(&update(
            pb::ScreeningStatus::Completed,
            decided(outcome, code),
        ));
        assert!(line.ends_with("not an approval"), "{line}");
        assert!(!line.contains("go on"), "{line}");
    }
    for (outcome, code) in [
        (Approve, "APPROVE"),
        (ApproveWithMonitoring, "APPROVE_WITH_MONITORING"),
    ] {
        let line = event(&update(
            pb::ScreeningStatus::Completed,
            decided(outcome, code),
        ));
        assert!(line.ends_with(&format!("{code}: go on")), "{line}");
    }
}

#[test]
fn a_screening_that_is_not_completed_has_no_decision() {
    use pb::ScreeningStatus::*;
    for (status, word) in [
        (Pending, "PENDING"),
        (InProgress, "IN_PROGRESS"),
        (Failed, "FAILED"),
        (Unrecognized, "ODD (unknown word)"),
        (Unspecified, "UNSPECIFIED"),
    ] {
        let line = event(&update(status, decided(pb::Outcome::Approve, "APPROVE")));
        let expected = format!(": {word}, decision none yet: not an approval");
        assert!(line.ends_with(&expected), "{line}");
    }
    let line = event(&update(Completed, None));
    assert!(
        line.ends_with("decision none yet: not an approval"),
        "{line}"
    );
}

#[test]
fn a_match_is_its_list_and_its_score_and_no_name() {
    let name = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(
            "Jane Smith".to_owned(),
        )),
    };
    let mut found = pb::MatchFound {
        screening_id: String::new(),
        r#match: Some(pb::Match {
            match_id: "m_1".to_owned(),
            source: "OFAC_SDN".to_owned(),
            score: Some(92.5),
            strength: "STRONG".to_owned(),
            fields: Some(prost_types::Struct {
                fields: [("matched_name".to_owned(), name)].into(),
            }),
            fields_omitted: false,
        }),
    };
    let line = event(&about(
        "screening.match_found",
        Some(Payload::MatchFound(found.clone())),
    ));
    assert!(
        line.ends_with("event=evt_1: match on OFAC_SDN, score 92.5, STRONG"),
        "{line}"
    );
    found.r#match = Some(pb::Match::default());
    let line = event(&about("x", Some(Payload::MatchFound(found))));
    assert!(line.ends_with(": match on a list without a name"), "{line}");
}

#[test]
fn a_breach_is_its_score_and_its_band() {
    for (score, band, code, expected) in [
        (
            Some(812),
            pb::RiskBand::Critical,
            "CRITICAL",
            "812 CRITICAL",
        ),
        (Some(812), pb::RiskBand::Unspecified, "", "812"),
        (
            None,
            pb::RiskBand::Unrecognized,
            "DIRE",
            "without a score DIRE (unknown word)",
        ),
    ] {
        let breach = pb::RiskThresholdBreached {
            risk_score: score,
            risk_band: band.into(),
            risk_band_code: code.to_owned(),
            ..Default::default()
        };
        let line = event(&about(
            "risk.threshold_breached",
            Some(Payload::RiskThresholdBreached(breach)),
        ));
        assert!(line.ends_with(&format!(": risk {expected}")), "{line}");
    }
}

#[test]
fn what_is_not_known_is_said_to_be_so() {
    let mut unknown = about("gateway.unreadable", None);
    unknown.receive_time = None;
    unknown.source = pb::EventSource::Reconciled.into();
    assert_eq!(
        event(&unknown),
        "no-time gateway.unreadable event=evt_1 (read from Kora): no details"
    );
}

#[test]
fn an_event_stays_on_its_line() {
    let mut odd = about("case\r\n2026 x: APPROVE\u{1b}[2K", None);
    odd.subject_id = "a\nb".to_owned();
    let line = event(&odd);
    assert!(!line.contains(|letter: char| letter.is_control()), "{line}");
    assert!(line.contains("subject=a\u{fffd}b"), "{line}");
}

#[test]
fn a_gap_tells_from_where_to_where() {
    let line = gap(&pb::Gap {
        from_token: "AAA".to_owned(),
        to_token: "BBB".to_owned(),
        reason: pb::GapReason::Expired.into(),
    });
    assert_eq!(
        line,
        "events are missing, because they are older than what is kept: those after AAA up to BBB"
    );
}
