//! What bodies become.

mod arbitrary;
mod payloads;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::{
    event::Payload,
    screening::{DecisionOutcome, Screening},
};

fn read(body: &Value) -> Envelope {
    Envelope::read(body.to_string().as_bytes(), Detail::Full)
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
    let bodies: [&[u8]; 17] = [
        b"",
        b"null",
        b"[]",
        b"\"screening.completed\"",
        b"{",
        b"not json",
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
        let envelope = Envelope::read(body, Detail::Full);
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
        (json!({ "id": "reconciled-abc" }), None),
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
            None => Identity::of_body(body.to_string().as_bytes()),
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
    let first = "0001-01-01T00:00:00Z";
    assert_eq!(time(json!({ "timestamp": first })).as_deref(), Some(first));
    for none in [
        "yesterday",
        "0000-12-31T23:59:59Z",
        "-000100-01-01T00:00:00Z",
    ] {
        assert_eq!(time(json!({ "occurred_at": none })), None, "{none}");
    }
    assert_eq!(time(json!({})), None);
}

/// (name of the event, what is beside its data, its data)
fn contradictions() -> Vec<(&'static str, Value, Value)> {
    let end = "screening.completed";
    let plain = approval;
    let with = |name: &str, value: Value| {
        let mut data = plain();
        data[name] = value;
        data
    };
    let without = |absent: &str, name: &str, value: Value| {
        let mut data = with(name, value);
        data.as_object_mut().unwrap().remove(absent);
        data
    };
    let twice = json!({ "outcome": "APPROVE", "Outcome": "BLOCK" });
    vec![
        (end, json!({}), with("subjectId", json!("subj_2"))),
        (end, json!({}), with("SUBJECT_ID", json!(["subj_1"]))),
        (end, json!({}), with("screeningId", json!("scr_2"))),
        (
            end,
            json!({}),
            json!({ "id": "scr_2", "ScreeningId": "scr_1" }),
        ),
        (end, json!({ "subject_id": "subj_2" }), plain()),
        (
            end,
            json!({}),
            with("subject_id", json!({ "id": "subj_1" })),
        ),
        (
            end,
            json!({ "subject_id": 7 }),
            without("subject_id", "x", json!(1)),
        ),
        (end, json!({ "screeningId": "scr_2" }), plain()),
        (
            end,
            json!({ "subjectId": "subj_1" }),
            without("subject_id", "x", json!(1)),
        ),
        (end, json!({}), with("Status", json!("FAILED"))),
        (end, json!({}), without("status", "Status", json!("FAILED"))),
        (
            end,
            json!({}),
            with("Decision", json!({ "outcome": "BLOCK" })),
        ),
        (end, json!({}), with("decision", twice)),
        (
            "screening.failed",
            json!({}),
            json!({ "screening_id": "s", "STATUS": "COMPLETED" }),
        ),
        (
            "case.closed",
            json!({ "screening_id": "a" }),
            json!({ "screening_id": "b" }),
        ),
        (
            "x.y",
            json!({ "subject_id": "out" }),
            json!({ "subject_id": 7 }),
        ),
        (
            "x.y",
            json!({ "screening_id": "out" }),
            json!({ "screeningId": "in" }),
        ),
    ]
}

#[test]
fn what_contradicts_itself_ends_nothing_and_keeps_its_name() {
    for (kind, beside, data) in contradictions() {
        let mut body = beside;
        body["event"] = json!(kind);
        body["data"] = data;
        let envelope = read(&body);
        assert!(envelope.is_contradictory, "{body}");
        let content = envelope.content;
        assert!(content.payload.is_none(), "{body}");
        assert_eq!(content.keys.kind, kind);
        assert_eq!(content.keys.screening_id, "", "{body}");
        assert_eq!(content.keys.subject_id, "", "{body}");
        assert!(content.keys.ended_screening().is_none());
    }
}

#[test]
fn twins_that_agree_or_stand_elsewhere_mean_nothing() {
    for (name, value) in [
        ("subjectId", json!("subj_1")),
        ("Status", json!("COMPLETED")),
        ("Decision", json!({ "outcome": "APPROVE" })),
        ("Subject_Id", Value::Null),
        ("Risk_Score", json!(999)),
        ("caseId", json!("case_1")),
        (
            "inner",
            json!({ "subjectId": "subj_2", "outcome": "BLOCK", "Outcome": 1 }),
        ),
        ("Outcome", json!("BLOCK")),
    ] {
        let mut data = approval();
        data[name] = value;
        let envelope = read(&json!({ "event": "screening.completed", "data": data }));
        assert!(!envelope.is_contradictory, "{name}");
        assert_eq!(
            decision_of(envelope),
            Some(DecisionOutcome::Approve),
            "{name}"
        );
    }
}

#[test]
fn a_byte_order_mark_hides_no_event() {
    let body = b"\xef\xbb\xbf{\"event\":\"case.created\"}";
    let envelope = Envelope::read(body, Detail::Full);
    assert_eq!(envelope.content.keys.kind, "case.created");
    assert_eq!(
        envelope.odd_fields.names().collect::<Vec<_>>(),
        ["byte_order_mark"]
    );
    assert_eq!(envelope.identity, Identity::of_body(body));
}

#[test]
fn ids_come_from_the_data_then_from_beside_it() {
    for (kind, beside, data, ids) in [
        (
            "x.y",
            json!({}),
            json!({ "screening_id": "a", "subject_id": "b" }),
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
            json!({ "screeningId": "out", "subject_id": null }),
            ["out", "", "", ""],
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
