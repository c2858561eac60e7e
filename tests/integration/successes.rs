//! Answers that can be read: what comes back typed, and how much disorder is tolerated.

use kora_gateway::pb;
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    call::{Call, Rpc, SCREENING_ID, SUBJECT_ID, profile, screen_request},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

/// A whole answer.
fn completed() -> Value {
    json!({
        "screening_id": SCREENING_ID, "subject_id": SUBJECT_ID, "status": "COMPLETED",
        "risk_score": 780, "risk_band": "CRITICAL",
        "decision": {
            "outcome": "BLOCK", "triggered_rules": ["SANCTIONS_MATCH"], "explanation": "listed"
        },
        "matches": [{"id": "m1", "source": "OFAC_SDN", "score": 0.97, "strength": "STRONG", "list": {"entry": 7}}],
        "match_summary": {
            "total_matches": 1, "sanctions_matches": 1, "pep_matches": 0, "exact_matches": 0,
            "strong_matches": 1, "watchlist_matches": 3
        },
        "mode": "SYNC", "purpose": "ONBOARDING", "checks": ["SANCTIONS", "NEW_CHECK"],
        "created_at": "2026-01-02T03:04:05Z", "completed_at": "2026-01-02T03:04:06.5Z"
    })
}

async fn screened(kora: &ScriptedKora, gateway: &Gateway, act: Act) -> pb::Screening {
    kora.act(act);
    Rpc::Screen.call().send(gateway.grpc).await.screening()
}

#[tokio::test]
async fn a_whole_answer_comes_back_typed() {
    let kora = ScriptedKora::start(Act::json(201, &completed())).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let request = pb::ScreenRequest {
        include_raw_json: true,
        ..screen_request()
    };
    let answer = Call::new(Rpc::Screen, &request).send(gateway.grpc).await;
    let screening = answer.screening();
    assert_eq!(screening.status(), pb::ScreeningStatus::Completed);
    assert_eq!(
        (screening.risk_score, screening.risk_band()),
        (Some(780), pb::RiskBand::Critical)
    );
    assert_eq!(screening.kora_request_id, "req_header");
    assert_eq!(screening.checks, [pb::CheckType::Sanctions as i32]);
    assert_eq!(screening.create_time.unwrap().seconds, 1_767_323_045);
    assert_eq!(screening.complete_time.unwrap().nanos, 500_000_000);
    assert_eq!(
        serde_json::from_slice::<Value>(&screening.raw_json).unwrap(),
        completed()
    );
    let decision = screening.decision.unwrap();
    assert_eq!(decision.outcome(), pb::Outcome::Block);
    assert_eq!(decision.triggered_rules, ["SANCTIONS_MATCH"]);
    let found = &screening.matches[0];
    assert_eq!(
        (found.match_id.as_str(), found.source.as_str()),
        ("m1", "OFAC_SDN")
    );
    assert_eq!(
        (found.score, found.strength.as_str()),
        (Some(0.97), "STRONG")
    );
    assert!(found.fields.as_ref().unwrap().fields.contains_key("list"));
    let summary = screening.match_summary.unwrap();
    assert_eq!(
        (summary.total_matches, summary.pep_matches),
        (Some(1), Some(0))
    );
    assert_eq!(
        summary.adverse_media_matches, None,
        "not counted is not zero"
    );
    assert_eq!(summary.other["watchlist_matches"], 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a_decision_needs_a_completed_screening() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let approve = json!({"outcome": "APPROVE"});
    for (status, expected) in [
        ("PENDING", pb::ScreeningStatus::Pending),
        ("IN_PROGRESS", pb::ScreeningStatus::InProgress),
        ("completed", pb::ScreeningStatus::Unrecognized),
        ("COMPLETED ", pb::ScreeningStatus::Unrecognized),
        ("DONE", pb::ScreeningStatus::Unrecognized),
    ] {
        let body = json!({"screening_id": "s", "status": status, "decision": approve});
        let screening = screened(&kora, &gateway, Act::json(200, &body)).await;
        assert_eq!(screening.status(), expected, "{status}");
        assert_eq!(screening.status_code, status);
        assert_eq!(screening.decision, None, "{status}");
    }
    let body = json!({"screening_id": "s", "status": "COMPLETED", "decision": null});
    let screening = screened(&kora, &gateway, Act::json(200, &body)).await;
    assert_eq!(screening.status(), pb::ScreeningStatus::Completed);
    assert_eq!(screening.decision, None);
    gateway.stop().await;
}

#[tokio::test]
async fn an_outcome_is_read_byte_for_byte() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for (word, outcome) in [
        ("APPROVE", pb::Outcome::Approve),
        (
            "APPROVE_WITH_MONITORING",
            pb::Outcome::ApproveWithMonitoring,
        ),
        ("REVIEW_REQUIRED", pb::Outcome::ReviewRequired),
        ("BLOCK", pb::Outcome::Block),
        ("approve", pb::Outcome::Unrecognized),
        ("APPROVE ", pb::Outcome::Unrecognized),
        ("APPROVED", pb::Outcome::Unrecognized),
        ("\u{410}PPROVE", pb::Outcome::Unrecognized),
        ("", pb::Outcome::Unrecognized),
    ] {
        let body =
            json!({"screening_id": "s", "status": "COMPLETED", "decision": {"outcome": word}});
        let screening = screened(&kora, &gateway, Act::json(200, &body)).await;
        let decision = screening.decision.unwrap();
        assert_eq!(
            (decision.outcome(), decision.outcome_code.as_str()),
            (outcome, word)
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_accepted_screening_may_be_nothing_but_its_id() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let bare = json!({"screening_id": "scr_9"});
    let screening = screened(&kora, &gateway, Act::json(202, &bare)).await;
    assert_eq!(screening.status(), pb::ScreeningStatus::Pending);
    assert_eq!(
        (
            screening.screening_id.as_str(),
            screening.status_code.as_str()
        ),
        ("scr_9", "")
    );
    assert_eq!(screening.mode(), pb::ScreeningMode::Sync);
    assert_eq!(screening.purpose(), pb::ScreeningPurpose::Onboarding);
    // A synchronous answer has to say how far it is, and a decision without a status is none.
    for (status, body) in [
        (200, bare),
        (
            202,
            json!({"screening_id": "scr_9", "decision": {"outcome": "APPROVE"}}),
        ),
    ] {
        kora.act(Act::json(status, &body));
        let answer = Rpc::Screen.call().send(gateway.grpc).await;
        assert_eq!(answer.reason(), "KORA_RESPONSE_INVALID");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn disorder_that_harms_nobody_is_tolerated() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let messy = json!({
        "id": "s", "status": "COMPLETED", "risk_score": 149.6, "risk_band": "EXTREME",
        "decision": {"outcome": "APPROVE", "triggered_rules": [{"rule_id": "R1", "name": "n"}, {"name": "N2"}, 7], "new": {}},
        "matches": [{"score": "high", "source": 7}, {}], "match_summary": {"total_matches": null, "pep_matches": 1.0, "text": "x"}, "subject_id": null,
        "created_at": "yesterday", "checks": "SANCTIONS", "mode": 1, "unknown": {"deep": [1, 2, {"x": null}]}
    });
    let screening = screened(&kora, &gateway, Act::json(200, &messy)).await;
    assert_eq!(
        (screening.screening_id.as_str(), screening.risk_score),
        ("s", Some(150))
    );
    assert_eq!(
        (screening.risk_band(), screening.risk_band_code.as_str()),
        (pb::RiskBand::Unrecognized, "EXTREME")
    );
    assert_eq!(
        screening.decision.as_ref().unwrap().triggered_rules,
        ["R1", "N2", "7"]
    );
    assert_eq!(
        screening.match_summary.as_ref().unwrap().pep_matches,
        Some(1)
    );
    assert_eq!(screening.subject_id, "");
    assert_eq!(screening.matches.len(), 2);
    assert_eq!(
        (
            screening.matches[0].score,
            screening.matches[0].source.as_str()
        ),
        (None, "")
    );
    assert_eq!(screening.create_time, None);
    assert_eq!(
        screening.mode(),
        pb::ScreeningMode::Sync,
        "as it was asked for"
    );
    let empty = json!({
        "screening_id": "s", "status": "PENDING", "risk_score": null, "risk_band": null,
        "decision": null, "matches": null, "match_summary": null
    });
    let screening = screened(&kora, &gateway, Act::json(200, &empty)).await;
    assert_eq!(
        (screening.risk_score, screening.risk_band()),
        (None, pb::RiskBand::Unspecified)
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_shape_that_cannot_be_read_is_no_answer() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for (field, value) in [
        ("status", json!(3)),
        ("status", json!(["COMPLETED"])),
        ("decision", json!("APPROVE")),
        ("decision", json!({})),
        ("decision", json!({"outcome": null})),
        ("decision", json!({"outcome": ["APPROVE"]})),
        ("status", json!("C".repeat(257))),
        ("decision", json!({"outcome": "A".repeat(257)})),
        ("screening_id", json!(7)),
        ("screening_id", json!("")),
    ] {
        let mut body = completed();
        body[field] = value.clone();
        kora.act(Act::json(200, &body));
        let answer = Rpc::Screen.call().send(gateway.grpc).await;
        assert_eq!(answer.reason(), "KORA_RESPONSE_INVALID", "{field}: {value}");
        // Whoever paid is told for what, if that can be read.
        let resource = answer.details().resource_info().cloned();
        let is_id_read = field != "screening_id";
        assert_eq!(resource.is_some(), is_id_read, "{field}: {value}");
        assert!(resource.is_none_or(|resource| resource.resource_name == SCREENING_ID));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_odd_optional_field_costs_no_result() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for (field, value) in [
        ("risk_score", json!("905")),
        ("risk_score", json!(1001)),
        ("risk_score", json!(-1)),
        ("risk_band", json!(1)),
        ("risk_band", json!("x".repeat(257))),
        ("matches", json!({})),
        ("matches", json!(["a"])),
        ("match_summary", json!("none")),
        ("match_summary", json!({"total_matches": "1"})),
        ("match_summary", json!({"total_matches": 2.5})),
        ("match_summary", json!({"total_matches": -1})),
        ("created_at", json!(17)),
        ("completed_at", json!("yesterday")),
        ("mode", json!([])),
        ("purpose", json!({})),
        ("checks", json!("SANCTIONS")),
        ("subject_id", json!("")),
    ] {
        let mut body = completed();
        body[field] = value.clone();
        kora.act(Act::json(200, &body));
        let answers = [
            Rpc::Screen.call().send(gateway.grpc).await.screening(),
            Rpc::GetScreening
                .call()
                .send(gateway.grpc)
                .await
                .ok::<pb::GetScreeningResponse>()
                .screening
                .unwrap(),
        ];
        for screening in answers {
            let decision = screening.decision.unwrap();
            assert_eq!(decision.outcome(), pb::Outcome::Block, "{field}: {value}");
            assert_eq!(screening.matches_omitted, i32::from(field == "matches"));
        }
    }
    for (field, value) in [("explanation", json!(7)), ("triggered_rules", json!("r"))] {
        let mut body = completed();
        body["decision"][field] = value;
        let screening = screened(&kora, &gateway, Act::json(200, &body)).await;
        let decision = screening.decision.unwrap();
        assert_eq!(decision.outcome(), pb::Outcome::Block, "{field}");
    }
    let marked = [b"\xef\xbb\xbf", completed().to_string().as_bytes()].concat();
    let screening = screened(&kora, &gateway, Act::Answer(200, vec![], marked)).await;
    assert_eq!(screening.risk_score, Some(780));
    let metrics = gateway.metrics().await;
    for (field, count) in [
        ("risk_score", 6),
        ("matches", 4),
        ("match_summary", 8),
        ("byte_order_mark", 1),
        ("explanation", 1),
    ] {
        let metric = format!("kora_odd_fields_total{{field=\"{field}\"}} {count}\n");
        assert!(metrics.contains(&metric), "{metric}");
    }
    gateway.stop().await;
}

/// Whoever compares it with the subject that was asked about would take it for one that is not named.
#[tokio::test]
async fn a_subject_that_cannot_be_read_is_no_result() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for value in [
        json!(7),
        json!({"id": "subj_other"}),
        json!("x".repeat(5000)),
    ] {
        let mut body = completed();
        body["subject_id"] = value;
        kora.act(Act::json(200, &body));
        for rpc in [Rpc::Screen, Rpc::GetScreening] {
            let answer = rpc.call().send(gateway.grpc).await;
            assert_eq!(answer.reason(), "KORA_RESPONSE_INVALID");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_failed_screening_is_an_answer_to_who_reads_it() {
    let failed = json!({"screening_id": SCREENING_ID, "status": "FAILED"});
    let kora = ScriptedKora::start(Act::json(200, &failed)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let answer = Rpc::GetScreening.call().send(gateway.grpc).await;
    let screening = answer.ok::<pb::GetScreeningResponse>().screening.unwrap();
    assert_eq!(screening.status(), pb::ScreeningStatus::Failed);
    let answer = Rpc::Screen.call().send(gateway.grpc).await;
    assert_eq!(answer.status.code(), Code::Aborted);
    assert_eq!(
        answer.details().resource_info().unwrap().resource_name,
        SCREENING_ID
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_sent_is_what_was_asked_for() {
    let kora = ScriptedKora::start(Act::json(202, &json!({"screening_id": "s"}))).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let text = |text: &str| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
    };
    let list = || prost_types::Value {
        kind: Some(prost_types::value::Kind::ListValue(
            prost_types::ListValue {
                values: vec![text("x")],
            },
        )),
    };
    let fields = |names: &[&str]| {
        let value = |name: &str| match name {
            "checks" => list(),
            _ => text("x"),
        };
        Some(prost_types::Struct {
            fields: names
                .iter()
                .map(|name| ((*name).to_owned(), value(name)))
                .collect(),
        })
    };
    let request = pb::ScreenRequest {
        party: Some(pb::screen_request::Party::Subject(pb::SubjectProfile {
            additional_fields: fields(&["alias"]),
            ..profile()
        })),
        mode: pb::ScreeningMode::Async.into(),
        purpose: 0,
        checks: vec![],
        request_id: "67E55044-10B1-426F-9247-BB680E5FE0C8".to_owned(),
        additional_fields: fields(&["purpose", "checks", "list_selection"]),
        ..Default::default()
    };
    let answer = Call::new(Rpc::Screen, &request).send(gateway.grpc).await;
    assert_eq!(
        answer.screening().purpose(),
        pb::ScreeningPurpose::Unspecified
    );
    let sent = kora.take_received().remove(0);
    assert_eq!(
        sent.json(),
        json!({
            "mode": "ASYNC", "purpose": "x", "checks": ["x"], "list_selection": "x",
            "subject": {"type": "INDIVIDUAL", "name": "Jane Smith", "alias": "x"}
        })
    );
    // uuid.uuid5(NAME_SPACE, "\0".join([TENANT_ID, "anonymous", "Screen", request_id.lower()]))
    assert_eq!(
        sent.header("idempotency-key"),
        Some("6e6d8030-0a24-5354-b0c1-e6d48ff670dd")
    );

    for (names, path) in [
        (&["mode"][..], "additional_fields.mode"),
        (&["subjectId"], "additional_fields.subjectId"),
        (&["callback_url"], "additional_fields.callback_url"),
        (&["PURPOSE"], "additional_fields.PURPOSE"),
    ] {
        let refused = pb::ScreenRequest {
            additional_fields: fields(names),
            ..screen_request()
        };
        let answer = Call::new(Rpc::Screen, &refused).send(gateway.grpc).await;
        let bad = answer.details().bad_request().unwrap().clone();
        assert_eq!(bad.field_violations[0].field, path);
    }
    assert!(kora.take_received().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn an_id_is_one_segment_of_the_path() {
    let kora = ScriptedKora::start(Act::error(404, "NOT_FOUND")).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for (id, path) in [
        ("scr_1", "/api/v1/screenings/scr_1"),
        ("../subjects/x", "/api/v1/screenings/..%2Fsubjects%2Fx"),
        ("a?b#c d", "/api/v1/screenings/a%3Fb%23c%20d"),
        ("%2e%2e", "/api/v1/screenings/%252e%252e"),
    ] {
        let request = pb::GetScreeningRequest {
            screening_id: id.to_owned(),
            include_raw_json: false,
        };
        let answer = Call::new(Rpc::GetScreening, &request)
            .send(gateway.grpc)
            .await;
        assert_eq!(answer.reason(), "SCREENING_NOT_FOUND");
        assert_eq!(kora.take_received()[0].path, path);
    }
    for id in ["", ".", "..", &"x".repeat(1025)] {
        let request = pb::GetSubjectRequest {
            subject_id: id.to_owned(),
        };
        let answer = Call::new(Rpc::GetSubject, &request)
            .send(gateway.grpc)
            .await;
        assert_eq!(answer.reason(), "INVALID_REQUEST");
    }
    assert!(kora.take_received().is_empty());
    gateway.stop().await;
}
