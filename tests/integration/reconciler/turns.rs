//! Which polls are made, when, and behind whom.

use super::{waits::connect, *};
use crate::{harness::calls_waiting, requests::completed};

/// Longer than any test, and no longer than a pause can be.
const LATER: Duration = Duration::from_secs(4 * 60);

fn pending_as(id: &str) -> Act {
    Act::json(200, &json!({"screening_id": id, "status": "PENDING"}))
}

#[tokio::test]
async fn only_what_is_due_is_polled() {
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(pending_as("scr_later")).await;
    let gateway = gateway_on(directory.path(), &kora, LATER).await;
    screen(&gateway).await;
    gateway.stop().await;

    let gateway = gateway_on(directory.path(), &kora, SOON).await;
    kora.act(pending_as("scr_soon"));
    screen(&gateway).await;
    wait_for_polls(&gateway, "unfinished", 3).await;
    wait_for_waiting(&gateway, 2).await;
    gateway.stop().await;
    let received = kora.take_received();
    assert!(polls(&received) >= 3);
    assert!(
        received
            .iter()
            .all(|request| !request.path.ends_with("scr_later"))
    );
}

#[tokio::test]
async fn a_screening_is_polled_ever_more_rarely() {
    const POLLS: u64 = 5;
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(pending()).await;
    let log = format!("file:{}", directory.path().display());
    let gateway = Gateway::start_with(&kora.base_url(), &[("event-log", &log)], |config| {
        config.reconciler.first_pause = SOON;
        config.reconciler.max_pause = NEVER;
    })
    .await;
    screen(&gateway).await;
    wait_for_polls(&gateway, "unfinished", POLLS).await;
    gateway.stop().await;
    let (attempts, waited): (u32, i64) = connect(directory.path())
        .query_row(
            "SELECT attempts, next_poll - create_time FROM polls",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    // Each pause is twice the one before it, and chance takes no more than a quarter of it.
    let pauses: i64 = (0..=attempts).map(|polls| 20 << polls).sum();
    assert!(
        waited >= pauses * 3 / 4,
        "{waited} ms after {attempts} polls"
    );
}

#[tokio::test]
async fn polls_take_their_turns_behind_the_callers() {
    let reset = jiff::Timestamp::now().as_second() + 20;
    let spent = pending()
        .with_header("x-ratelimit-limit", "100")
        .with_header("x-ratelimit-remaining", "0")
        .with_header("x-ratelimit-reset", &reset.to_string());
    let kora = ScriptedKora::start(spent).await;
    let gateway = gateway_with(&kora, SOON).await;
    screen(&gateway).await;
    gateway
        .wait_for_metric(&calls_waiting("background", 1))
        .await;
    kora.act(completed());
    gateway.stop().await;
    assert_eq!(polls(&kora.take_received()), 0);
}

#[tokio::test]
async fn a_screening_that_goes_on_for_ever_is_given_up_by_its_age() {
    let kora = ScriptedKora::start(pending()).await;
    let gateway = Gateway::start_with(&kora.base_url(), &[], |config| {
        config.reconciler.first_pause = SOON;
        config.reconciler.max_pause = SOON;
        config.reconciler.max_age = 20 * SOON;
    })
    .await;
    screen(&gateway).await;
    gateway
        .wait_for_metric("reconciler_given_up_total 1\n")
        .await;
    wait_for_waiting(&gateway, 0).await;
    assert!(events(&gateway).await.is_empty());
    gateway.stop().await;
}
