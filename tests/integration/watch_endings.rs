//! How a stream of events ends that does not end well.

use std::{path::Path, time::Duration};

use kora_gateway::pb::{GapPolicy, WatchEventsRequest, watch_events_response::Signal};
use prost::Message;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use crate::{
    call::Call,
    harness::{TENANT_ID, of_tenant},
    subscriber::{PATIENCE, after, assert_failure, from_earliest},
    watch::{ids, start},
};

const WATCH_EVENTS: &str = "/kora.compliance.v1.ComplianceService/WatchEvents";

/// Changes the file as a broken disk would, past the gateway.
fn damage(directory: &Path, statement: &str) {
    let file = directory.join(format!("{TENANT_ID}.events.db"));
    let connection = rusqlite::Connection::open(file).unwrap();
    assert_eq!(connection.execute(statement, []).unwrap(), 1);
}

#[tokio::test]
async fn a_damaged_event_ends_the_stream_after_those_before_it() {
    let data = tempfile::tempdir().unwrap();
    let event_log = format!("file:{}", data.path().display());
    let flags = [("event-log", event_log.as_str())];
    let (gateway, subscriber, webhooks) = start(&flags).await;
    for id in ["a", "b", "c", "d"] {
        webhooks.deliver_event(id, "case.closed").await;
    }
    drop((subscriber, webhooks));
    gateway.stop().await;
    damage(
        data.path(),
        "UPDATE events SET event = x'00' WHERE event_id = 'c'",
    );

    let (gateway, subscriber, webhooks) = start(&flags).await;
    let mut stream = subscriber.watch(from_earliest()).await.unwrap();
    stream.opened().await;
    let before = stream.message().await;
    assert_eq!(ids(&before.events), ["a", "b"]);
    let status = stream.next().await.unwrap_err();
    assert_failure(&status, Code::DataLoss, "STORE_CORRUPT");

    // Coming back does not help, and what is new still comes to those who are beyond it.
    let mut again = subscriber.watch(after(&before.resume_token)).await.unwrap();
    again.opened().await;
    let status = again.next().await.unwrap_err();
    assert_failure(&status, Code::DataLoss, "STORE_CORRUPT");
    let mut latest = subscriber
        .watch(WatchEventsRequest::default())
        .await
        .unwrap();
    latest.past().await;
    webhooks.deliver_event("e", "case.closed").await;
    assert_eq!(ids(&latest.message().await.events), ["e"]);
    for counted in [
        "kora_gateway_store_corrupt_reads_total 2\n",
        "kora_gateway_watch_streams_ended_total{reason=\"STORE_CORRUPT\"} 2\n",
        "kora_gateway_watch_events_sent_total 3\n",
    ] {
        gateway.wait_for_metric(counted).await;
    }
    drop((latest, subscriber));
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_kept_and_how_streams_end_is_counted() {
    let (other_gateway, other, _) = start(&[]).await;
    let mut elsewhere = other.watch(WatchEventsRequest::default()).await.unwrap();
    let (_, foreign) = elsewhere.opened().await;

    let (gateway, subscriber, webhooks) = start(&[]).await;
    for id in ["a", "b", "b"] {
        webhooks.deliver_event(id, "case.closed").await;
    }
    let request = WatchEventsRequest {
        until_caught_up: true,
        on_gap: GapPolicy::Skip.into(),
        ..after(&foreign)
    };
    let mut stream = subscriber.watch(request).await.unwrap();
    assert_eq!(ids(&stream.past().await), ["a", "b"]);
    assert!(stream.next().await.unwrap().is_none());
    for counted in [
        "kora_gateway_store_events_appended_total 2\n",
        "kora_gateway_store_commit_seconds_count ",
        &format!("{} 1\n", of_tenant("kora_gateway_store_writable")),
        "kora_gateway_watch_events_sent_total 2\n",
        "kora_gateway_watch_gaps_total 1\n",
        "kora_gateway_watch_streams_ended_total{reason=\"OK\"} 1\n",
    ] {
        gateway.wait_for_metric(counted).await;
    }
    let metrics = gateway.metrics().await;
    assert!(!metrics.contains("store_commit_seconds_count 0\n"));
    drop((stream, subscriber, elsewhere, other));
    gateway.stop().await;
    other_gateway.stop().await;
}

#[tokio::test]
async fn a_stop_says_so_on_every_stream_and_ends_it() {
    let (gateway, subscriber, webhooks) = start(&[]).await;
    webhooks.deliver_event("a", "case.closed").await;
    let mut stream = subscriber.watch(from_earliest()).await.unwrap();
    stream.past().await;
    let (_, place) = {
        let mut latest = subscriber
            .watch(WatchEventsRequest::default())
            .await
            .unwrap();
        latest.opened().await
    };
    gateway.start_stop();
    let last = stream.message().await;
    let Some(Signal::Draining(draining)) = last.signal else {
        panic!("no Draining");
    };
    assert_eq!(last.resume_token, place);
    let status = stream.next().await.unwrap_err();
    assert_failure(&status, Code::Unavailable, "STREAM_DRAINED");
    let wait = status.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(
        draining
            .reconnect_after
            .map(|wait| Duration::try_from(wait).unwrap()),
        wait
    );
    assert!(wait.is_some_and(|wait| wait > Duration::ZERO));
    drop((stream, subscriber));
    gateway.stop().await;
}

#[tokio::test]
async fn clients_whose_streams_are_drained_do_not_come_back_all_at_once() {
    let (gateway, subscriber, _) = start(&[]).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        let request = WatchEventsRequest::default();
        let mut stream = subscriber.watch(request).await.unwrap();
        stream.past().await;
        streams.push(stream);
    }
    gateway.start_stop();
    let mut waits = Vec::new();
    for stream in &mut streams {
        stream.message().await;
        let status = stream.next().await.unwrap_err();
        waits.extend(status.get_details_retry_info().unwrap().retry_delay);
    }
    waits.sort();
    let (first, last) = (waits[0], waits[waits.len() - 1]);
    assert!(first >= Duration::from_millis(200) && last <= Duration::from_secs(5));
    // In each half of that time there are some, but once in 2^49 runs.
    let middle = Duration::from_millis(2600);
    assert!(first < middle && last > middle, "{waits:?}");
    waits.dedup();
    assert_eq!(waits.len(), streams.len(), "{waits:?}");
    drop((streams, subscriber));
    gateway.stop().await;
}

#[tokio::test]
async fn streams_that_nobody_reads_do_not_hold_a_stop_up() {
    let (gateway, subscriber, webhooks) = start(&[]).await;
    for number in 0..20 {
        let body = json!({"event": "case.closed", "data": {}, "number": number,
                          "padding": "x".repeat(20_000)});
        webhooks.deliver(body.to_string().as_bytes()).await;
    }
    let mut streams = Vec::new();
    for _ in 0..3 {
        let request = WatchEventsRequest {
            include_raw_json: true,
            ..from_earliest()
        };
        let mut stream = subscriber.watch(request).await.unwrap();
        stream.opened().await;
        streams.push(stream);
    }
    let stopped = tokio::time::timeout(PATIENCE, gateway.stop()).await;
    assert!(stopped.is_ok(), "a client that does not read holds it up");
}

#[tokio::test]
async fn a_stream_with_a_deadline_ends_then_with_a_reason() {
    let (gateway, _, webhooks) = start(&[]).await;
    webhooks.deliver_event("a", "case.closed").await;
    let call = Call::raw(WATCH_EVENTS.to_owned(), &from_earliest().encode_to_vec());
    let answer = call.header("grpc-timeout", "300m").send(gateway.grpc).await;
    assert_failure(&answer.status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    let first = &answer.message[..];
    assert!(first.len() > 100, "it was a stream until then");
    gateway.stop().await;
}
