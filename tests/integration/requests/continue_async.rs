//! A SYNC screening that Kora gives up on goes on as ASYNC where its caller asks for that, and never reads as
//! something that did not happen.

mod joiners;
mod limits;
mod subjects;

use std::{sync::Arc, time::Duration};

use kora_gateway::pb::{self, RequestState, ScreeningStatus};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinHandle};
use tonic::Code;
use uuid::Uuid;

use super::{is_replay, record, screen, start_screen};
use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID, screen_request},
    deliveries::Webhooks,
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

fn going_on(id: Uuid) -> pb::ScreenRequest {
    pb::ScreenRequest {
        request_id: id.to_string(),
        on_timeout: pb::TimeoutPolicy::ContinueAsync.into(),
        ..screen_request()
    }
}

/// A gateway, and a call through it whose second request Kora has got.
async fn going_on_at(kora: &ScriptedKora) -> (Gateway, JoinHandle<Answer>) {
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = start_screen(&gateway, going_on(Uuid::new_v4()));
    kora.wait_for_requests(2).await;
    (gateway, call)
}

fn taken() -> Act {
    Act::json(202, &json!({"screening_id": SCREENING_ID}))
}

async fn tell(gateway: &Gateway, kind: &str, data: &Value) {
    let body = json!({"id": Uuid::new_v4().to_string(), "event": kind, "data": data});
    let webhooks = Webhooks::to(gateway.webhook);
    webhooks.deliver(body.to_string().as_bytes()).await;
}

fn approved(screening_id: &str) -> Value {
    json!({"screening_id": screening_id, "decision": {"outcome": "APPROVE"}})
}

fn assert_timed_out(answer: &Answer) {
    assert_eq!(answer.status.code(), Code::DeadlineExceeded);
    assert_eq!(answer.reason(), "KORA_SCREENING_TIMEOUT");
    assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
}

#[tokio::test]
async fn the_event_in_time_is_the_finished_screening() {
    let kora = ScriptedKora::start(Act::timeout_then(taken())).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    let call = start_screen(&gateway, going_on(id));
    kora.wait_for_requests(2).await;
    tell(&gateway, "screening.completed", &approved("scr_other")).await;
    tell(
        &gateway,
        "screening.started",
        &json!({"screening_id": SCREENING_ID}),
    )
    .await;
    tell(&gateway, "screening.completed", &approved(SCREENING_ID)).await;
    let answer = call.await.unwrap();
    let screening = answer.screening();
    assert_eq!(screening.screening_id, SCREENING_ID);
    assert_eq!(screening.status(), ScreeningStatus::Completed);
    assert_eq!(screening.mode(), pb::ScreeningMode::Async);
    assert_eq!(screening.decision.unwrap().outcome(), pb::Outcome::Approve);

    let received = kora.take_received().into_iter();
    let sent: Vec<_> = received.filter(|it| it.method == "POST").collect();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].json()["mode"], "SYNC");
    let (mut first, mut second) = (sent[0].json(), sent[1].json());
    let keys = [&sent[0], &sent[1]].map(|request| request.header("idempotency-key").unwrap());
    assert_ne!(keys[0], keys[1], "they are two requests");
    first["mode"].take();
    second["mode"].take();
    assert_eq!(first, second, "and the same screening");

    let again = screen(&gateway, &going_on(id)).await;
    assert!(is_replay(&again));
    assert_eq!(again.screening(), answer.screening());
    assert!(kora.take_received().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn an_event_that_overtakes_the_answer_is_not_missed() {
    let told = Arc::new(Notify::new());
    let late = Act::AnswerOnceTold(Arc::clone(&told), Box::new(taken()));
    let kora = ScriptedKora::start(Act::timeout_then(late)).await;
    let (gateway, call) = going_on_at(&kora).await;
    tell(&gateway, "screening.completed", &approved(SCREENING_ID)).await;
    told.notify_one();
    let screening = call.await.unwrap().screening();
    assert_eq!(screening.status(), ScreeningStatus::Completed);
    gateway.stop().await;
}

#[tokio::test]
async fn without_an_event_in_time_it_is_pending() {
    let kora = ScriptedKora::start(Act::timeout_then(taken())).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    let call = Call::new(Rpc::Screen, &going_on(id)).header("grpc-timeout", "3S");
    let screening = call.send(gateway.grpc).await.screening();
    assert_eq!(screening.screening_id, SCREENING_ID);
    assert_eq!(screening.status(), ScreeningStatus::Pending);
    assert!(screening.decision.is_none());
    assert_eq!(record(&gateway, id).await.state(), RequestState::Succeeded);
    gateway.stop().await;
}

#[tokio::test]
async fn the_order_to_stop_ends_the_wait_with_pending() {
    let kora = ScriptedKora::start(Act::timeout_then(taken())).await;
    let (gateway, call) = going_on_at(&kora).await;
    // The answer of the second one is on its way to the gateway.
    gateway.stop().await;
    let screening = call.await.unwrap().screening();
    assert_eq!(screening.status(), ScreeningStatus::Pending);
}

#[tokio::test]
async fn whatever_stops_the_second_one_the_first_is_unknown() {
    let kora = ScriptedKora::start(taken()).await;
    let flags = [("kora-timeout", "500ms"), ("trust-kora-503", "true")];
    let limited = || Act::error(429, "RATE_LIMITED").with_header("retry-after", "3600");
    for (what, act) in [
        ("429", limited()),
        ("400", Act::error(400, "VALIDATION_ERROR")),
        ("401", Act::error(401, "UNAUTHORIZED")),
        ("403", Act::error(403, "FORBIDDEN")),
        ("404", Act::error(404, "NOT_FOUND")),
        ("409", Act::error(409, "CONFLICT")),
        ("500", Act::error(500, "INTERNAL_ERROR")),
        ("failed", Act::error(500, "SCREENING_FAILED")),
        (
            "failed in a 200",
            Act::json(200, &json!({"screening_id": "s", "status": "FAILED"})),
        ),
        (
            "503",
            Act::error(503, "SERVICE_UNAVAILABLE").with_header("retry-after", "3600"),
        ),
        ("timeout again", Act::error(503, "SCREENING_TIMEOUT")),
        ("cut", Act::CloseAfterRequest),
        ("hangs", Act::Hang),
        ("junk", Act::json(200, &json!([]))),
        ("redirect", Act::Answer(302, Vec::new(), Vec::new())),
    ] {
        let gateway = Gateway::start(&kora.base_url(), &flags).await;
        kora.act(Act::timeout_then(act));
        let id = Uuid::new_v4();
        let answer = screen(&gateway, &going_on(id)).await;
        assert_timed_out(&answer);
        let posts = kora.take_received();
        assert_eq!(posts.len(), 2, "{what}");
        assert_eq!(posts[0].json()["mode"], "SYNC", "{what}");
        kora.act(taken());
        assert_timed_out(&screen(&gateway, &going_on(id)).await);
        assert!(kora.take_received().is_empty(), "{what}: sent again");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_circuit_that_opens_between_the_two_is_the_timeout() {
    let told = Arc::new(Notify::new());
    let timeout = Box::new(Act::error(503, "SCREENING_TIMEOUT"));
    let kora = ScriptedKora::start(Act::AnswerOnceTold(Arc::clone(&told), timeout)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    let call = start_screen(&gateway, going_on(id));
    kora.wait_for_requests(1).await;
    kora.act(Act::CloseAfterRequest);
    while screen(&gateway, &screen_request()).await.reason() != "KORA_CIRCUIT_OPEN" {}
    kora.take_received();
    kora.act(taken());
    told.notify_one();
    assert_timed_out(&call.await.unwrap());
    assert_timed_out(&screen(&gateway, &going_on(id)).await);
    assert!(kora.take_received().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a_rate_limit_that_is_spent_between_the_two_is_the_timeout() {
    let reset = jiff::Timestamp::now().as_second() + 60;
    let spent = Act::error(503, "SCREENING_TIMEOUT")
        .with_header("x-ratelimit-limit", "100")
        .with_header("x-ratelimit-remaining", "0")
        .with_header("x-ratelimit-reset", &reset.to_string());
    let kora = ScriptedKora::start(spent).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    assert_timed_out(&screen(&gateway, &going_on(id)).await);
    kora.act(taken());
    assert_timed_out(&screen(&gateway, &going_on(id)).await);
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn the_callers_deadline_during_the_second_one_is_the_timeout() {
    let kora = ScriptedKora::start(Act::timeout_then(Act::Hang)).await;
    let gateway = Gateway::start(&kora.base_url(), &[("kora-timeout", "2s")]).await;
    let call = Call::new(Rpc::Screen, &going_on(Uuid::new_v4())).header("grpc-timeout", "700m");
    assert_timed_out(&call.send(gateway.grpc).await);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stop_during_the_second_one_is_the_timeout() {
    let kora = ScriptedKora::start(Act::timeout_then(Act::Hang)).await;
    let gateway = Gateway::start(&kora.base_url(), &[("drain-timeout", "2500ms")]).await;
    let call = start_screen(&gateway, going_on(Uuid::new_v4()));
    kora.wait_for_requests(2).await;
    gateway.stop().await;
    assert_timed_out(&call.await.unwrap());
}

#[tokio::test]
async fn a_stop_before_the_second_one_is_the_timeout() {
    let told = Arc::new(Notify::new());
    let timeout = Box::new(Act::error(503, "SCREENING_TIMEOUT"));
    let late = Act::AnswerOnceTold(Arc::clone(&told), timeout);
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = start_screen(&gateway, going_on(Uuid::new_v4()));
    kora.wait_for_requests(1).await;
    gateway.start_stop();
    let url = format!("http://{}/readyz", gateway.admin);
    let draining = async { while reqwest::get(&url).await.unwrap().status() != 503 {} };
    tokio::time::timeout(Duration::from_secs(10), draining)
        .await
        .unwrap();
    told.notify_one();
    assert_timed_out(&call.await.unwrap());
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_screening_that_fails_after_all_is_the_timeout() {
    let kora = ScriptedKora::start(Act::timeout_then(taken())).await;
    let (gateway, call) = going_on_at(&kora).await;
    tell(
        &gateway,
        "screening.failed",
        &json!({"screening_id": SCREENING_ID}),
    )
    .await;
    assert_timed_out(&call.await.unwrap());
    gateway.stop().await;
}

#[tokio::test]
async fn who_did_not_ask_for_it_gets_one_request() {
    let kora = ScriptedKora::start(Act::timeout_then(taken())).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    assert_timed_out(&screen(&gateway, &screen_request()).await);
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}
