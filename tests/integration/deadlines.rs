//! Who waits how long, and what goes on when nobody waits any more.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tonic::Code;

use crate::{
    call::Rpc,
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

#[tokio::test]
async fn the_typed_answer_comes_before_the_callers_deadline() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[("kora-timeout", "3s")]).await;
    let start = Instant::now();
    let calls = Rpc::ALL
        .map(|rpc| tokio::spawn(rpc.call().header("grpc-timeout", "1S").send(gateway.grpc)));
    for (rpc, call) in Rpc::ALL.into_iter().zip(calls) {
        let answer = call.await.unwrap();
        assert_eq!(answer.status.code(), Code::DeadlineExceeded, "{rpc:?}");
        assert_eq!(answer.reason(), "DEADLINE_EXCEEDED", "{rpc:?}");
        let outcome = rpc.is_paid().then(|| "UNKNOWN".to_owned());
        assert_eq!(answer.outcome(), outcome, "{rpc:?}");
    }
    assert!(
        start.elapsed() >= Duration::from_millis(850),
        "answered long before the deadline"
    );
    assert_eq!(kora.take_received().len(), Rpc::ALL.len());
    gateway.stop().await;
}

#[tokio::test]
async fn a_sent_call_goes_on_when_its_caller_stops_waiting() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = Rpc::Screen.call().header("grpc-timeout", "200m");
    let answer = call.send(gateway.grpc).await;
    assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    told.notify_one();
    gateway
        .wait_for_metric("endpoint=\"POST /screenings\",status=\"200\"")
        .await;
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_cut_a_sent_call() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = tokio::spawn(Rpc::Screen.call().send(gateway.grpc));
    kora.wait_for_requests(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    gateway
        .wait_for_metric("method=\"Screen\",code=\"CANCELLED\"")
        .await;
    told.notify_one();
    gateway
        .wait_for_metric("endpoint=\"POST /screenings\",status=\"200\"")
        .await;
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn the_attempt_has_a_limit_of_its_own() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[("kora-timeout", "200ms")]).await;
    let answer = Rpc::Screen.call().send(gateway.grpc).await;
    assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_read_that_is_not_answered_is_tried_again() {
    const ATTEMPTS: usize = 3;
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[("kora-timeout", "200ms")]).await;
    let answer = Rpc::GetScreening.call().send(gateway.grpc).await;
    assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    assert_eq!(kora.take_received().len(), ATTEMPTS);
    gateway.stop().await;
}

/// A connection that is not there yet when the deadline comes: nothing was sent, and nothing will be.
#[tokio::test]
async fn a_deadline_while_connecting_is_certainly_before_sending() {
    // Nobody accepts, so the TLS handshake never ends.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/api/v1", silent.local_addr().unwrap());
    let gateway = Gateway::start(&url, &[]).await;
    for rpc in [Rpc::Screen, Rpc::CreateSubject] {
        let answer = rpc
            .call()
            .header("grpc-timeout", "300m")
            .send(gateway.grpc)
            .await;
        assert_eq!(answer.status.code(), Code::DeadlineExceeded);
        assert_eq!(answer.reason(), "DEADLINE_BEFORE_SEND");
        assert_eq!(answer.outcome().as_deref(), Some("NOT_SENT"));
    }
    gateway.stop().await;
}
