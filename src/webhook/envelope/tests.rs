//! What bodies become.

mod arbitrary;

use serde_json::{Value, json};

use super::*;
use crate::{
    event::Payload,
    screening::{DecisionOutcome, RiskBand, Screening, ScreeningStatus},
};

fn read(body: &Value) -> Envelope {
    Envelope::read(body.to_string().as_bytes())
}

fn screening_of(envelope: Envelope) -> Option<Screening> {
    match envelope.content.payload {
        Some(Payload::Screening(screening)) => Some(*screening),
        _ => None,
    }
}

fn decision_of(envelope: Envelope) -> Option<DecisionOutcome> {
    Some(screening_of(envelope)?.decision?.outcome)
}

fn approval() -> Value {
    json!({
        "screening_id": "scr_1", "subject_id": "subj_1", "status": "COMPLETED", "risk_score": 12,
        "decision": { "outcome": "APPROVE" }
    })
}

#[test]
fn what_has_no_readable_envelope_is_unreadable() {
    let long = "x".repeat(MAX_NAME_BYTES + 1);
    let long = format!(r#"{{"event":"{long}"}}"#);
    let bodies: [&[u8]; 18] = [
        b"",
        b"null",
        b"[]",
        b"\"screening.completed\"",
        b"{",
        b"not json",
        b"\xef\xbb\xbf{\"event\":\"case.created\"}",
        b"{\"event\":\"case.created\"} x",
        b"{\"event\":\"case.\xff\"}",
        b"{\"event\":\"case.created\",\"x\":\"\xff\"}",
        br#"{"id":"evt_1","data":{"screening_id":"scr_1"}}"#,
        br#"{"id":"evt_1","event":"case.created","event":"case.closed"}"#,
        br#"{"id":"evt_1","event":""}"#,
        br#"{"id":"evt_1","event":7,"type":"case.created"}"#,
        br#"{"id":"evt_1","event":null}"#,
        br#"{"id":"evt_1","event":"case.created","data":[]}"#,
        br#"{"id":"evt_1","event":"case.created","data":"text"}"#,
        long.as_bytes(),
    ];
    for body in bodies {
        let envelope = Envelope::read(body);
        let text = String::from_utf8_lossy(body);
        assert_eq!(envelope.content.keys.kind, UNREADABLE, "{text}");
        assert_eq!(envelope.content.keys.screening_id, "", "{text}");
        assert_eq!(
            envelope.identity,
            Identity::Body(Sha256::digest(body).into())
        );
        assert!(envelope.content.payload.is_none(), "{text}");
    }
}

#[test]
fn the_name_has_four_spellings_in_one_order() {
    for (body, name) in [
        (json!({ "event": "a", "eventType": "b" }), "a"),
        (
            json!({ "event": null, "eventType": "b", "event_type": "c" }),
            "b",
        ),
        (json!({ "event_type": "c", "type": "d" }), "c"),
        (json!({ "type": "d" }), "d"),
        (
            json!({ "event": "something.new", "data": null }),
            "something.new",
        ),
        (
            json!({ "event": "x".repeat(MAX_NAME_BYTES) }),
            &"x".repeat(MAX_NAME_BYTES),
        ),
    ] {
        let content = read(&body).content;
        assert_eq!(content.keys.kind, name);
        assert!(content.payload.is_none());
    }
}

#[test]
fn the_identity_is_the_vendors_where_it_is_usable() {
    let longest = "x".repeat(MAX_ID_BYTES);
    for (fields, id) in [
        (json!({ "id": "evt_1", "event_id": "evt_2" }), Some("evt_1")),
        (json!({ "id": 7, "event_id": "evt_2" }), Some("evt_2")),
        (json!({ "id": null, "eventId": "evt_3" }), Some("evt_3")),
        (json!({ "id": longest }), Some(longest.as_str())),
        (json!({ "id": format!("{longest}x") }), None),
        (json!({ "id": "" }), None),
        (json!({ "id": "evt\n1" }), None),
        (json!({ "id": "sha256-abc" }), None),
        (json!({ "id": { "x": 1 } }), None),
        (json!({ "data": { "id": "obj_1" } }), None),
        (json!({}), None),
    ] {
        let mut body = json!({ "event": "case.created" });
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let expected = match id {
            Some(id) => Identity::Vendor(id.to_owned()),
            None => body_identity(body.to_string().as_bytes()),
        };
        assert_eq!(read(&body).identity, expected, "{fields}");
    }
}

#[test]
fn the_time_is_one_that_can_be_read() {
    let time = |fields: Value| {
        let mut body = fields;
        body["event"] = json!("case.created");
        read(&body).content.occur_time.map(|time| time.to_string())
    };
    let expected = Some("2026-02-27T10:30:00Z".to_owned());
    assert_eq!(
        time(json!({ "timestamp": "2026-02-27T11:30:00+01:00" })),
        expected
    );
    assert_eq!(
        time(json!({ "timestamp": 17, "createdAt": "2026-02-27T10:30:00Z" })),
        expected
    );
    assert_eq!(time(json!({ "occurred_at": "yesterday" })), None);
    assert_eq!(time(json!({})), None);
}

#[test]
fn ids_come_from_the_data_then_from_beside_it() {
    for (kind, beside, data, ids) in [
        (
            "x.y",
            json!({}),
            json!({ "screening_id": "a", "subjectId": "b" }),
            ["a", "b", "", ""],
        ),
        (
            "x.y",
            json!({ "caseId": "c" }),
            json!({ "batch_id": "d" }),
            ["", "", "c", "d"],
        ),
        (
            "x.y",
            json!({ "screening_id": "out" }),
            json!({ "screeningId": "in" }),
            ["in", "", "", ""],
        ),
        (
            "x.y",
            json!({ "subject_id": "out" }),
            json!({ "subject_id": 7 }),
            ["", "out", "", ""],
        ),
        (
            "x.y",
            json!({}),
            json!({ "subject_id": "x".repeat(MAX_ID_BYTES + 1) }),
            [""; 4],
        ),
        ("x.y", json!({}), json!({ "id": "own" }), [""; 4]),
        (
            "screening.other",
            json!({}),
            json!({ "id": "own" }),
            ["own", "", "", ""],
        ),
        (
            "screening.match_found",
            json!({}),
            json!({ "id": "own" }),
            [""; 4],
        ),
        (
            "screening.match_resolved",
            json!({}),
            json!({ "id": "own" }),
            [""; 4],
        ),
        (
            "subject.updated",
            json!({}),
            json!({ "id": "own" }),
            ["", "own", "", ""],
        ),
        (
            "case.closed",
            json!({}),
            json!({ "id": "own", "case_id": "c" }),
            ["", "", "c", ""],
        ),
        (
            "case.closed",
            json!({}),
            json!({ "id": "own" }),
            ["", "", "own", ""],
        ),
        (
            "batch.completed",
            json!({}),
            json!({ "id": "own" }),
            ["", "", "", "own"],
        ),
        ("cases.closed", json!({}), json!({ "id": "own" }), [""; 4]),
    ] {
        let mut body = beside.clone();
        body["event"] = json!(kind);
        body["data"] = data.clone();
        let content = read(&body).content;
        let found = [
            &content.keys.screening_id,
            &content.keys.subject_id,
            &content.case_id,
            &content.batch_id,
        ];
        assert_eq!(found, ids, "{kind} {beside} {data}");
    }
}

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
        ("screening.something_new", None),
    ] {
        let envelope = read(&json!({ "event": kind, "data": { "screening_id": "scr_1" } }));
        assert_eq!(envelope.is_payload_dropped, status.is_none(), "{kind}");
        assert_eq!(screening_of(envelope).map(|read| read.status), status);
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
    let changes: [fn(&mut Value); 9] = [
        |data| data["status"] = json!("FAILED"),
        |data| data["status"] = json!("completed"),
        |data| data["status"] = json!(1),
        |data| data["decision"] = json!("APPROVE"),
        |data| data["decision"]["outcome"] = json!(["APPROVE"]),
        |data| data["risk_score"] = json!(1001),
        |data| data["risk_band"] = json!({}),
        |data| data["screening_id"] = json!(7),
        |data| data["matches"] = json!("none"),
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
fn what_repeats_a_key_has_no_payload() {
    let twice = br#"{"event":"screening.completed","data":{"screening_id":"a","subject_id":"s",
        "decision":{"outcome":"APPROVE"},"decision":{"outcome":"APPROVE"}}}"#;
    let envelope = Envelope::read(twice);
    assert!(envelope.is_payload_dropped && envelope.content.payload.is_none());
    assert_eq!(envelope.content.keys.kind, "screening.completed");
    assert_eq!(envelope.content.keys.subject_id, "");
    let inner = br#"{"event":"screening.completed","data":{"screening_id":"a","subject_id":"s",
        "decision":{"outcome":"BLOCK","outcome":"APPROVE"}}}"#;
    let envelope = Envelope::read(inner);
    assert!(envelope.is_payload_dropped && envelope.content.payload.is_none());
    assert_eq!(envelope.content.keys.subject_id, "s");
    let found =
        br#"{"event":"screening.match_found","data":{"match":{"source":"a","source":"b"}}}"#;
    let envelope = Envelope::read(found);
    assert!(envelope.is_payload_dropped && envelope.content.payload.is_none());
}

#[test]
fn a_screening_under_another_id_than_the_events_is_none() {
    let mut data = approval();
    data["id"] = json!("rec_1");
    data["screeningId"] = data["screening_id"].take();
    let envelope = read(&json!({ "event": "screening.completed", "data": data }));
    assert!(envelope.is_payload_dropped && envelope.content.payload.is_none());
    assert_eq!(envelope.content.keys.screening_id, "scr_1");
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
fn a_breached_threshold_is_whole_or_not_at_all() {
    let of = |data: Value| read(&json!({ "event": "risk.threshold_breached", "data": data }));
    let read =
        of(json!({ "subject_id": "subj_1", "risk_score": 800, "risk_band": "HIGH", "x": 1 }));
    let Some(Payload::RiskThreshold {
        subject_id,
        risk_score,
        risk_band,
        fields,
    }) = read.content.payload
    else {
        panic!("no threshold");
    };
    assert_eq!((subject_id.as_str(), risk_score), ("subj_1", Some(800)));
    assert_eq!((risk_band, fields.len()), (Some(RiskBand::High), 4));
    for data in [
        json!({ "risk_score": "800" }),
        json!({ "risk_band": 7 }),
        json!({ "risk_score": -1 }),
    ] {
        let envelope = of(data);
        assert!(envelope.is_payload_dropped && envelope.content.payload.is_none());
    }
}
