//! What waits to be polled, how long, and what becomes of it when something fails.

use std::{path::Path, time::Duration};

use rusqlite::Connection;

use super::{
    COMPLETED, NEVER, SOON, assert_reconciled, ended, events, gateway_on, gateway_with, pending,
    polled, polls, screen, wait_for_polls, wait_for_waiting,
};
use crate::{
    call::{Rpc, SCREENING_ID, screen_request},
    harness::{Gateway, TENANT_ID},
    requests::{completed, start_screen},
    scripted_kora::{Act, ScriptedKora},
};

pub fn connect(directory: &Path) -> Connection {
    Connection::open(directory.join(format!("{TENANT_ID}.events.db"))).unwrap()
}

/// A gateway that polls soon and once only.
async fn gateway_that_gives_up(kora: &ScriptedKora) -> Gateway {
    Gateway::start_with(&kora.base_url(), &[], |config| {
        config.reconciler.first_pause = SOON;
        config.reconciler.max_age = Duration::ZERO;
    })
    .await
}

/// Sees that the one event is Kora's BLOCK.
async fn assert_blocked(gateway: &Gateway) {
    let events = events(gateway).await;
    assert_eq!(events.len(), 1);
    assert_reconciled(&events[0], COMPLETED, "BLOCK");
}

#[tokio::test]
async fn what_waits_outlives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_on(directory.path(), &kora, SOON).await;
    screen(&gateway).await;
    wait_for_polls(&gateway, "unfinished", 1).await;
    gateway.stop().await;

    kora.act(Act::json(200, &ended("COMPLETED", "BLOCK")));
    let gateway = gateway_on(directory.path(), &kora, SOON).await;
    wait_for_polls(&gateway, "reconciled", 1).await;
    wait_for_waiting(&gateway, 0).await;
    assert_blocked(&gateway).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_answer_is_not_given_before_its_screening_waits() {
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_on(directory.path(), &kora, NEVER).await;
    screen(&gateway).await;
    let waiting: String = connect(directory.path())
        .query_row("SELECT screening_id FROM polls", [], |row| row.get(0))
        .unwrap();
    assert_eq!(waiting, SCREENING_ID);
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_over_or_unknown_does_not_wait() {
    let kora = ScriptedKora::start(completed()).await;
    let gateway = gateway_with(&kora, NEVER).await;
    screen(&gateway).await;
    for (act, reason) in [
        (Act::CloseAfterRequest, "KORA_OUTCOME_UNKNOWN"),
        (
            Act::json(200, &ended("FAILED", "APPROVE")),
            "SCREENING_FAILED",
        ),
    ] {
        kora.act(act);
        let answer = Rpc::Screen.call().send(gateway.grpc).await;
        assert_eq!(answer.reason(), reason);
    }
    wait_for_waiting(&gateway, 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_word_that_is_not_known_is_no_end() {
    let odd = serde_json::json!({"screening_id": SCREENING_ID, "status": "DONE"});
    let kora = ScriptedKora::start(Act::json(200, &odd)).await;
    let gateway = gateway_with(&kora, SOON).await;
    screen(&gateway).await;
    wait_for_polls(&gateway, "unfinished", 2).await;
    assert!(events(&gateway).await.is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn polls_that_fail_are_made_again_and_say_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_on(directory.path(), &kora, SOON).await;
    screen(&gateway).await;
    let mut failures = 0;
    for act in [
        Act::error(500, "INTERNAL_ERROR"),
        Act::error(404, "NOT_FOUND"),
        Act::CloseAfterRequest,
        Act::json(
            200,
            &serde_json::json!({"screening_id": "scr_9", "status": "COMPLETED"}),
        ),
    ] {
        kora.act(act);
        wait_for_polls(&gateway, "failed", failures + 1).await;
        failures = polled(&gateway, "failed").await;
    }
    assert!(events(&gateway).await.is_empty());
    let attempts: i64 = connect(directory.path())
        .query_row("SELECT attempts FROM polls", [], |row| row.get(0))
        .unwrap();
    assert!(attempts.cast_unsigned() >= failures, "{attempts}");
    kora.act(completed());
    wait_for_polls(&gateway, "reconciled", 1).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_screening_that_never_ends_is_given_up() {
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_that_gives_up(&kora).await;
    screen(&gateway).await;
    gateway
        .wait_for_metric("reconciler_given_up_total 1\n")
        .await;
    wait_for_waiting(&gateway, 0).await;
    assert_eq!(polls(&kora.take_received()), 1);
    gateway.stop().await;
}

/// The gateway can have been down for longer, or its clock was wrong.
#[tokio::test]
async fn a_screening_that_has_waited_for_too_long_is_asked_for_once_more() {
    let kora = ScriptedKora::start(Act::scripted(|received| match received.method == "POST" {
        true => pending(),
        false => Act::json(200, &ended("COMPLETED", "BLOCK")),
    }))
    .await;
    let gateway = gateway_that_gives_up(&kora).await;
    screen(&gateway).await;
    wait_for_waiting(&gateway, 0).await;
    assert_blocked(&gateway).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_damaged_poll_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_on(directory.path(), &kora, NEVER).await;
    screen(&gateway).await;
    gateway.stop().await;
    connect(directory.path())
        .execute("UPDATE polls SET screening_id = 'scr_9', next_poll = 0", [])
        .unwrap();
    let gateway = gateway_on(directory.path(), &kora, NEVER).await;
    gateway
        .wait_for_metric("reconciler_given_up_total 1\n")
        .await;
    assert_eq!(polls(&kora.take_received()), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_whose_screening_cannot_wait_yet_is_given_and_it_waits_later() {
    let directory = tempfile::tempdir().unwrap();
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = gateway_on(directory.path(), &kora, NEVER).await;
    let call = start_screen(&gateway, screen_request());
    kora.wait_for_requests(1).await;
    let other = connect(directory.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    told.notify_one();
    assert_eq!(call.await.unwrap().screening().screening_id, SCREENING_ID);
    gateway
        .wait_for_metric("reconciler_pending_records 1\n")
        .await;
    other.execute_batch("ROLLBACK").unwrap();
    wait_for_waiting(&gateway, 1).await;
    gateway
        .wait_for_metric("reconciler_pending_records 0\n")
        .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_slow_store_does_not_cost_the_caller_its_answer() {
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_on(directory.path(), &kora, NEVER).await;
    let other = connect(directory.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Less than the store waits for its lock.
    let call = Rpc::Screen.call().header("grpc-timeout", "1000m");
    let answer = call.send(gateway.grpc).await;
    assert_eq!(answer.screening().screening_id, SCREENING_ID);
    other.execute_batch("ROLLBACK").unwrap();
    // It waits all the same, as soon as the store can take it.
    wait_for_waiting(&gateway, 1).await;
    gateway.stop().await;
}
