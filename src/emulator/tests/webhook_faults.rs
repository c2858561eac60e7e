//! The control door of webhooks: faults, and webhooks fired by hand.

use std::time::Instant;

use super::receiver::Receiver;
use super::*;

const ALL: [&str; 2] = ["screening.completed", "screening.match_found"];

/// An emulator, a receiver that it tells of screenings, and the secret between them.
async fn start() -> (Emulator, Receiver, String) {
    let emulator = Emulator::start().await;
    let receiver = Receiver::start(&[]).await;
    let secret = emulator.subscribe(&receiver, &ALL).await;
    (emulator, receiver, secret)
}

async fn set(emulator: &Emulator, faults: Value) {
    let answer = emulator.set_webhook_faults(faults).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
}

/// Fires a webhook and returns the answer.
async fn fire(emulator: &Emulator, webhook: Value) -> Value {
    let answer = emulator.fire(webhook).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_document_that_cannot_be_read_is_refused_with_a_sentence() {
    let (emulator, mut receiver, _) = start().await;
    set(&emulator, json!({"omit_id": true})).await;
    let unreadable = [
        (Method::PUT, json!([])),
        (Method::PUT, json!({"duplicate": 1})),
        (Method::PUT, json!({"duplicates": 101})),
        (Method::PUT, json!({"duplicates": -1})),
        (Method::PUT, json!({"delay_milliseconds": 600_001})),
        (Method::PUT, json!({"disorder": 1})),
        (Method::POST, json!({})),
        (Method::POST, json!({"event": "e", "data": []})),
        (Method::POST, json!({"event": "e", "colour": 1})),
    ];
    for (method, document) in unreadable {
        let request = emulator.bare(method, "/__emulator/webhooks");
        let answer = request.json(&document).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{document}");
        let sentence = answer.text().await.unwrap();
        assert!(
            sentence.ends_with('.') && sentence.contains(' '),
            "{sentence}"
        );
    }
    // The faults from before are still in place.
    fire(&emulator, json!({"event": "e"})).await;
    assert!(receiver.next().await.json().get("id").is_none());
}

#[tokio::test]
async fn a_webhook_is_fired_by_hand_at_everybody() {
    let emulator = Emulator::start().await;
    let answer = emulator.fire(json!({"event": "case.created"})).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert!(answer.text().await.unwrap().ends_with('.'));

    let mut receivers = [Receiver::start(&[]).await, Receiver::start(&[]).await];
    let mut secrets = Vec::new();
    for receiver in &receivers {
        secrets.push(emulator.subscribe(receiver, &ALL).await);
    }
    let webhook = json!({"event": "case.created", "data": {"case_id": "c"}, "id": "evt_mine"});
    let fired = fire(&emulator, webhook).await;
    assert_eq!(fired, json!({"id": "evt_mine", "deliveries": [0, 1]}));
    for (receiver, secret) in receivers.iter_mut().zip(&secrets) {
        let arrival = receiver.next().await;
        assert!(arrival.is_signed_with(secret));
        let mut body = arrival.json();
        body.as_object_mut().unwrap().remove("timestamp").unwrap();
        let expected = json!({
            "event": "case.created", "id": "evt_mine", "data": {"case_id": "c"},
        });
        assert_eq!(body, expected);
    }

    let fired = fire(&emulator, json!({"event": "case.closed"})).await;
    let body = receivers[0].next().await.json();
    assert_eq!(body["id"], fired["id"]);
    assert_eq!(body["data"], json!({}));
    receivers[1].next().await;

    let raw = json!({"event": "broken", "raw": "{\"event\": \"Zoë\r\n"});
    let fired = fire(&emulator, raw).await;
    assert_eq!(fired["id"], Value::Null);
    let arrival = receivers[0].next().await;
    assert_eq!(arrival.body, "{\"event\": \"Zoë\r\n".as_bytes());
    assert!(arrival.is_signed_with(&secrets[0]));
    assert_eq!(emulator.ended_deliveries().await[4]["event"], "broken");
}

#[tokio::test]
async fn duplicates_are_the_same_webhook_again() {
    let (emulator, mut receiver, secret) = start().await;
    set(&emulator, json!({"duplicates": 2})).await;
    emulator.screen("Ada Example").await;
    let first = receiver.next().await;
    for _ in 0..2 {
        let copy = receiver.next().await;
        assert_eq!(copy.body, first.body);
        assert!(copy.is_signed_with(&secret));
    }
    let deliveries = emulator.ended_deliveries().await;
    assert_eq!(deliveries.len(), 3);
    assert!(deliveries.iter().all(|one| one["attempts"] == 1));
}

#[tokio::test]
async fn disorder_lets_the_later_of_two_events_pass() {
    let (emulator, mut receiver, _) = start().await;
    set(&emulator, json!({"disorder": true})).await;
    emulator.screen("Test PEP Person").await;
    let names = receiver.names(2).await;
    assert_eq!(names, ["screening.completed", "screening.match_found"]);
}

#[tokio::test]
async fn a_badly_signed_webhook_is_repeated_rightly() {
    let (emulator, mut receiver, secret) = start().await;
    set(&emulator, json!({"bad_signature": 1})).await;
    fire(&emulator, json!({"event": "first"})).await;
    let (bad, good) = (receiver.next().await, receiver.next().await);
    assert!(!bad.is_signed_with(&secret));
    let signature = bad.header("x-webhook-signature").unwrap();
    assert_eq!(signature.len(), 64);
    assert!(good.is_signed_with(&secret));
    assert_eq!(bad.body, good.body);

    fire(&emulator, json!({"event": "second"})).await;
    assert!(receiver.next().await.is_signed_with(&secret));
    let deliveries = emulator.ended_deliveries().await;
    let attempts: Vec<_> = deliveries.iter().map(|one| &one["attempts"]).collect();
    assert_eq!(attempts, [2, 1]);
}

#[tokio::test]
async fn an_omitted_id_is_omitted_unless_it_was_given() {
    let (emulator, mut receiver, _) = start().await;
    set(&emulator, json!({"omit_id": true})).await;
    emulator.screen("Ada Example").await;
    assert!(receiver.next().await.json().get("id").is_none());
    assert_eq!(emulator.deliveries().await[0]["id"], Value::Null);
    fire(&emulator, json!({"event": "e", "id": "given"})).await;
    assert_eq!(receiver.next().await.json()["id"], "given");
}

#[tokio::test]
async fn a_withheld_webhook_never_comes() {
    let (emulator, mut receiver, _) = start().await;
    set(&emulator, json!({"withhold": true, "omit_id": true})).await;
    let path = emulator.screen("Ada Example").await;
    let mut deliveries = Vec::new();
    while deliveries.is_empty() {
        deliveries = emulator.deliveries().await;
    }
    assert_eq!(deliveries[0]["progress"], "withheld");
    assert_eq!(deliveries[0]["attempts"], 0);
    let screening: Value = emulator.get(&path).await.json().await.unwrap();
    assert_eq!(screening["status"], "COMPLETED");

    // The document is replaced as a whole, and what was withheld does not come after all.
    set(&emulator, json!({})).await;
    fire(&emulator, json!({"event": "next"})).await;
    let next = receiver.next().await.json();
    assert_eq!(next["event"], "next");
    assert!(next["id"].is_string());
    assert_eq!(emulator.ended_deliveries().await[0], deliveries[0]);
}

#[tokio::test]
async fn a_delayed_webhook_comes_late() {
    let (emulator, mut receiver, _) = start().await;
    set(&emulator, json!({"delay_milliseconds": 300})).await;
    let fired = Instant::now();
    fire(&emulator, json!({"event": "e"})).await;
    receiver.next().await;
    assert!(fired.elapsed() >= Duration::from_millis(300));
}
