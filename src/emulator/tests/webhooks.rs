//! How the end of a screening is told, and how often.

use std::sync::Arc;

use axum::body::Body;
use tokio_util::sync::CancellationToken;

use super::receiver::{Receiver, SILENCE};
use super::*;
use crate::emulator::{Twin, WEBHOOK_SECRET, Webhook, routes};

const ENDS: [&str; 3] = [
    "screening.completed",
    "screening.failed",
    "screening.match_found",
];

#[tokio::test]
async fn the_end_of_an_asynchronous_screening_is_told_signed() {
    let emulator = Emulator::start().await;
    let mut receiver = Receiver::start(&[]).await;
    let secret = emulator.subscribe(&receiver, &ENDS).await;
    let path = emulator.screen("Test Sanctioned Entity").await;
    let (mut first, mut second) = (receiver.next().await, receiver.next().await);
    if first.json()["event"] == "screening.completed" {
        std::mem::swap(&mut first, &mut second);
    }
    let (matched, completed) = (first.json(), second.json());
    let screening: Value = emulator.get(&path).await.json().await.unwrap();
    assert_eq!(screening["status"], "COMPLETED");
    assert_eq!(completed["event"], "screening.completed");
    assert_eq!(completed["data"], screening);
    assert_eq!(matched["event"], "screening.match_found");
    assert_eq!(
        matched["data"],
        json!({
            "screening_id": screening["screening_id"],
            "subject_id": screening["subject_id"],
            "match": screening["matches"][0],
        })
    );
    assert_ne!(matched["id"], completed["id"]);
    for arrival in [first, second] {
        let body = arrival.json();
        assert!(body["id"].as_str().unwrap().starts_with("evt_"));
        assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(body.as_object().unwrap().len(), 4);
        assert!(arrival.head.starts_with("POST /hook?a=b HTTP/1.1\r\n"));
        assert_eq!(arrival.header("content-type"), Some("application/json"));
        let host = receiver.url.split('/').nth(2);
        assert_eq!(arrival.header("host"), host);
        assert!(arrival.is_signed_with(&secret));
        assert!(!arrival.is_signed_with(WEBHOOK_SECRET));
    }
}

#[tokio::test]
async fn a_failed_screening_is_told_as_failed() {
    let emulator = Emulator::start().await;
    let mut receiver = Receiver::start(&[]).await;
    emulator.subscribe(&receiver, &ENDS).await;
    emulator.screen("Test Failed Screening").await;
    let body = receiver.next().await.json();
    assert_eq!(body["event"], "screening.failed");
    assert_eq!(body["data"]["status"], "FAILED");
    assert_eq!(emulator.deliveries().await.len(), 1);
}

#[tokio::test]
async fn a_screening_that_was_looked_at_to_its_end_is_told_once() {
    let emulator = Emulator::start().await;
    let mut receiver = Receiver::start(&[]).await;
    emulator.subscribe(&receiver, &ENDS).await;
    let looked_at = emulator.screen("Ada Example").await;
    for _ in 0..4 {
        emulator.get(&looked_at).await;
    }
    let told = receiver.next().await.json();
    assert!(looked_at.ends_with(told["data"]["screening_id"].as_str().unwrap()));
    // The second screening finishes by itself, and so later than the first one would have.
    let left_alone = emulator.screen("Ada Example").await;
    let told = receiver.next().await.json();
    assert!(left_alone.ends_with(told["data"]["screening_id"].as_str().unwrap()));
    assert_eq!(emulator.ended_deliveries().await.len(), 2);
}

#[tokio::test]
async fn where_nobody_subscribed_only_looking_moves_a_screening_on() {
    let emulator = Emulator::start().await;
    let before = emulator.screen("Ada Example").await;
    let mut receiver = Receiver::start(&[]).await;
    emulator.subscribe(&receiver, &ENDS).await;
    let after = emulator.screen("Ada Example").await;
    receiver.next().await;
    let screening: Value = emulator.get(&after).await.json().await.unwrap();
    assert_eq!(screening["status"], "COMPLETED");
    for status in ["PENDING", "IN_PROGRESS", "COMPLETED"] {
        let screening: Value = emulator.get(&before).await.json().await.unwrap();
        assert_eq!(screening["status"], status);
    }
    // Its end is told to those who have subscribed since.
    let told = receiver.next().await.json();
    assert!(before.ends_with(told["data"]["screening_id"].as_str().unwrap()));
}

#[tokio::test]
async fn a_webhook_is_repeated_until_the_answer_is_200() {
    let emulator = Emulator::start().await;
    let mut receiver = Receiver::start(&[500, 204, 307]).await;
    let secret = emulator.subscribe(&receiver, &ENDS).await;
    emulator.screen("Ada Example").await;
    let first = receiver.next().await;
    for _ in 0..3 {
        let again = receiver.next().await;
        assert_eq!(again.body, first.body);
        assert!(again.head.starts_with("POST /hook?a=b "), "{}", again.head);
        assert!(again.is_signed_with(&secret));
    }
    let [delivery] = &emulator.ended_deliveries().await[..] else {
        panic!("one event is one delivery");
    };
    assert!(
        delivery["subscription_id"]
            .as_str()
            .unwrap()
            .starts_with("wh_")
    );
    let mut delivery = delivery.clone();
    delivery.as_object_mut().unwrap().remove("subscription_id");
    assert_eq!(
        delivery,
        json!({
            "number": 0, "event": "screening.completed", "id": first.json()["id"],
            "progress": "delivered", "attempts": 4, "status": 200,
        })
    );
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_nobody_answers_is_given_up() {
    let silence = vec![SILENCE; 100];
    let receiver = Receiver::start(&silence).await;
    let config = Config {
        webhook: Some(Webhook {
            url: receiver.url.clone(),
            secret: WEBHOOK_SECRET.to_owned(),
        }),
        ..Config::default()
    };
    let twin = Twin::new(config, CancellationToken::new()).unwrap();
    let request = axum::http::Request::post("/__emulator/webhooks");
    let request = request.body(Body::from(r#"{"event": "e"}"#)).unwrap();
    let fired = tower::ServiceExt::oneshot(routes(Arc::clone(&twin)), request).await;
    assert_eq!(fired.unwrap().status(), 202);
    // The clock is the test's: no attempt takes longer than its limit, and there is a last one.
    let hour = Duration::from_secs(3600);
    timeout(hour, twin.background.ended()).await.unwrap();
    let list = twin.state().webhooks.deliveries();
    let delivery = &list["deliveries"][0];
    assert_eq!(delivery["progress"], "given_up");
    assert_eq!(delivery["attempts"], 20);
    assert_eq!(delivery["status"], Value::Null);
}

#[tokio::test]
async fn a_stop_ends_webhooks_under_way() {
    let emulator = Emulator::start().await;
    let mut receiver = Receiver::start(&[SILENCE]).await;
    emulator.subscribe(&receiver, &ENDS).await;
    emulator.screen("Ada Example").await;
    let unanswered = receiver.next().await;
    emulator.stop.send(()).unwrap();
    // Less than an attempt may take.
    let served = timeout(Duration::from_secs(5), emulator.served).await;
    served.unwrap().unwrap().unwrap();
    assert_eq!(read_to_end(unanswered.connection).await, b"");
}
