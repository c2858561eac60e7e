//! Connections do not grow old, and nobody loses anything by it.

use std::time::Duration;

use kora_gateway::pb::{self, watch_events_response::Signal};
use serde_json::json;
use tonic::Code;

use crate::{
    call::{Connection, Rpc, SCREENING_ID},
    deliveries::Webhooks,
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
    subscriber::{Subscriber, after, from_earliest},
};

/// How old a connection gets in a test.
const AGE: Duration = Duration::from_millis(300);

/// How often a subscriber's connection has to be made anew.
const ROTATIONS: usize = 5;

async fn gateway(base_url: &str) -> Gateway {
    Gateway::start_with(base_url, &[], |config| {
        config.grpc_listener.patience.age = AGE;
    })
    .await
}

#[tokio::test]
async fn a_busy_subscriber_is_sent_on_and_loses_nothing() {
    let gateway = gateway("http://127.0.0.1:1/api/v1").await;
    let webhooks = Webhooks::to(gateway.webhook);
    let deliver = tokio::spawn(async move {
        for number in 0.. {
            webhooks
                .deliver_event(&format!("evt_{number}"), "case.closed")
                .await;
        }
    });
    let (mut token, mut next, mut rotations) = (None, 0, 0);
    while rotations < ROTATIONS {
        let subscriber = Subscriber::connect(gateway.grpc).await;
        let request = token.as_deref().map_or_else(from_earliest, after);
        let mut stream = subscriber.watch(request).await.unwrap();
        let ended = loop {
            let message: pb::WatchEventsResponse = match stream.next().await {
                Ok(message) => message.unwrap(),
                Err(status) => break status,
            };
            token = Some(message.resume_token);
            for event in message.events {
                assert_eq!(event.event_id, format!("evt_{next}"));
                next += 1;
            }
            if matches!(message.signal, Some(Signal::Draining(_))) {
                rotations += 1;
            }
        };
        assert_eq!(ended.code(), Code::Unavailable);
    }
    assert!(next > ROTATIONS, "{next}");
    deliver.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_on_a_connection_that_gets_old_is_answered() {
    let answer = json!({"screening_id": SCREENING_ID, "status": "PENDING"});
    let (told, late) = Act::once_told(&answer);
    let kora = ScriptedKora::start(late).await;
    let gateway = gateway(&kora.base_url()).await;
    let mut old = Connection::open(gateway.grpc).await;
    let mut same = old.clone();
    let call = tokio::spawn(async move { same.send(Rpc::Screen.call()).await });
    kora.wait_for_requests(1).await;
    // Until nothing new is taken on it.
    let refused = async {
        let hasty = || Rpc::Screen.call().header("grpc-timeout", "1n");
        while old.send(hasty()).await.is_ok() {}
    };
    tokio::time::timeout(Duration::from_secs(10), refused)
        .await
        .unwrap();
    assert!(!call.is_finished());
    told.notify_one();
    let answer = call.await.unwrap().unwrap();
    assert_eq!(answer.screening().screening_id, SCREENING_ID);
    gateway.stop().await;
}

/// A stream that does not end by itself, and a client that does not care.
#[tokio::test]
async fn a_connection_whose_client_does_not_leave_is_closed() {
    let gateway = Gateway::start_with("http://127.0.0.1:1/api/v1", &[], |config| {
        config.grpc_listener.patience.age = AGE;
        config.grpc_listener.patience.grace = AGE;
    })
    .await;
    let mut connection = Connection::open(gateway.grpc).await;
    let path = "/grpc.health.v1.Health/Watch".to_owned();
    let answer = connection.send(crate::call::Call::raw(path, &[])).await;
    assert!(answer.is_err(), "it was cut");
    gateway.stop().await;
}
