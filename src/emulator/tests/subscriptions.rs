//! Who is told of what.

use super::receiver::Receiver;
use super::*;
use crate::emulator::webhooks::MAX_SUBSCRIPTIONS;
use crate::emulator::{WEBHOOK_SECRET, Webhook};

const URL: &str = "http://127.0.0.1:9/hook";

fn subscription() -> Value {
    json!({"name": "Mine", "url": URL, "events": ["screening.completed", "made.up"]})
}

#[tokio::test]
async fn a_subscription_is_answered_with_its_secret() {
    let emulator = Emulator::start().await;
    let mut request = subscription();
    request["rate_limit_per_minute"] = 7.into();
    let answer = emulator.post("/webhooks/subscriptions", &request).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let mut answer: Value = answer.json().await.unwrap();
    let mut take = |name: &str| {
        let taken = answer.as_object_mut().unwrap().remove(name).unwrap();
        taken.as_str().unwrap().to_owned()
    };
    assert!(take("id").starts_with("wh_"));
    let secret = take("secret");
    assert!(secret.starts_with("whsec_live_"));
    assert!(take("created_at").ends_with('Z'));
    request["status"] = "ACTIVE".into();
    assert_eq!(answer, request);

    let other = emulator
        .post("/webhooks/subscriptions", &subscription())
        .await;
    let other: Value = other.json().await.unwrap();
    assert_ne!(other["secret"], secret.as_str());
    assert_eq!(other["rate_limit_per_minute"], 1000);
}

#[tokio::test]
async fn bad_fields_of_a_subscription_are_all_named() {
    let emulator = Emulator::start().await;
    let cases = [
        (json!({}), vec!["name", "url", "events"]),
        (json!({"name": " "}), vec!["name"]),
        (json!({"url": 7}), vec!["url"]),
        (json!({"url": "https://example.com/hook"}), vec!["url"]),
        (json!({"url": "http://example.com/hook"}), vec!["url"]),
        (json!({"url": "http://192.168.0.1/hook"}), vec!["url"]),
        (json!({"events": []}), vec!["events"]),
        (json!({"events": "screening.completed"}), vec!["events"]),
        (
            json!({"events": ["screening.completed", ""]}),
            vec!["events"],
        ),
        (
            json!({"rate_limit_per_minute": 0}),
            vec!["rate_limit_per_minute"],
        ),
        (
            json!({"rate_limit_per_minute": "9"}),
            vec!["rate_limit_per_minute"],
        ),
    ];
    for (changes, bad) in cases {
        let mut request = match changes == json!({}) {
            true => json!({}),
            false => subscription(),
        };
        for (name, value) in changes.as_object().unwrap() {
            request[name] = value.clone();
        }
        let answer = emulator.post("/webhooks/subscriptions", &request).await;
        let envelope = envelope(answer, 400, "VALIDATION_ERROR").await;
        assert_eq!(bad_fields(&envelope), bad, "{request}");
    }
    let stranger = emulator.bare(Method::POST, "/api/v1/webhooks/subscriptions");
    let answer = stranger.json(&subscription()).send().await.unwrap();
    envelope(answer, 401, "UNAUTHORIZED").await;
    assert_eq!(emulator.fire(json!({"event": "e"})).await.status(), 409);
}

#[tokio::test]
async fn subscriptions_are_limited() {
    let emulator = Emulator::start().await;
    for _ in 0..MAX_SUBSCRIPTIONS {
        let answer = emulator
            .post("/webhooks/subscriptions", &subscription())
            .await;
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
    let answer = emulator
        .post("/webhooks/subscriptions", &subscription())
        .await;
    envelope(answer, 409, "CONFLICT").await;
}

#[tokio::test]
async fn only_events_that_were_subscribed_to_are_told() {
    let emulator = Emulator::start().await;
    let mut matches = Receiver::start(&[]).await;
    let mut ends = Receiver::start(&[]).await;
    emulator
        .subscribe(&matches, &["screening.match_found", "made.up"])
        .await;
    emulator.subscribe(&ends, &["screening.completed"]).await;
    emulator.screen("Test PEP Person").await;
    assert_eq!(matches.names(1).await, ["screening.match_found"]);
    assert_eq!(ends.names(1).await, ["screening.completed"]);
    assert_eq!(emulator.ended_deliveries().await.len(), 2);
}

#[tokio::test]
async fn a_preset_subscription_gets_all_events() {
    let mut receiver = Receiver::start(&[]).await;
    let emulator = Emulator::start_with(Config {
        webhook: Some(Webhook {
            url: receiver.url.clone(),
            secret: WEBHOOK_SECRET.to_owned(),
        }),
        ..Config::default()
    })
    .await;
    emulator.screen("Test PEP Person").await;
    for _ in 0..2 {
        assert!(receiver.next().await.is_signed_with(WEBHOOK_SECRET));
    }
    assert_eq!(emulator.ended_deliveries().await.len(), 2);
}

#[tokio::test]
async fn a_preset_subscription_elsewhere_is_refused_at_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = Webhook {
        url: "http://example.com/hook".to_owned(),
        secret: WEBHOOK_SECRET.to_owned(),
    };
    assert!(webhook.check().is_err());
    let config = Config {
        webhook: Some(webhook),
        ..Config::default()
    };
    let served = serve(listener, config, std::future::pending()).await;
    assert_eq!(served.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}
