//! `WatchEvents` case by case: what a random run does not come to.

use std::time::{Duration, Instant};

use kora_gateway::pb::{
    self, EventFilter, WatchEventsRequest, watch_events_request::Start,
    watch_events_response::Signal,
};
use prost::Message as _;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    call::Call,
    deliveries::Webhooks,
    harness::Gateway,
    subscriber::{Subscriber, after, assert_failure},
};

/// Nothing asks Kora here.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// A gateway, a subscriber and Kora.
pub async fn start(flags: &[(&'static str, &str)]) -> (Gateway, Subscriber, Webhooks) {
    let gateway = Gateway::start(NO_KORA, flags).await;
    let subscriber = Subscriber::connect(gateway.grpc).await;
    let webhooks = Webhooks::to(gateway.webhook);
    (gateway, subscriber, webhooks)
}

/// By what events are known.
pub fn ids(events: &[pb::Event]) -> Vec<&str> {
    events.iter().map(|event| event.event_id.as_str()).collect()
}

fn of_type(pattern: &str) -> Option<EventFilter> {
    Some(EventFilter {
        types: vec![pattern.to_owned()],
        ..Default::default()
    })
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn a_stream_of_an_empty_log_is_open_at_once_and_has_caught_up() {
    let (gateway, subscriber, webhooks) = start(&[]).await;
    let mut stream = subscriber
        .watch(WatchEventsRequest::default())
        .await
        .unwrap();
    let (opened, token) = stream.opened().await;
    assert_eq!((&opened.oldest_token, &opened.head_token), (&token, &token));
    assert!((1..=128).contains(&token.len()));
    let caught_up = stream.message().await;
    let head_time = match caught_up.signal {
        Some(Signal::CaughtUp(caught_up)) => caught_up.head_time,
        _ => panic!("no CaughtUp"),
    };
    assert_eq!((caught_up.resume_token, head_time), (token.clone(), None));
    webhooks.deliver_event("first", "case.closed").await;
    assert_eq!(ids(&stream.message().await.events), ["first"]);

    // The position of the empty log stays a place to begin.
    let mut resumed = subscriber.watch(after(&token)).await.unwrap();
    assert_eq!(ids(&resumed.past().await), ["first"]);
    drop((stream, resumed, subscriber));
    gateway.stop().await;
}

#[tokio::test]
async fn the_heartbeat_that_is_in_effect_is_told() {
    let (gateway, subscriber, _) = start(&[]).await;
    for (asked, effective) in [
        (None, 20),
        (seconds(1), 5),
        (seconds(-1), 5),
        (seconds(7), 7),
        (seconds(3600), 60),
    ] {
        let request = WatchEventsRequest {
            heartbeat_interval: asked,
            ..Default::default()
        };
        let mut stream = subscriber.watch(request).await.unwrap();
        let (opened, _) = stream.opened().await;
        assert_eq!(opened.heartbeat_interval, seconds(effective), "{asked:?}");
    }
    drop(subscriber);
    gateway.stop().await;
}

#[tokio::test]
async fn the_heartbeat_of_a_quiet_stream_has_passed_what_does_not_concern_it() {
    let (gateway, subscriber, webhooks) = start(&[]).await;
    let request = WatchEventsRequest {
        filter: of_type("batch.*"),
        heartbeat_interval: seconds(5),
        ..Default::default()
    };
    let mut stream = subscriber.watch(request).await.unwrap();
    let (_, opened_at) = stream.opened().await;
    stream.past().await;
    let quiet_since = Instant::now();
    for number in 0..3 {
        let id = format!("evt_{number}");
        webhooks.deliver_event(&id, "case.closed").await;
    }
    let heartbeat = stream.message().await;
    assert!(matches!(heartbeat.signal, Some(Signal::Heartbeat(_))));
    assert!(heartbeat.events.is_empty());
    assert!(quiet_since.elapsed() >= Duration::from_secs(4), "too early");
    let mut now = subscriber
        .watch(WatchEventsRequest::default())
        .await
        .unwrap();
    assert_eq!(heartbeat.resume_token, now.opened().await.1);
    assert_ne!(heartbeat.resume_token, opened_at);
    webhooks.deliver_event("matching", "batch.completed").await;
    assert_eq!(ids(&stream.message().await.events), ["matching"]);
    let mut resumed = subscriber
        .watch(after(&heartbeat.resume_token))
        .await
        .unwrap();
    assert_eq!(ids(&resumed.past().await), ["matching"]);
    drop((stream, now, resumed, subscriber));
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_by_its_name() {
    let (gateway, subscriber, _) = start(&[]).await;
    for token in ["", "no token", &"A".repeat(50), &"A".repeat(10_000)] {
        let status = subscriber.watch(after(token)).await.err().unwrap();
        assert_failure(&status, Code::InvalidArgument, "TOKEN_INVALID");
    }
    for pattern in ["*", "screening*", "*.completed", "a.*.b", ""] {
        let request = WatchEventsRequest {
            filter: of_type(pattern),
            ..Default::default()
        };
        let status = subscriber.watch(request).await.err().unwrap();
        assert_failure(&status, Code::InvalidArgument, "INVALID_REQUEST");
        let fields = status.get_details_bad_request().unwrap().field_violations;
        let fields: Vec<_> = fields.into_iter().map(|bad| bad.field).collect();
        assert_eq!(fields, ["filter.types[0]"], "{pattern:?}");
    }
    let no_time = WatchEventsRequest {
        start: Some(Start::FromTime(prost_types::Timestamp {
            seconds: 0,
            nanos: -1,
        })),
        ..Default::default()
    };
    let status = subscriber.watch(no_time).await.err().unwrap();
    assert_failure(&status, Code::InvalidArgument, "INVALID_REQUEST");
    gateway
        .wait_for_metric("kora_gateway_watch_streams_open 0\n")
        .await;
    drop(subscriber);
    gateway.stop().await;
}

#[tokio::test]
async fn a_place_is_free_again_when_its_stream_is_closed() {
    let (gateway, subscriber, _) = start(&[("max-watch-streams", "2")]).await;
    let open = || subscriber.watch(WatchEventsRequest::default());
    let first = open().await.unwrap();
    let _second = open().await.unwrap();
    let status = open().await.err().unwrap();
    assert_failure(&status, Code::ResourceExhausted, "TOO_MANY_STREAMS");
    let wait = status.get_details_retry_info().unwrap().retry_delay;
    assert!(wait.is_some_and(|wait| wait > Duration::ZERO));
    drop(first);
    gateway
        .wait_for_metric("kora_gateway_watch_streams_open 1\n")
        .await;
    let mut third = open().await.unwrap();
    third.opened().await;
    drop(third);
    gateway
        .wait_for_metric("kora_gateway_watch_streams_open 1\n")
        .await;
    // One that fails to open keeps no place either.
    let (other_gateway, other, _) = start(&[]).await;
    let mut elsewhere = other.watch(WatchEventsRequest::default()).await.unwrap();
    let (_, foreign) = elsewhere.opened().await;
    for _ in 0..3 {
        let status = subscriber.watch(after(&foreign)).await.err().unwrap();
        assert_failure(&status, Code::OutOfRange, "TOKEN_FOREIGN");
    }
    let last = open().await.unwrap();
    drop((last, elsewhere, subscriber, other));
    gateway.stop().await;
    other_gateway.stop().await;
}

#[tokio::test]
async fn a_request_for_a_stream_keeps_the_limits_of_every_request() {
    let gateway = Gateway::start(NO_KORA, &[("max-request-bytes", "1KiB")]).await;
    let path = "/kora.compliance.v1.ComplianceService/WatchEvents".to_owned();
    let large = WatchEventsRequest {
        filter: of_type(&"x".repeat(1024)),
        ..Default::default()
    };
    for (call, reason) in [
        (
            Call::raw(path.clone(), &large.encode_to_vec()),
            "REQUEST_TOO_LARGE",
        ),
        (Call::raw(path.clone(), &[0xff; 9]), "MALFORMED_REQUEST"),
        (
            Call::raw(path, &[]).header("grpc-encoding", "gzip"),
            "MALFORMED_REQUEST",
        ),
    ] {
        let answer = call.send(gateway.grpc).await;
        assert_eq!(answer.reason(), reason);
        assert_eq!(answer.outcome(), None);
    }
    gateway.stop().await;
}
