//! When a screening goes on as ASYNC and when it does not, and what ends the wait for its event.

use super::*;
use crate::{
    harness::of_tenant,
    requests::{completed, request},
};

/// More than the gateway reads of its log at a time.
const MORE_THAN_A_PAGE: usize = 110;

/// Kora's answer to a SYNC screening is this, and an ASYNC one is taken.
fn first_answered(first: Act) -> Act {
    Act::scripted(move |received| match received.is_async() {
        true => taken(),
        false => first.clone(),
    })
}

#[tokio::test]
async fn only_a_timeout_of_koras_leads_to_a_second_request() {
    let kora = ScriptedKora::start(taken()).await;
    for (first, reason) in [
        (Act::error(400, "VALIDATION_ERROR"), "KORA_VALIDATION"),
        (Act::error(500, "INTERNAL_ERROR"), "KORA_OUTCOME_UNKNOWN"),
        (Act::error(500, "SCREENING_FAILED"), "SCREENING_FAILED"),
        (
            Act::error(503, "SERVICE_UNAVAILABLE"),
            "KORA_OUTCOME_UNKNOWN",
        ),
        (Act::CloseAfterRequest, "KORA_OUTCOME_UNKNOWN"),
        (Act::json(200, &json!([])), "KORA_RESPONSE_INVALID"),
    ] {
        let gateway = Gateway::start(&kora.base_url(), &[]).await;
        kora.act(first_answered(first));
        let answer = screen(&gateway, &going_on(Uuid::new_v4())).await;
        assert_eq!(answer.reason(), reason);
        assert_eq!(kora.take_received().len(), 1, "{reason}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn an_async_screening_that_times_out_is_not_sent_again() {
    let kora = ScriptedKora::start(Act::error(503, "SCREENING_TIMEOUT")).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let request = pb::ScreenRequest {
        mode: pb::ScreeningMode::Async.into(),
        ..going_on(Uuid::new_v4())
    };
    assert_timed_out(&screen(&gateway, &request).await);
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_second_one_that_is_finished_at_once_is_answered_at_once() {
    let kora = ScriptedKora::start(Act::timeout_then(completed())).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let screening = screen(&gateway, &going_on(Uuid::new_v4()))
        .await
        .screening();
    assert_eq!(screening.status(), ScreeningStatus::Completed);
    let metrics = gateway.metrics().await;
    assert!(!metrics.contains("screenings_continued_total{kind=\"pending\"}"));
    let polls = of_tenant("store_polls_waiting");
    assert!(metrics.contains(&format!("{polls} 0\n")));
    gateway.stop().await;
}

#[tokio::test]
async fn the_second_one_waits_to_be_polled() {
    let kora = ScriptedKora::start(Act::timeout_then(taken())).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = start_screen(&gateway, going_on(Uuid::new_v4()));
    let polls = of_tenant("store_polls_waiting");
    gateway.wait_for_metric(&format!("{polls} 1\n")).await;
    tell(&gateway, "screening.completed", &approved(SCREENING_ID)).await;
    call.await.unwrap().screening();
    gateway.stop().await;
}

#[tokio::test]
async fn an_event_behind_many_others_is_found() {
    let (told, late) = Act::once_told(&json!({"screening_id": SCREENING_ID, "status": "PENDING"}));
    let kora = ScriptedKora::start(Act::timeout_then(late)).await;
    let (gateway, call) = going_on_at(&kora).await;
    for other in 0..MORE_THAN_A_PAGE {
        let other = approved(&format!("scr_other_{other}"));
        tell(&gateway, "screening.completed", &other).await;
    }
    tell(&gateway, "screening.completed", &approved(SCREENING_ID)).await;
    told.notify_one();
    let screening = call.await.unwrap().screening();
    assert_eq!(screening.status(), ScreeningStatus::Completed);
    gateway.stop().await;
}

#[tokio::test]
async fn an_event_that_says_completed_of_an_unfinished_screening_is_no_end() {
    let kora = ScriptedKora::start(Act::timeout_then(taken())).await;
    let (gateway, call) = going_on_at(&kora).await;
    for status in ["PENDING", "FINISHED", "COMPLETED"] {
        let mut data = approved(SCREENING_ID);
        data["status"] = status.into();
        tell(&gateway, "screening.completed", &data).await;
    }
    let screening = call.await.unwrap().screening();
    assert_eq!(screening.status(), ScreeningStatus::Completed);
    gateway.stop().await;
}

#[tokio::test]
async fn the_wait_for_the_event_ends_with_its_caller() {
    let kora = ScriptedKora::start(Act::timeout_then(taken())).await;
    let gateway = Gateway::start(&kora.base_url(), &[("max-calls", "1")]).await;
    let call = start_screen(&gateway, going_on(Uuid::new_v4()));
    let polls = of_tenant("store_polls_waiting");
    gateway.wait_for_metric(&format!("{polls} 1\n")).await;
    call.abort();
    gateway
        .wait_for_metric("screenings_continued_total{kind=\"pending\"} 1\n")
        .await;
    // Its place is free again.
    kora.act(completed());
    let next = async {
        while screen(&gateway, &request(Uuid::new_v4())).await.reason() == "GATEWAY_OVERLOADED" {}
    };
    tokio::time::timeout(Duration::from_secs(10), next)
        .await
        .unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn how_it_went_on_is_counted() {
    let kora = ScriptedKora::start(taken()).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    kora.act(Act::timeout_then(Act::error(400, "VALIDATION_ERROR")));
    assert_timed_out(&screen(&gateway, &going_on(Uuid::new_v4())).await);
    gateway
        .wait_for_metric("screenings_continued_total{kind=\"not submitted\"} 1\n")
        .await;
    gateway.stop().await;
}
