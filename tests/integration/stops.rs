//! How a gateway ends: everyone who was let in gets an answer that is true, and it ends in time.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tonic::Code;

use crate::{
    call::{Connection, Rpc, SCREENING_ID, SUBJECT_ID},
    deliveries::Webhooks,
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

#[tokio::test]
async fn a_call_in_flight_is_answered_before_the_gateway_ends() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = tokio::spawn(Rpc::Screen.call().send(gateway.grpc));
    kora.wait_for_requests(1).await;
    gateway.start_stop();
    wait_until_not_ready(&gateway).await;
    // Kora may have something to say about it.
    let webhooks = Webhooks::to(gateway.webhook);
    webhooks.deliver_event("late", "screening.started").await;
    told.notify_one();
    let answer = call.await.unwrap();
    assert_eq!(answer.screening().screening_id, SCREENING_ID);
    drop(webhooks);
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

async fn wait_until_not_ready(gateway: &Gateway) {
    let url = format!("http://{}/readyz", gateway.admin);
    let patience = Duration::from_secs(10);
    timeout(patience, async {
        while reqwest::get(&url).await.unwrap().status() != 503 {}
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

/// How long a connection that is asked to close has, and some more.
const LONGER_THAN_CLOSING: Duration = Duration::from_millis(1500);

/// A call that is on its way while the order to stop is given is refused unsent or answered whole. What got to
/// Kora is never cut: its caller would see a code that meshes resend.
#[tokio::test]
async fn a_call_that_meets_the_order_to_stop_is_not_cut() {
    let rounds: Vec<_> = (0..8).map(|_| tokio::spawn(meet_the_order())).collect();
    for round in rounds {
        round.await.unwrap();
    }
}

async fn meet_the_order() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let mut silent = TcpStream::connect(gateway.grpc).await.unwrap();
    let mut connection = Connection::open(gateway.grpc).await;
    let warm_up = Rpc::Screen.call().header("grpc-timeout", "1n");
    connection.send(warm_up).await.unwrap();
    let call = tokio::spawn(async move { connection.send(Rpc::Screen.call()).await });
    gateway.start_stop();
    // As long as a sent call is in flight, nobody's connection is cut, not even a silent one's.
    let mut bytes = Vec::new();
    let cut = timeout(LONGER_THAN_CLOSING, silent.read_to_end(&mut bytes)).await;
    told.notify_one();
    let answer = call.await.unwrap();
    let sent = kora.take_received().len();
    match answer {
        // The connection ended first.
        Err(_) => assert_eq!(sent, 0),
        Ok(answer) if answer.reason() == "GATEWAY_DRAINING" => {
            assert_eq!(answer.outcome().as_deref(), Some("NOT_SENT"));
            assert!(answer.details().retry_info().is_some());
            assert_eq!(sent, 0);
        }
        Ok(answer) => {
            assert_eq!(answer.screening().screening_id, SCREENING_ID);
            assert_eq!((sent, cut.is_ok()), (1, false));
        }
    }
    gateway.stop().await;
}

/// A message that never comes: the deadline and the stop reach the call all the same.
#[tokio::test]
async fn a_call_without_its_message_is_held_to_deadline_and_stop() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let mut connection = Connection::open(gateway.grpc).await;
    let hasty = Rpc::Screen.call().header("grpc-timeout", "300m");
    let answer = connection.send_without_message(hasty).await.unwrap();
    assert_eq!(answer.reason(), "DEADLINE_BEFORE_SEND");
    assert_eq!(answer.outcome().as_deref(), Some("NOT_SENT"));
    let mut same_connection = connection.clone();
    let waiting =
        tokio::spawn(async move { connection.send_without_message(Rpc::Screen.call()).await });
    tokio::task::yield_now().await;
    // What is sent later on one connection arrives later: when this one is answered, the other one waits.
    let later = Rpc::Screen.call().header("grpc-timeout", "1n");
    same_connection.send(later).await.unwrap();
    let start = Instant::now();
    gateway.stop().await;
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "it held the stop up"
    );
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.reason(), "GATEWAY_DRAINING");
    assert_eq!(answer.outcome().as_deref(), Some("NOT_SENT"));
    assert!(kora.take_received().is_empty());
}

#[tokio::test]
async fn a_stop_lets_every_call_finish() {
    for rpc in Rpc::ALL {
        let (told, late) = Act::once_told(&json!({
            "screening_id": SCREENING_ID, "subject_id": SUBJECT_ID, "status": "PENDING"
        }));
        let kora = ScriptedKora::start(late).await;
        let gateway = Gateway::start(&kora.base_url(), &[]).await;
        let call = tokio::spawn(rpc.call().send(gateway.grpc));
        kora.wait_for_requests(1).await;
        let mut stop = tokio::spawn(gateway.stop());
        assert!(
            timeout(LONGER_THAN_CLOSING, &mut stop).await.is_err(),
            "{rpc:?}"
        );
        told.notify_one();
        assert_eq!(call.await.unwrap().status.code(), Code::Ok, "{rpc:?}");
        stop.await.unwrap();
    }
}

#[tokio::test]
async fn a_stop_waits_for_a_sent_call_whose_caller_left() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let call = tokio::spawn(Rpc::Screen.call().send(gateway.grpc));
    kora.wait_for_requests(1).await;
    call.abort();
    gateway
        .wait_for_metric("method=\"Screen\",code=\"CANCELLED\"")
        .await;
    let mut stop = tokio::spawn(gateway.stop());
    let cut = timeout(LONGER_THAN_CLOSING, &mut stop).await;
    assert!(cut.is_err(), "the stop cut a request that Kora has");
    told.notify_one();
    stop.await.unwrap();
}
