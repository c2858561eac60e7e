//! Whose word on the end of a screening goes on the log.

use kora_gateway::pb::{self, EventSource, event::Payload};

use super::{
    COMPLETED, NEVER, SOON, assert_reconciled, deliver, ended, events, gateway_with, outcome_of,
    pending, polls, screen, wait_for_polls, wait_for_waiting,
};
use crate::{
    call::{SCREENING_ID, screen_request},
    requests::start_screen,
    scripted_kora::{Act, ScriptedKora},
};

#[tokio::test]
async fn without_a_webhook_the_end_is_what_kora_answers() {
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_with(&kora, SOON).await;
    assert_eq!(screen(&gateway).await.screening_id, SCREENING_ID);
    kora.wait_for_requests(3).await;
    assert!(events(&gateway).await.is_empty(), "before its end");
    let answer = ended("COMPLETED", "REVIEW_REQUIRED");
    kora.act(Act::json(200, &answer));
    wait_for_polls(&gateway, "reconciled", 1).await;
    let [event] = &events(&gateway).await[..] else {
        panic!("not one event");
    };
    assert_reconciled(event, COMPLETED, "REVIEW_REQUIRED");
    assert_eq!(event.subject_id, "subj_1");
    assert_eq!(event.raw_json, answer.to_string().as_bytes());
    let Some(Payload::ScreeningUpdate(update)) = &event.payload else {
        panic!("no screening");
    };
    let screening = update.screening.as_ref().unwrap();
    assert!(screening.raw_json.is_empty(), "the body is there twice");
    assert_eq!(event.occur_time.unwrap().seconds, 1_767_323_045);
    assert!(event.supersedes_event_id.is_empty());
    wait_for_waiting(&gateway, 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_screening_that_kora_gave_up_has_failed() {
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_with(&kora, SOON).await;
    screen(&gateway).await;
    kora.act(Act::json(200, &ended("FAILED", "APPROVE")));
    wait_for_polls(&gateway, "reconciled", 1).await;
    let events = events(&gateway).await;
    assert_eq!(events.len(), 1);
    assert_reconciled(&events[0], "screening.failed", "");
    gateway.stop().await;
}

#[tokio::test]
async fn a_webhook_ends_the_wait() {
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_with(&kora, NEVER).await;
    screen(&gateway).await;
    wait_for_waiting(&gateway, 1).await;
    let data = ended("IN_PROGRESS", "");
    deliver(&gateway, "evt_1", "screening.started", &data).await;
    wait_for_waiting(&gateway, 1).await;
    deliver(&gateway, "evt_2", COMPLETED, &ended("COMPLETED", "APPROVE")).await;
    wait_for_waiting(&gateway, 0).await;
    assert_eq!(polls(&kora.take_received()), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_webhook_that_comes_before_the_answer_leaves_nothing_to_wait_for() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = gateway_with(&kora, SOON).await;
    let call = start_screen(&gateway, screen_request());
    kora.wait_for_requests(1).await;
    deliver(&gateway, "evt_1", COMPLETED, &ended("COMPLETED", "APPROVE")).await;
    told.notify_one();
    assert_eq!(call.await.unwrap().screening().screening_id, SCREENING_ID);
    wait_for_waiting(&gateway, 0).await;
    assert_eq!(events(&gateway).await.len(), 1);
    assert_eq!(polls(&kora.take_received()), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_webhook_that_overtakes_a_poll_is_the_only_end() {
    let (answer_told, late_answer) = Act::pending_once_told();
    let kora = ScriptedKora::start(late_answer).await;
    let gateway = gateway_with(&kora, SOON).await;
    let call = start_screen(&gateway, screen_request());
    kora.wait_for_requests(1).await;
    let (told, late) = Act::once_told(&ended("COMPLETED", "APPROVE"));
    kora.act(late);
    answer_told.notify_one();
    call.await.unwrap().screening();
    kora.wait_for_requests(2).await;
    deliver(&gateway, "evt_1", COMPLETED, &ended("COMPLETED", "BLOCK")).await;
    told.notify_one();
    wait_for_polls(&gateway, "overtaken", 1).await;
    let [event] = &events(&gateway).await[..] else {
        panic!("not one event");
    };
    assert_eq!(event.source(), EventSource::Webhook);
    assert_eq!(outcome_of(event), "BLOCK");
    gateway.stop().await;
}

#[tokio::test]
async fn a_webhook_that_comes_later_replaces_what_was_reconciled() {
    for (kind, outcome, disputed) in [
        (COMPLETED, "APPROVE", 0),
        (COMPLETED, "BLOCK", 1),
        (COMPLETED, "", 0),
        ("screening.failed", "", 1),
    ] {
        let kora = ScriptedKora::start(pending()).await;
        let gateway = gateway_with(&kora, SOON).await;
        screen(&gateway).await;
        kora.act(Act::json(200, &ended("COMPLETED", "APPROVE")));
        wait_for_polls(&gateway, "reconciled", 1).await;

        let mut data = ended(
            if kind == COMPLETED {
                "COMPLETED"
            } else {
                "FAILED"
            },
            outcome,
        );
        if outcome.is_empty() {
            data.as_object_mut().unwrap().remove("decision");
        }
        deliver(&gateway, "evt_1", kind, &data).await;
        // Kora delivers until it is answered: known again.
        deliver(&gateway, "evt_1", kind, &data).await;
        let [reconciled, webhook] = &events(&gateway).await[..] else {
            panic!("not two events");
        };
        assert_reconciled(reconciled, COMPLETED, "APPROVE");
        assert_eq!(webhook.source(), EventSource::Webhook);
        assert_eq!(webhook.event_id, "evt_1");
        assert_eq!(webhook.supersedes_event_id, reconciled.event_id);
        assert_eq!(outcome_of(webhook), outcome);
        let metric = format!("store_reconciled_disputed_total {disputed}\n");
        assert!(
            gateway.metrics().await.contains(&metric),
            "{kind} {outcome}"
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn an_answer_about_another_subject_ends_nothing() {
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_with(&kora, SOON).await;
    let mut request = screen_request();
    request.party = Some(pb::screen_request::Party::SubjectId("subj_A".to_owned()));
    start_screen(&gateway, request).await.unwrap().screening();
    // `ended` is about subj_1.
    kora.act(Act::json(200, &ended("COMPLETED", "APPROVE")));
    wait_for_polls(&gateway, "failed", 2).await;
    let metrics = gateway.metrics().await;
    assert!(!metrics.contains("reconciler_other_subjects_total 0\n"));
    assert!(events(&gateway).await.is_empty());
    // Nor does a webhook about another one.
    deliver(&gateway, "other", COMPLETED, &ended("COMPLETED", "APPROVE")).await;
    wait_for_waiting(&gateway, 1).await;
    let mut answer = ended("COMPLETED", "BLOCK");
    answer["subject_id"] = "subj_A".into();
    kora.act(Act::json(200, &answer));
    wait_for_polls(&gateway, "reconciled", 1).await;
    let events = events(&gateway).await;
    assert_eq!(events.len(), 2);
    assert_reconciled(&events[1], COMPLETED, "BLOCK");
    assert_eq!(events[1].subject_id, "subj_A");
    gateway.stop().await;
}
