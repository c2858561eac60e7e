//! What the typed payloads say, and when there is none.

use serde_json::{Value, json};

use super::{
    super::{Detail, Envelope},
    approval, decision_of, read, screening_of,
};
use crate::{
    event::Payload,
    screening::{DecisionOutcome, RiskBand, ScreeningStatus},
};

#[test]
fn a_completed_screening_is_told_whole() {
    let envelope = read(&json!({
        "event": "screening.completed", "subject_id": "subj_9",
        "data": { "screening_id": "scr_1", "decision": { "outcome": "APPROVE" } }
    }));
    assert!(!envelope.is_payload_dropped);
    let screening = screening_of(envelope).unwrap();
    assert_eq!(screening.status, ScreeningStatus::Completed);
    assert_eq!(screening.subject_id, "subj_9");
    assert_eq!(
        screening.decision.unwrap().outcome,
        DecisionOutcome::Approve
    );
}

#[test]
fn the_name_says_the_status_where_the_data_does_not() {
    for (kind, status) in [
        ("screening.completed", Some(ScreeningStatus::Completed)),
        ("screening.failed", Some(ScreeningStatus::Failed)),
        ("screening.started", Some(ScreeningStatus::InProgress)),
        ("screening.match_resolved", None),
    ] {
        let envelope = read(&json!({ "event": kind, "data": { "screening_id": "scr_1" } }));
        assert_eq!(envelope.is_payload_dropped, status.is_none(), "{kind}");
        assert_eq!(screening_of(envelope).map(|read| read.status), status);
    }
}

#[test]
fn only_a_completed_screening_is_decided() {
    for kind in ["screening.started", "screening.failed"] {
        let envelope = read(&json!({ "event": kind, "data": approval() }));
        assert!(envelope.is_payload_dropped, "{kind}");
    }
    // What was resolved, and so decided, may be the match.
    let resolved = read(&json!({ "event": "screening.match_resolved", "data": approval() }));
    let screening = screening_of(resolved).unwrap();
    assert_eq!(screening.screening_id, "scr_1");
    assert!(screening.decision.is_none());
}

#[test]
fn what_an_unknown_name_means_is_not_guessed() {
    for kind in [
        "screening.revoked",
        "screening.simulated",
        "screenings.completed",
    ] {
        let envelope = read(&json!({ "event": kind, "data": approval() }));
        assert!(envelope.content.payload.is_none(), "{kind}");
        assert!(!envelope.is_payload_dropped);
        assert_eq!(envelope.content.keys.kind, kind);
        assert_eq!(envelope.content.keys.screening_id, "scr_1");
    }
}

#[test]
fn a_decision_that_is_not_plain_is_none() {
    let with = |kind: &str, change: fn(&mut Value)| {
        let mut data = approval();
        change(&mut data);
        read(&json!({ "event": kind, "data": data }))
    };
    let plain = with("screening.completed", |_| {});
    assert_eq!(decision_of(plain), Some(DecisionOutcome::Approve));
    let changes: [fn(&mut Value); 6] = [
        |data| data["status"] = json!("FAILED"),
        |data| data["status"] = json!("completed"),
        |data| data["status"] = json!(1),
        |data| data["decision"] = json!("APPROVE"),
        |data| data["decision"]["outcome"] = json!(["APPROVE"]),
        |data| data["screening_id"] = json!(7),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        assert_eq!(
            decision_of(with("screening.completed", change)),
            None,
            "{place}"
        );
    }
    for kind in ["screening.started", "screening.failed"] {
        let contradiction = with(kind, |_| {});
        assert!(contradiction.is_payload_dropped);
        assert!(contradiction.content.payload.is_none());
    }
}

#[test]
fn odd_optional_fields_are_left_out_and_the_decision_stays() {
    for (name, value, matches_omitted) in [
        ("risk_score", json!("905"), 0),
        ("risk_score", json!(1001), 0),
        ("risk_band", json!({}), 0),
        ("matches", json!("none"), 1),
        ("matches", json!(["a", {}, 1]), 2),
        (
            "match_summary",
            json!({ "total_matches": 2.5, "pep_matches": 1 }),
            0,
        ),
        ("match_summary", json!([]), 0),
        ("completed_at", json!(7), 0),
        ("mode", json!(1), 0),
        ("checks", json!("PEP"), 0),
    ] {
        let mut data = approval();
        data[name] = value;
        let envelope = read(&json!({ "event": "screening.completed", "data": data }));
        assert!(!envelope.is_payload_dropped, "{data}");
        assert_eq!(envelope.odd_fields.names().collect::<Vec<_>>(), [name]);
        let screening = screening_of(envelope).unwrap();
        assert_eq!(screening.matches_omitted, matches_omitted, "{data}");
        assert_eq!(
            screening.decision.unwrap().outcome,
            DecisionOutcome::Approve
        );
    }
}

#[test]
fn what_repeats_a_key_has_no_payload() {
    let twice = br#"{"event":"screening.completed","data":{"screening_id":"a","subject_id":"s",
        "decision":{"outcome":"APPROVE"},"decision":{"outcome":"APPROVE"}}}"#;
    let envelope = Envelope::read(twice, Detail::Full);
    assert!(envelope.is_payload_dropped && envelope.content.payload.is_none());
    assert_eq!(envelope.content.keys.kind, "screening.completed");
    assert_eq!(envelope.content.keys.subject_id, "");
    let inner = br#"{"event":"screening.completed","data":{"screening_id":"a","subject_id":"s",
        "decision":{"outcome":"BLOCK","outcome":"APPROVE"}}}"#;
    let envelope = Envelope::read(inner, Detail::Full);
    assert!(envelope.is_payload_dropped && envelope.content.payload.is_none());
    assert_eq!(envelope.content.keys.subject_id, "s");
    let found =
        br#"{"event":"screening.match_found","data":{"match":{"source":"a","source":"b"}}}"#;
    let envelope = Envelope::read(found, Detail::Full);
    assert!(envelope.is_payload_dropped && envelope.content.payload.is_none());
}

#[test]
fn an_id_in_another_spelling_supplies_nothing() {
    let mut data = approval();
    data["screeningId"] = data["screening_id"].take();
    let envelope = read(&json!({ "event": "screening.completed", "data": data }));
    assert!(envelope.is_payload_dropped && envelope.content.payload.is_none());
    assert_eq!(envelope.content.keys.screening_id, "");
}

#[test]
fn a_match_belongs_to_the_screening_that_is_named() {
    let envelope = read(&json!({
        "event": "screening.match_found",
        "data": { "screening_id": "scr_1", "match": { "source": "OFAC", "score": 0.9 } }
    }));
    let Some(Payload::Match {
        screening_id,
        found,
    }) = envelope.content.payload
    else {
        panic!("no match");
    };
    assert_eq!(
        (screening_id.as_str(), found.source.as_str()),
        ("scr_1", "OFAC")
    );
    for (data, is_dropped) in [
        (json!({ "screening_id": "scr_1" }), false),
        (json!({ "match": null }), false),
        (json!({ "match": "OFAC" }), true),
    ] {
        let envelope = read(&json!({ "event": "screening.match_found", "data": data }));
        assert_eq!(envelope.is_payload_dropped, is_dropped, "{data}");
        assert!(envelope.content.payload.is_none());
    }
}

#[test]
fn a_breached_threshold_is_told_without_what_is_odd() {
    let of = |data: Value| read(&json!({ "event": "risk.threshold_breached", "data": data }));
    let breach = |envelope: Envelope| match envelope.content.payload {
        Some(Payload::RiskThreshold {
            subject_id,
            risk_score,
            risk_band,
            fields,
        }) => (subject_id, risk_score, risk_band, fields.len()),
        _ => panic!("no threshold"),
    };
    let whole =
        of(json!({ "subject_id": "subj_1", "risk_score": 800, "risk_band": "HIGH", "x": 1 }));
    assert_eq!(
        breach(whole),
        ("subj_1".to_owned(), Some(800), Some(RiskBand::High), 4)
    );
    for data in [
        json!({ "risk_score": "800" }),
        json!({ "risk_band": 7 }),
        json!({ "risk_score": -1 }),
    ] {
        assert_eq!(breach(of(data)), (String::new(), None, None, 1));
    }
}

#[test]
fn of_what_costs_too_much_the_parts_are_left_out_that_can_be_large() {
    let reduced = |body: Value| Envelope::read(body.to_string().as_bytes(), Detail::Reduced);
    let told = reduced(json!({
        "event": "screening.completed", "subject_id": "subj_9",
        "data": {
            "screening_id": "scr_1",
            "decision": { "outcome": "APPROVE" },
            "matches": [{ "match_id": "m_1" }, { "match_id": "m_2" }],
        },
    }));
    assert!(!told.content.is_payload_omitted);
    let screening = screening_of(told).unwrap();
    assert_eq!((screening.matches.len(), screening.matches_omitted), (0, 2));
    assert_eq!(
        screening.decision.unwrap().outcome,
        DecisionOutcome::Approve
    );

    let rules = vec![json!({ "rule_id": "r" }); 20_000];
    for body in [
        json!({
            "event": "screening.completed",
            "data": {
                "screening_id": "scr_1",
                "decision": { "outcome": "APPROVE", "triggered_rules": rules },
            },
        }),
        json!({
            "event": "screening.match_found",
            "data": { "screening_id": "scr_1", "match": { "match_id": "m_1" } },
        }),
        json!({
            "event": "risk.threshold_breached", "data": { "screening_id": "scr_1" },
        }),
    ] {
        let envelope = reduced(body);
        assert!(envelope.content.is_payload_omitted && envelope.content.payload.is_none());
        assert!(!envelope.is_payload_dropped && !envelope.is_contradictory);
        assert_eq!(envelope.content.keys.screening_id, "scr_1");
    }
    // What contradicts itself ends nothing, however costly it is.
    let contradictory = reduced(json!({
        "event": "screening.completed",
        "data": { "screening_id": "scr_1", "status": "COMPLETED", "Status": "FAILED" },
    }));
    assert!(contradictory.is_contradictory);
}
