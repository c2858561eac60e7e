//! Kora's rate limit, as its answers tell it: calls wait for their turn, or hear at once that they cannot have one.

mod timing;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kora_gateway::pb::{self, ScreeningMode};
use serde_json::json;
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tonic::Code;

use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID, screen_request},
    harness::{Gateway, calls_waiting},
    scripted_kora::{Act, Received, ScriptedKora},
    subscriber::PATIENCE,
};

/// Requests in one of Kora's windows.
const LIMIT: u32 = 100;

/// How long a spent window lasts in these tests.
const SPENT_FOR: u64 = 2;

/// How long it lasts where nobody waits it out.
const SPENT_FOR_LONG: u64 = 60;

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs()
}

fn limited(act: Act, remaining: u32, reset: u64) -> Act {
    act.with_header("x-ratelimit-limit", &LIMIT.to_string())
        .with_header("x-ratelimit-remaining", &remaining.to_string())
        .with_header("x-ratelimit-reset", &reset.to_string())
}

fn screened(received: &Received) -> Act {
    let status = match received.is_async() {
        true => "PENDING",
        false => "COMPLETED",
    };
    Act::json(
        200,
        &json!({
            "screening_id": SCREENING_ID, "status": status, "decision": {"outcome": "APPROVE"},
        }),
    )
}

/// Refuses everything until its window is over, and then tells with each answer that `left` are left.
fn spent_window(reset: u64, left: u32) -> Act {
    Act::scripted(move |received| match unix_seconds() < reset {
        true => limited(Act::error(429, "RATE_LIMITED"), 0, reset),
        false => limited(screened(received), left, reset + 60),
    })
}

fn screen(mode: ScreeningMode, timeout: &str) -> Call {
    let request = pb::ScreenRequest {
        mode: mode.into(),
        ..screen_request()
    };
    Call::new(Rpc::Screen, &request).header("grpc-timeout", timeout)
}

fn start(gateway: &Gateway, call: Call) -> JoinHandle<Answer> {
    tokio::spawn(call.send(gateway.grpc))
}

/// What a refused call is told to wait. It certainly did not happen.
fn hint(answer: &Answer, reason: &str) -> Duration {
    assert_eq!(answer.status.code(), Code::ResourceExhausted);
    assert_eq!(answer.reason(), reason);
    let wait = answer.details().retry_info().unwrap().retry_delay;
    wait.unwrap()
}

#[tokio::test]
async fn a_spent_window_is_waited_out_or_refused_with_a_hint_that_works() {
    let reset = unix_seconds() + SPENT_FOR;
    let kora = ScriptedKora::start(spent_window(reset, LIMIT)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let hurried = || screen(ScreeningMode::Sync, "500m");
    // Kora itself says so to the first; the second is not sent any more.
    let first = hurried().send(gateway.grpc).await;
    let by_kora = hint(&first, "KORA_RATE_LIMITED");
    assert_eq!(kora.take_received().len(), 1);
    let patient = start(&gateway, screen(ScreeningMode::Sync, "10S"));
    let refused = hurried().send(gateway.grpc).await;
    let by_us = hint(&refused, "RATE_PACED");
    assert_eq!(refused.outcome().as_deref(), Some("NOT_SENT"));
    assert!(kora.take_received().is_empty());

    let mut followed = JoinSet::new();
    for wait in [by_kora, by_us] {
        assert!(wait > Duration::from_millis(500), "{wait:?}");
        let (call, grpc) = (hurried(), gateway.grpc);
        followed.spawn(async move {
            // This is what the hint says.
            sleep(wait).await;
            call.send(grpc).await
        });
    }
    for answer in followed.join_all().await {
        assert_eq!(answer.screening().screening_id, SCREENING_ID);
    }
    let answer = patient.await.unwrap();
    assert_eq!(answer.screening().screening_id, SCREENING_ID);
    assert!(unix_seconds() >= reset);
    assert_eq!(kora.take_received().len(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn who_waits_for_a_result_goes_first_and_the_rest_has_its_tenth() {
    const WAITING: usize = 18;
    /// A tenth of the limit.
    const OPENING: usize = LIMIT as usize / 10;
    let reset = unix_seconds() + SPENT_FOR;
    // Nothing is answered at first, so that what the window opens with is all that is sent.
    let told = Arc::new(Notify::new());
    let answer_when = Arc::clone(&told);
    let kora = ScriptedKora::start(Act::scripted(move |received| {
        if unix_seconds() < reset {
            return limited(Act::error(429, "RATE_LIMITED"), 0, reset);
        }
        let answer = limited(screened(received), LIMIT, reset + 60);
        Act::AnswerOnceTold(Arc::clone(&answer_when), Box::new(answer))
    }))
    .await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let first = screen(ScreeningMode::Sync, "500m").send(gateway.grpc).await;
    hint(&first, "KORA_RATE_LIMITED");
    kora.take_received();

    let mut calls = JoinSet::new();
    for _ in 0..WAITING {
        calls.spawn(screen(ScreeningMode::Async, "20S").send(gateway.grpc));
    }
    let waits = |lane| calls_waiting(lane, WAITING);
    gateway.wait_for_metric(&waits("background")).await;
    let read = Rpc::GetScreening.call().header("grpc-timeout", "20S");
    calls.spawn(read.send(gateway.grpc));
    for _ in 1..WAITING {
        calls.spawn(screen(ScreeningMode::Sync, "20S").send(gateway.grpc));
    }
    gateway.wait_for_metric(&waits("interactive")).await;
    kora.wait_for_requests(OPENING).await;
    let opening = kora.take_received();
    let is_async = |received: &&Received| received.is_async();
    assert_eq!(opening[..OPENING].iter().filter(is_async).count(), 1);
    let answers = async {
        loop {
            told.notify_waiters();
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        all = calls.join_all() => {
            for answer in all {
                assert_eq!(answer.status.code(), Code::Ok, "{:?}", answer.status);
            }
        }
        () = answers => {}
    }
    gateway.stop().await;
}

#[tokio::test]
async fn who_waits_for_a_turn_is_told_that_the_gateway_stops() {
    let reset = unix_seconds() + 60;
    let kora = ScriptedKora::start(spent_window(reset, LIMIT)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let first = screen(ScreeningMode::Sync, "500m").send(gateway.grpc).await;
    hint(&first, "KORA_RATE_LIMITED");
    let mut waiting = JoinSet::new();
    for rpc in Rpc::ALL {
        let call = rpc.call().header("grpc-timeout", "120S");
        waiting.spawn(call.send(gateway.grpc));
    }
    let all = calls_waiting("interactive", Rpc::ALL.len());
    gateway.wait_for_metric(&all).await;
    gateway.stop().await;
    for answer in waiting.join_all().await {
        assert_eq!(answer.reason(), "GATEWAY_DRAINING");
        assert!(answer.details().retry_info().is_some());
    }
    assert_eq!(kora.take_received().len(), 1);
}

#[tokio::test]
async fn nobody_waits_for_a_turn_after_the_caller_has_gone_or_the_order_to_stop() {
    let reset = unix_seconds() + SPENT_FOR_LONG;
    let kora = ScriptedKora::start(spent_window(reset, LIMIT)).await;
    for rpc in [Rpc::Screen, Rpc::CreateSubject] {
        let gateway = Gateway::start(&kora.base_url(), &[]).await;
        let first = rpc.call().header("grpc-timeout", "500m");
        hint(&first.send(gateway.grpc).await, "KORA_RATE_LIMITED");
        kora.take_received();
        let wait = || start(&gateway, rpc.call().header("grpc-timeout", "100S"));
        let waiting = |count| calls_waiting("interactive", count);
        let gone = wait();
        gateway.wait_for_metric(&waiting(1)).await;
        gone.abort();
        gateway.wait_for_metric(&waiting(0)).await;

        let stopped = wait();
        gateway.wait_for_metric(&waiting(1)).await;
        gateway.stop().await;
        let answer = stopped.await.unwrap();
        assert_eq!(answer.reason(), "GATEWAY_DRAINING", "{rpc:?}");
        assert_eq!(answer.outcome().as_deref(), Some("NOT_SENT"));
        assert!(kora.take_received().is_empty());
    }
}

#[tokio::test]
async fn nobody_waits_out_koras_delay_after_the_caller_has_gone_or_the_order_to_stop() {
    let busy = Act::error(503, "SERVICE_UNAVAILABLE").with_header("retry-after", "60");
    let kora = ScriptedKora::start(busy).await;
    let flags = [("trust-kora-503", "true"), ("max-calls", "1")];
    let gateway = Gateway::start(&kora.base_url(), &flags).await;
    let wait = || start(&gateway, screen(ScreeningMode::Sync, "100S"));
    let retried = |count| format!("kora_retries_total{{reason=\"KORA_UNAVAILABLE\"}} {count}\n");
    let gone = wait();
    gateway.wait_for_metric(&retried(1)).await;
    gone.abort();
    let free = async {
        let hurried = || screen(ScreeningMode::Sync, "1S").send(gateway.grpc);
        while hurried().await.reason() == "GATEWAY_OVERLOADED" {}
    };
    timeout(PATIENCE, free).await.unwrap();

    let stopped = wait();
    gateway.wait_for_metric(&retried(2)).await;
    gateway.stop().await;
    let answer = stopped.await.unwrap();
    assert_eq!(answer.reason(), "KORA_UNAVAILABLE");
    assert_eq!(kora.take_received().len(), 3);

    let gateway = Gateway::start(&kora.base_url(), &[("drain-timeout", "2500ms")]).await;
    let read = Rpc::GetScreening.call().header("grpc-timeout", "100S");
    let stopped = start(&gateway, read);
    gateway.wait_for_metric(&retried(1)).await;
    gateway.stop().await;
    assert_eq!(stopped.await.unwrap().reason(), "KORA_INTERNAL");
}
