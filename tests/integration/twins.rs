//! A name in another spelling may contradict what Kora says, and never supplies it.

use serde_json::{Value, json};
use uuid::Uuid;

use kora_gateway::pb::{self, ScreeningStatus};

use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID, SUBJECT_ID, screen_request},
    deliveries::Webhooks,
    harness::Gateway,
    reconciler::{
        COMPLETED, NEVER, SOON, deliver, ended, gateway_with, pending, wait_for_polls,
        wait_for_waiting,
    },
    requests::start_screen,
    scripted_kora::{Act, ScriptedKora},
};

/// An approval of the subject that calls ask for.
fn approved() -> Value {
    json!({
        "screening_id": SCREENING_ID, "subject_id": SUBJECT_ID, "status": "COMPLETED",
        "decision": {"outcome": "APPROVE"}
    })
}

/// The same with a member more, and one less.
fn with(name: &str, value: Value, absent: &str) -> Value {
    let mut body = approved();
    body[name] = value;
    body.as_object_mut().unwrap().remove(absent);
    body
}

fn by_id() -> Call {
    let request = pb::ScreenRequest {
        party: Some(pb::screen_request::Party::SubjectId(SUBJECT_ID.to_owned())),
        ..screen_request()
    };
    Call::new(Rpc::Screen, &request)
}

fn assert_invalid(answer: &Answer, context: &Value) {
    assert_eq!(answer.reason(), "KORA_RESPONSE_INVALID", "{context}");
}

#[tokio::test]
async fn a_screening_that_contradicts_itself_is_no_answer() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let twice = json!({"Outcome": "BLOCK", "outcome": "APPROVE"});
    for body in [
        with("subjectId", json!("subj_B"), ""),
        with("SUBJECT_ID", json!("subj_B"), ""),
        with("subjectid", json!(7), ""),
        with("Status", json!("FAILED"), ""),
        with("_status_", json!("PENDING"), ""),
        with("Decision", json!({"outcome": "BLOCK"}), ""),
        with("DECISION", json!("none"), ""),
        with("decision", twice, ""),
        with(
            "decision",
            json!({"outcome": "APPROVE", "out_come": null, "OutCome": 1}),
            "",
        ),
        with("screeningId", json!("scr_2"), ""),
        with("Status", json!("COMPLETED"), "status"),
    ] {
        kora.act(Act::json(200, &body));
        for call in [by_id(), Rpc::Screen.call(), Rpc::GetScreening.call()] {
            assert_invalid(&call.send(gateway.grpc).await, &body);
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_asked_for_is_contradicted_too() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let other_subject = with("subjectId", json!("subj_B"), "subject_id");
    kora.act(Act::json(200, &other_subject));
    assert_invalid(&by_id().send(gateway.grpc).await, &other_subject);
    // Without an id to compare it with it is as good as not there.
    let screening = Rpc::Screen.call().send(gateway.grpc).await.screening();
    assert_eq!(screening.subject_id, "");
    let same_subject = with("subjectId", json!(SUBJECT_ID), "subject_id");
    kora.act(Act::json(200, &same_subject));
    let screening = by_id().send(gateway.grpc).await.screening();
    assert_eq!(screening.subject_id, SUBJECT_ID);

    let by_own_id = with("id", json!(SCREENING_ID), "screening_id");
    kora.act(Act::json(200, &by_own_id));
    Rpc::GetScreening
        .call()
        .send(gateway.grpc)
        .await
        .ok::<pb::GetScreeningResponse>();
    let mut contradicted = by_own_id;
    contradicted["screeningId"] = json!("scr_2");
    kora.act(Act::json(200, &contradicted));
    assert_invalid(
        &Rpc::GetScreening.call().send(gateway.grpc).await,
        &contradicted,
    );
    // Accepted, and not bare: the decision has no status.
    let decided = json!({"screening_id": SCREENING_ID, "Decision": {"outcome": "BLOCK"}});
    kora.act(Act::json(202, &decided));
    assert_invalid(&Rpc::Screen.call().send(gateway.grpc).await, &decided);
    gateway.stop().await;
}

#[tokio::test]
async fn a_subject_with_another_id_in_another_spelling_is_no_answer() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for (body, is_valid) in [
        (
            json!({"subject_id": SUBJECT_ID, "subjectId": "subj_B"}),
            false,
        ),
        (json!({"id": SUBJECT_ID, "Subject_ID": "subj_B"}), false),
        (json!({"subjectId": SUBJECT_ID}), false),
        (
            json!({"subject_id": SUBJECT_ID, "subjectId": SUBJECT_ID}),
            true,
        ),
        (
            json!({"subject_id": SUBJECT_ID, "Status": "a", "status": "b"}),
            true,
        ),
    ] {
        kora.act(Act::json(200, &body));
        for rpc in [Rpc::CreateSubject, Rpc::GetSubject] {
            let answer = rpc.call().send(gateway.grpc).await;
            assert_eq!(
                answer.reason() != "KORA_RESPONSE_INVALID",
                is_valid,
                "{body}"
            );
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn twins_elsewhere_or_with_the_same_value_mean_nothing() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for body in [
        with("subjectId", json!(SUBJECT_ID), ""),
        with("Status", Value::Null, ""),
        with("Decision", json!({"outcome": "APPROVE"}), ""),
        with("Outcome", json!("BLOCK"), ""),
        with("nested", json!({"status": "x", "Status": "y"}), ""),
        with("Risk_Score", json!(999), ""),
        with(
            "matches",
            json!([{"subject_id": "a", "subjectId": "b"}]),
            "",
        ),
    ] {
        kora.act(Act::json(200, &body));
        let decision = by_id().send(gateway.grpc).await.screening().decision;
        assert_eq!(decision.unwrap().outcome(), pb::Outcome::Approve, "{body}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_webhook_that_contradicts_itself_ends_no_wait() {
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_with(&kora, NEVER).await;
    Rpc::Screen.call().send(gateway.grpc).await.screening();
    wait_for_waiting(&gateway, 1).await;
    let mut data = ended("COMPLETED", "APPROVE");
    data["subjectId"] = json!("subj_B");
    deliver(&gateway, "evt_1", COMPLETED, &data).await;
    gateway
        .wait_for_metric("webhooks_contradictory_total 1\n")
        .await;
    wait_for_waiting(&gateway, 1).await;
    let [event] = &crate::reconciler::events(&gateway).await[..] else {
        panic!("not one event");
    };
    assert_eq!(event.r#type, COMPLETED);
    assert!(event.payload.is_none());
    assert_eq!(
        (event.screening_id.as_str(), event.subject_id.as_str()),
        ("", "")
    );
    let raw: Value = serde_json::from_slice(&event.raw_json).unwrap();
    assert_eq!(raw["data"], data);
    deliver(&gateway, "evt_2", COMPLETED, &ended("COMPLETED", "BLOCK")).await;
    wait_for_waiting(&gateway, 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_screening_that_goes_on_is_not_ended_by_an_event_that_contradicts_itself() {
    let taken = Act::json(
        202,
        &json!({"screening_id": SCREENING_ID, "subject_id": "subj_A"}),
    );
    let kora = ScriptedKora::start(Act::timeout_then(taken)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let request = pb::ScreenRequest {
        request_id: Uuid::new_v4().to_string(),
        on_timeout: pb::TimeoutPolicy::ContinueAsync.into(),
        ..screen_request()
    };
    let call = Call::new(Rpc::Screen, &request).header("grpc-timeout", "4S");
    let call = tokio::spawn(call.send(gateway.grpc));
    kora.wait_for_requests(2).await;
    let data = json!({
        "screening_id": SCREENING_ID, "subject_id": "subj_A", "subjectId": "subj_B",
        "decision": {"outcome": "APPROVE"}
    });
    let body = json!({"id": "evt_1", "event": COMPLETED, "data": data});
    Webhooks::to(gateway.webhook)
        .deliver(body.to_string().as_bytes())
        .await;
    let screening = call.await.unwrap().screening();
    assert_eq!(screening.status(), ScreeningStatus::Pending);
    assert_eq!(screening.decision, None);
    gateway.stop().await;
}

#[tokio::test]
async fn a_poll_reads_no_end_that_contradicts_itself() {
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_with(&kora, SOON).await;
    let call = start_screen(&gateway, screen_request());
    call.await.unwrap().screening();
    let mut answer = ended("COMPLETED", "APPROVE");
    answer["Decision"] = json!({"outcome": "BLOCK"});
    kora.act(Act::json(200, &answer));
    wait_for_polls(&gateway, "failed", 1).await;
    assert!(crate::reconciler::events(&gateway).await.is_empty());
    gateway.stop().await;
}
