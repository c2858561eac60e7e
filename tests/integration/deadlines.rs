//! Who waits how long, and what goes on when nobody waits any more.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tonic::Code;

use crate::{
    call::{Rpc, SCREENING_ID},
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
    let (told, late) = late_answer();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = Rpc::Screen.call().header("grpc-timeout", "200m");
    let answer = call.send(gateway.grpc).await;
    assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    told.notify_one();
    wait_for_metric(&gateway, "endpoint=\"POST /screenings\",status=\"200\"").await;
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_cut_a_sent_call() {
    let (told, late) = late_answer();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = tokio::spawn(Rpc::Screen.call().send(gateway.grpc));
    kora.wait_for_requests(1).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    wait_for_metric(&gateway, "method=\"Screen\",code=\"CANCELLED\"").await;
    told.notify_one();
    wait_for_metric(&gateway, "endpoint=\"POST /screenings\",status=\"200\"").await;
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

#[tokio::test]
async fn a_call_in_flight_is_answered_before_the_gateway_ends() {
    let (told, late) = late_answer();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = tokio::spawn(Rpc::Screen.call().send(gateway.grpc));
    kora.wait_for_requests(1).await;
    gateway.start_stop();
    wait_until_not_ready(&gateway).await;
    told.notify_one();
    let answer = call.await.unwrap();
    assert_eq!(answer.screening().screening_id, SCREENING_ID);
    let (grpc, start) = (gateway.grpc, Instant::now());
    gateway.stop().await;
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "something held the stop up"
    );
    assert!(TcpStream::connect(grpc).await.is_err());
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_hold_the_stop_up() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let silent = TcpStream::connect(gateway.grpc).await.unwrap();
    let start = Instant::now();
    gateway.stop().await;
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "a silent client held the stop up"
    );
    drop(silent);
}

/// An answer that waits for the word.
fn late_answer() -> (Arc<Notify>, Act) {
    let told = Arc::new(Notify::new());
    let pending = json!({"screening_id": SCREENING_ID, "status": "PENDING"});
    let late = Act::AnswerOnceTold(Arc::clone(&told), Box::new(Act::json(200, &pending)));
    (told, late)
}

async fn wait_until_not_ready(gateway: &Gateway) {
    let url = format!("http://{}/readyz", gateway.admin);
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, async {
        while reqwest::get(&url).await.unwrap().status() != 503 {}
    })
    .await
    .unwrap();
}

async fn metrics_of(gateway: &Gateway) -> String {
    let url = format!("http://{}/metrics", gateway.admin);
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

/// Asks until a line with `part` is there.
async fn wait_for_metric(gateway: &Gateway, part: &str) {
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, async {
        while !metrics_of(gateway).await.contains(part) {}
    })
    .await
    .unwrap();
}

/// Without an answer of its own, a call that the stop cuts would read as one that meshes may resend.
#[tokio::test]
async fn a_call_that_the_stop_gives_up_is_answered_unknown() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[("drain-timeout", "2500ms")]).await;
    let calls = Rpc::ALL.map(|rpc| tokio::spawn(rpc.call().send(gateway.grpc)));
    kora.wait_for_requests(Rpc::ALL.len()).await;
    let start = Instant::now();
    gateway.stop().await;
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "the stop waited for Kora"
    );
    for (rpc, call) in Rpc::ALL.into_iter().zip(calls) {
        let answer = call.await.unwrap();
        let (reason, outcome) = match rpc.is_paid() {
            true => ("KORA_OUTCOME_UNKNOWN", Some("UNKNOWN".to_owned())),
            false => ("KORA_INTERNAL", None),
        };
        assert_eq!(
            (answer.reason().as_str(), answer.outcome()),
            (reason, outcome),
            "{rpc:?}"
        );
    }
}

#[tokio::test]
async fn a_call_that_is_still_connecting_at_the_end_of_a_stop_was_not_sent() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/api/v1", silent.local_addr().unwrap());
    let gateway = Gateway::start(&url, &[("drain-timeout", "2500ms")]).await;
    let call = tokio::spawn(Rpc::Screen.call().send(gateway.grpc));
    let _handshaking = silent.accept().await.unwrap();
    gateway.stop().await;
    let answer = call.await.unwrap();
    assert_eq!(answer.reason(), "GATEWAY_DRAINING");
    assert_eq!(answer.outcome().as_deref(), Some("NOT_SENT"));
    assert!(answer.details().retry_info().is_some());
}
