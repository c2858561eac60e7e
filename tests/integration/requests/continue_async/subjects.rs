//! The event that ends a continued screening is about its subject, and Kora's own answer then tells the whole of it.

use super::*;
use crate::harness::of_tenant;

/// The subject that is screened.
const ASKED: &str = "subj_A";
const OTHER: &str = "subj_B";

/// Kora gives up on the SYNC screening, takes the ASYNC one with `taken`, and answers every read with `read`.
fn going_on_with(taken: Value, read: Act) -> Act {
    Act::scripted(move |received| match received.method.as_str() {
        "GET" => read.clone(),
        _ if received.is_async() => Act::json(202, &taken),
        _ => Act::error(503, "SCREENING_TIMEOUT"),
    })
}

fn of_known_subject(id: Uuid) -> pb::ScreenRequest {
    pb::ScreenRequest {
        party: Some(pb::screen_request::Party::SubjectId(ASKED.to_owned())),
        ..going_on(id)
    }
}

fn taken_about(subject: Option<&str>) -> Value {
    match subject {
        Some(subject) => json!({"screening_id": SCREENING_ID, "subject_id": subject}),
        None => json!({"screening_id": SCREENING_ID}),
    }
}

/// The finished screening as Kora tells it.
fn finished(subject: &str, outcome: &str) -> Act {
    Act::json(
        200,
        &json!({
            "screening_id": SCREENING_ID, "subject_id": subject, "status": "COMPLETED", "risk_score": 17,
            "decision": {"outcome": outcome, "triggered_rules": ["rule_of_the_answer"]},
        }),
    )
}

fn approval_of(subject: &str) -> Value {
    json!({
        "screening_id": SCREENING_ID, "subject_id": subject, "decision": {"outcome": "APPROVE"},
    })
}

/// A call that waits for its event: Kora has taken it, and it waits to be polled.
async fn waiting(
    kora: &ScriptedKora,
    request: pb::ScreenRequest,
    timeout: &str,
) -> (Gateway, JoinHandle<Answer>) {
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = Call::new(Rpc::Screen, &request).header("grpc-timeout", timeout);
    let call = tokio::spawn(call.send(gateway.grpc));
    let polls = of_tenant("store_polls_waiting");
    gateway.wait_for_metric(&format!("{polls} 1\n")).await;
    (gateway, call)
}

fn assert_pending(answer: &Answer) {
    let screening = answer.screening();
    assert_eq!(screening.screening_id, SCREENING_ID);
    assert_eq!(screening.status(), ScreeningStatus::Pending);
    assert!(screening.decision.is_none());
}

async fn tell_beside_data(gateway: &Gateway, subject: &str) {
    let body = json!({
        "id": Uuid::new_v4().to_string(), "event": "screening.completed", "subject_id": subject,
        "data": {"screening_id": SCREENING_ID, "decision": {"outcome": "APPROVE"}},
    });
    let webhooks = Webhooks::to(gateway.webhook);
    webhooks.deliver(body.to_string().as_bytes()).await;
}

#[tokio::test]
async fn an_end_about_another_subject_is_no_end() {
    let read = Act::json(
        200,
        &json!({"screening_id": SCREENING_ID, "subject_id": ASKED, "status": "PENDING"}),
    );
    let kora = ScriptedKora::start(going_on_with(taken_about(Some(ASKED)), read)).await;
    for is_in_data in [true, false] {
        let (gateway, call) = waiting(&kora, of_known_subject(Uuid::new_v4()), "3S").await;
        if is_in_data {
            tell(&gateway, "screening.completed", &approval_of(OTHER)).await;
        } else {
            tell_beside_data(&gateway, OTHER).await;
        }
        gateway
            .wait_for_metric("screening_ends_not_used_total{kind=\"other subject\"} 1\n")
            .await;
        assert_pending(&call.await.unwrap());
        let polls = of_tenant("store_polls_waiting");
        gateway.wait_for_metric(&format!("{polls} 1\n")).await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn the_end_after_one_about_another_subject_is_the_answer() {
    let kora = ScriptedKora::start(going_on_with(taken_about(None), Act::error(404, "X"))).await;
    let (gateway, call) = waiting(&kora, of_known_subject(Uuid::new_v4()), "20S").await;
    let mut failure = approval_of(OTHER);
    failure["decision"].take();
    tell(&gateway, "screening.failed", &failure).await;
    tell(&gateway, "screening.completed", &approval_of(OTHER)).await;
    let mut blocked = approval_of(ASKED);
    blocked["decision"]["outcome"] = "BLOCK".into();
    tell(&gateway, "screening.completed", &blocked).await;
    let screening = call.await.unwrap().screening();
    assert_eq!(screening.subject_id, ASKED);
    assert_eq!(screening.decision.unwrap().outcome(), pb::Outcome::Block);
    gateway.stop().await;
}

#[tokio::test]
async fn the_answer_is_the_whole_screening_as_kora_tells_it_then() {
    let read = finished(ASKED, "APPROVE");
    let kora = ScriptedKora::start(going_on_with(taken_about(None), read)).await;
    for request in [of_known_subject, going_on] {
        let (gateway, call) = waiting(&kora, request(Uuid::new_v4()), "20S").await;
        tell(&gateway, "screening.completed", &approval_of(ASKED)).await;
        let screening = call.await.unwrap().screening();
        assert_eq!(screening.risk_score, Some(17));
        assert_eq!(screening.mode(), pb::ScreeningMode::Async);
        let decision = screening.decision.unwrap();
        assert_eq!(decision.outcome(), pb::Outcome::Approve);
        assert_eq!(decision.triggered_rules, ["rule_of_the_answer"]);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn an_end_that_kora_disputes_is_no_decision() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let failed = Act::json(
        200,
        &json!({"screening_id": SCREENING_ID, "subject_id": ASKED, "status": "FAILED"}),
    );
    let mut answer = approval_of(ASKED);
    answer["status"] = "COMPLETED".into();
    let with = |change: fn(&mut Value)| {
        let mut answer = answer.clone();
        change(&mut answer);
        Act::json(200, &answer)
    };
    let contradictory = with(|answer| answer["decision"]["Outcome"] = "BLOCK".into());
    let of_another = with(|answer| answer["screening_id"] = "scr_other".into());
    let unreadable = with(|answer| answer["subject_id"] = json!({"id": OTHER}));
    type Request = fn(Uuid) -> pb::ScreenRequest;
    for (what, request, read) in [
        (
            "another outcome",
            of_known_subject as Request,
            finished(ASKED, "BLOCK"),
        ),
        ("a failure", of_known_subject, failed),
        (
            "another subject",
            of_known_subject,
            finished(OTHER, "APPROVE"),
        ),
        ("another new subject", going_on, finished(OTHER, "APPROVE")),
        (
            "a subject that cannot be read",
            of_known_subject,
            unreadable,
        ),
        ("itself", of_known_subject, contradictory),
        ("another screening", of_known_subject, of_another),
    ] {
        kora.act(going_on_with(taken_about(None), read));
        let (gateway, call) = waiting(&kora, request(Uuid::new_v4()), "20S").await;
        tell(&gateway, "screening.completed", &approval_of(ASKED)).await;
        assert_pending(&call.await.unwrap());
        let metrics = gateway.metrics().await;
        let disputed = "screening_ends_not_used_total{kind=\"disputed\"} 1\n";
        assert!(metrics.contains(disputed), "{what}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn where_kora_cannot_be_read_in_time_the_event_alone_is_the_answer() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let unfinished = json!({"screening_id": SCREENING_ID, "status": "IN_PROGRESS"});
    for (read, timeout) in [
        (Act::error(500, "INTERNAL_ERROR"), "20S"),
        (Act::json(200, &unfinished), "20S"),
        (Act::Hang, "3S"),
    ] {
        kora.act(going_on_with(taken_about(None), read));
        let (gateway, call) = waiting(&kora, of_known_subject(Uuid::new_v4()), timeout).await;
        tell(&gateway, "screening.completed", &approval_of(ASKED)).await;
        let screening = call.await.unwrap().screening();
        assert_eq!(screening.status(), ScreeningStatus::Completed);
        assert_eq!(screening.decision.unwrap().outcome(), pb::Outcome::Approve);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_new_subject_that_the_event_alone_names_is_no_decision() {
    let kora = ScriptedKora::start(Act::Hang).await;
    for read in [Act::error(500, "INTERNAL_ERROR"), Act::error(404, "X")] {
        kora.act(going_on_with(taken_about(None), read));
        let (gateway, call) = waiting(&kora, going_on(Uuid::new_v4()), "20S").await;
        tell(&gateway, "screening.completed", &approval_of(OTHER)).await;
        assert_pending(&call.await.unwrap());
        gateway.stop().await;
    }
}

#[tokio::test]
async fn an_end_whose_subject_cannot_be_read_is_no_end() {
    let read = Act::error(500, "INTERNAL_ERROR");
    let kora = ScriptedKora::start(going_on_with(taken_about(None), read)).await;
    for subject in [json!({"id": OTHER}), json!(7), json!("B".repeat(5000))] {
        let (gateway, call) = waiting(&kora, of_known_subject(Uuid::new_v4()), "3S").await;
        let mut approval = approval_of(ASKED);
        approval["subject_id"] = subject;
        tell(&gateway, "screening.completed", &approval).await;
        assert_pending(&call.await.unwrap());
        let polls = of_tenant("store_polls_waiting");
        gateway.wait_for_metric(&format!("{polls} 1\n")).await;
        gateway.stop().await;
    }
}
