//! Connections do not grow old, and nobody loses anything by it.

use std::{net::SocketAddr, time::Duration};

use kora_gateway::pb::{self, watch_events_response::Signal};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;

use crate::{
    call::{Connection, Rpc, SCREENING_ID},
    deliveries::{Webhooks, signature},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
    subscriber::{Subscriber, after, from_earliest},
};

/// How old a connection gets in a test.
const AGE: Duration = Duration::from_millis(300);

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

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
    timeout(PATIENCE, refused).await.unwrap();
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

/// A webhook with this id, as it goes over the wire.
fn webhook(id: &str) -> Vec<u8> {
    let body = json!({"id": id, "event": "case.closed", "data": {}}).to_string();
    let (length, signature) = (body.len(), signature(body.as_bytes()));
    format!(
        "POST /webhooks/compliance HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\
         x-webhook-signature: {signature}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends one webhook after the other on a connection until it has ended.
async fn send_until_it_ends(addr: SocketAddr) {
    let mut client = TcpStream::connect(addr).await.unwrap();
    for number in 0.. {
        let mut answer = [0; 1024];
        if client
            .write_all(&webhook(&number.to_string()))
            .await
            .is_err()
        {
            return;
        }
        match client.read(&mut answer).await {
            Ok(length @ 1..) => assert!(answer[..length].starts_with(b"HTTP/1.1 200 ")),
            Ok(0) | Err(_) => return,
        }
    }
}

#[tokio::test]
async fn a_webhook_on_a_connection_that_gets_old_is_answered_and_no_other_is_taken() {
    let gateway = Gateway::start_with("http://127.0.0.1:1/api/v1", &[], |config| {
        config.webhook_listener.patience.age = AGE;
    })
    .await;
    let mut old = TcpStream::connect(gateway.webhook).await.unwrap();
    let whole = webhook("late");
    let (begin, end) = whole.split_at(whole.len() - 1);
    old.write_all(begin).await.unwrap();
    // One life after the other: however they differ, two are longer than one.
    for _ in 0..2 {
        let ended = timeout(PATIENCE, send_until_it_ends(gateway.webhook));
        ended.await.unwrap();
    }
    old.write_all(end).await.unwrap();
    let mut answer = String::new();
    let ended = timeout(PATIENCE, old.read_to_string(&mut answer));
    ended.await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    gateway.stop().await;
}
