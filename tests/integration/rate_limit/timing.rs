//! Clocks that differ, answers that take long, and delays that Kora does not ask for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use kora_gateway::{clock::Clock, pb::ScreeningMode};
use tokio::{sync::Notify, time::sleep};
use tonic::Code;

use super::{LIMIT, hint, limited, screen, screened, start, unix_seconds};
use crate::{
    call::{Rpc, SCREENING_ID},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

/// More than the longest window.
const SKEW: SignedDuration = SignedDuration::from_secs(90);

fn clock_ahead_by(skew: SignedDuration) -> Clock {
    Clock::from_fn(move || Timestamp::now() + skew)
}

/// The answer with the time of day at Kora.
fn dated(act: Act) -> Act {
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    act.with_header("date", &now)
}

/// Tells that the window is spent until `reset`, and that a new one is full after it.
fn spent_after_the_first(reset: u64) -> Act {
    Act::scripted(move |received| {
        dated(if unix_seconds() < reset {
            limited(screened(received), 0, reset)
        } else {
            limited(screened(received), LIMIT, reset + 60)
        })
    })
}

#[tokio::test]
async fn a_gateway_whose_clock_is_fast_knows_that_the_window_is_spent() {
    let kora = ScriptedKora::start(spent_after_the_first(unix_seconds() + 60)).await;
    let gateway = Gateway::start_on(&kora.base_url(), &[], clock_ahead_by(SKEW)).await;
    screen(ScreeningMode::Sync, "5S")
        .send(gateway.grpc)
        .await
        .screening();
    let refused = screen(ScreeningMode::Sync, "5S").send(gateway.grpc).await;
    let wait = hint(&refused, "RATE_PACED");
    assert!(wait > Duration::from_secs(50), "{wait:?}");
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_whose_clock_is_slow_knows_when_the_window_ends() {
    let kora = ScriptedKora::start(spent_after_the_first(unix_seconds() + 2)).await;
    let gateway = Gateway::start_on(&kora.base_url(), &[], clock_ahead_by(-SKEW)).await;
    screen(ScreeningMode::Sync, "9S")
        .send(gateway.grpc)
        .await
        .screening();
    let waited = screen(ScreeningMode::Sync, "9S").send(gateway.grpc).await;
    assert_eq!(waited.screening().screening_id, SCREENING_ID);
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_would_wait_too_long_to_be_answered_is_not_sent() {
    const KORA_TAKES: Duration = Duration::from_secs(1);
    let reset = unix_seconds() + 4;
    let told = Arc::new(Notify::new());
    let late = Arc::clone(&told);
    let kora = ScriptedKora::start(Act::scripted(move |received| {
        let answer = limited(screened(received), 0, reset);
        Act::AnswerOnceTold(Arc::clone(&late), Box::new(dated(answer)))
    }))
    .await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let first = start(&gateway, screen(ScreeningMode::Sync, "20S"));
    kora.wait_for_requests(1).await;
    let asked = Instant::now();
    // This is how long Kora works.
    sleep(KORA_TAKES).await;
    told.notify_one();
    first.await.unwrap().screening();
    let took = asked.elapsed();

    // The window opens before this deadline, and the answer would come after it.
    let until_open = Duration::from_secs(reset + 1 - unix_seconds());
    let deadline = until_open + took / 2;
    let hurried = screen(ScreeningMode::Sync, &format!("{}m", deadline.as_millis()));
    let refused = hurried.send(gateway.grpc).await;
    hint(&refused, "RATE_PACED");
    assert_eq!(refused.outcome().as_deref(), Some("NOT_SENT"));
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_whose_turn_is_now_is_sent_however_long_answers_take() {
    let told = Arc::new(Notify::new());
    let late = Arc::clone(&told);
    let kora = ScriptedKora::start(Act::scripted(move |received| {
        let answer = limited(screened(received), LIMIT, unix_seconds() + 60);
        Act::AnswerOnceTold(Arc::clone(&late), Box::new(dated(answer)))
    }))
    .await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let first = start(&gateway, screen(ScreeningMode::Sync, "20S"));
    kora.wait_for_requests(1).await;
    sleep(Duration::from_secs(1)).await;
    told.notify_one();
    first.await.unwrap().screening();
    let hurried = start(&gateway, screen(ScreeningMode::Sync, "800m"));
    kora.wait_for_requests(2).await;
    told.notify_one();
    hurried.await.unwrap().screening();

    let too_late = screen(ScreeningMode::Sync, "80m").send(gateway.grpc).await;
    assert_eq!(too_late.reason(), "DEADLINE_BEFORE_SEND");
    assert_eq!(kora.take_received().len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn a_503_is_repeated_with_backoff_whatever_the_rate_limit_says() {
    let busy = limited(
        Act::error(503, "SERVICE_UNAVAILABLE"),
        LIMIT,
        unix_seconds() + 60,
    );
    let kora = ScriptedKora::start(busy).await;
    let gateway = Gateway::start(&kora.base_url(), &[("trust-kora-503", "true")]).await;
    for rpc in Rpc::ALL {
        let began = Instant::now();
        let failed = rpc
            .call()
            .header("grpc-timeout", "20S")
            .send(gateway.grpc)
            .await;
        assert_eq!(failed.reason(), "KORA_UNAVAILABLE", "{rpc:?}");
        assert_eq!(failed.status.code(), Code::Unavailable);
        assert_eq!(kora.take_received().len(), 3, "{rpc:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{rpc:?}");
        let wait = failed.details().retry_info().unwrap().retry_delay;
        assert_eq!(wait, Some(Duration::from_secs(1)), "{rpc:?}");
    }
    gateway.stop().await;
}
