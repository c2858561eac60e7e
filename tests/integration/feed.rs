//! A subscription on a log, where the moment counts.

mod concerned;
mod memory;
mod slow_disk;

use std::{path::Path, sync::Arc, time::Duration};

use kora_gateway::{
    clock::Clock,
    error::Hint,
    event::{Content, Identity, Keys, NewEvent, ResumeToken, WatchRequest},
    feed::{self, Feed, StreamMemory, Subscription},
    lifecycle::Shutdown,
    memory::Budget,
    pb::{self, GapPolicy, StartPosition, watch_events_response::Signal},
    store::{Appended, Config, EventLog, Metrics, Sqlite},
};
use prometheus_client::registry::Registry;
use prost::Message as _;

fn open(directory: &Path, retention_bytes: u64) -> Arc<Sqlite> {
    let config = Config {
        directory: directory.to_owned(),
        retention_age: Duration::from_secs(3600),
        retention_bytes,
        dedup_window: Duration::from_secs(60),
        request_retention: Duration::from_secs(7 * 86_400),
        request_bytes: 2 << 30,
    };
    let metrics = Metrics::register(&mut Registry::default());
    Arc::new(Sqlite::open(&config, "tenant", Clock::system(), metrics).unwrap())
}

/// What one stream of one caller may charge to a memory budget of its own.
pub(super) fn allowance() -> StreamMemory {
    let (budget, caller) = (Budget::default(), "caller".into());
    StreamMemory {
        messages: budget.allowances_of_streams().of(&caller, 1),
        filters: budget.allowances_of_filters().of(&caller, 1),
    }
}

async fn append(log: &Sqlite, ids: &[&str]) {
    for id in ids {
        let content = Content {
            keys: Keys {
                kind: "case.closed".to_owned(),
                ..Keys::default()
            },
            ..Content::default()
        };
        let event = NewEvent::from_webhook(Identity::Vendor((*id).to_owned()), content, b"{}");
        assert_eq!(log.append(event).await, Ok(Appended::New));
    }
}

async fn watch(log: &Arc<Sqlite>, position: StartPosition) -> Subscription {
    watch_with(log, position, GapPolicy::Fail).await
}

async fn watch_with(log: &Arc<Sqlite>, position: StartPosition, on_gap: GapPolicy) -> Subscription {
    let metrics = feed::Metrics::register(&mut Registry::default());
    let feed = Feed::new(log.clone(), metrics);
    let request = pb::WatchEventsRequest {
        start: Some(pb::watch_events_request::Start::Position(position.into())),
        on_gap: on_gap.into(),
        ..Default::default()
    };
    let request = WatchRequest::from_wire(request).unwrap();
    feed.open(request, allowance(), Shutdown::default())
        .await
        .unwrap()
}

async fn next(stream: &mut Subscription) -> pb::WatchEventsResponse {
    let message = stream.next().await.unwrap().unwrap();
    let length = message.encoded_len();
    let bytes = message.into_chunks(&[]).make_contiguous().concat();
    assert_eq!(bytes.len(), length);
    pb::WatchEventsResponse::decode(&bytes[..]).unwrap()
}

fn ids(message: &pb::WatchEventsResponse) -> Vec<&str> {
    message
        .events
        .iter()
        .map(|event| event.event_id.as_str())
        .collect()
}

#[tokio::test]
async fn the_oldest_events_are_never_a_gap_however_fast_they_go() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 300);
    append(&log, &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]).await;
    let mut stream = watch(&log, StartPosition::Earliest).await;
    assert!(matches!(
        next(&mut stream).await.signal,
        Some(Signal::Opened(_))
    ));
    let was_oldest = log.tail().bounds().trimmed.sequence;
    append(&log, &["k", "l", "m"]).await;
    let oldest = log.tail().bounds().trimmed.sequence;
    assert!(oldest > was_oldest);
    let first = next(&mut stream).await;
    let all = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    assert_eq!(ids(&first), all[oldest as usize..]);
}

#[tokio::test]
async fn a_stream_that_has_begun_and_falls_behind_hears_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 60_000);
    let old: Vec<_> = (0..300).map(|number| format!("old-{number}")).collect();
    append(&log, &old.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut stream = watch(&log, StartPosition::Earliest).await;
    next(&mut stream).await;
    assert_eq!(next(&mut stream).await.events.len(), 100);
    let new: Vec<_> = (0..1500).map(|number| format!("new-{number}")).collect();
    append(&log, &new.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason.name(), "TOKEN_EXPIRED");
    let oldest = ResumeToken {
        log_id: log.id(),
        position: log.tail().bounds().trimmed,
    };
    assert_eq!(error.hint, Some(Hint::OldestToken(oldest.encode())));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_stream_of_the_present_that_skips_a_gap_stays_in_the_present() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 300);
    let mut stream = watch_with(&log, StartPosition::Latest, GapPolicy::Skip).await;
    next(&mut stream).await;
    let caught_up = next(&mut stream).await;
    assert!(matches!(caught_up.signal, Some(Signal::CaughtUp(_))));
    append(&log, &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]).await;
    let Some(Signal::Gap(gap)) = next(&mut stream).await.signal else {
        panic!("no gap");
    };
    assert_eq!(gap.reason(), pb::GapReason::Expired);
    assert_eq!(gap.from_token, caught_up.resume_token);
    // The newest event is there, and then the next: it has caught up once and for all.
    assert_eq!(ids(&next(&mut stream).await).last(), Some(&"j"));
    append(&log, &["k"]).await;
    assert_eq!(ids(&next(&mut stream).await), ["k"]);
}

#[tokio::test]
async fn the_past_ends_with_the_time_of_its_newest_event() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 30);
    append(&log, &["a"]).await;
    let mut stream = watch(&log, StartPosition::Latest).await;
    let opened_at = log.tail().bounds().head_time;
    next(&mut stream).await;
    while log.tail().bounds().head_time == opened_at {
        let later = format!("later-{}", log.tail().bounds().head.sequence);
        append(&log, &[later.as_str()]).await;
    }
    let Some(Signal::CaughtUp(caught_up)) = next(&mut stream).await.signal else {
        panic!("not caught up");
    };
    let head_time = caught_up.head_time.unwrap();
    assert_eq!(head_time.seconds, opened_at.as_second());
    assert_eq!(head_time.nanos, opened_at.subsec_nanosecond());
}

#[tokio::test]
async fn a_damaged_newest_event_does_not_close_the_present() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 30);
    append(&log, &["a"]).await;
    log.close().await;
    let file = directory.path().join("tenant.events.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    connection
        .execute("UPDATE events SET event = x'00'", [])
        .unwrap();
    drop(connection);
    let log = open(directory.path(), 1 << 30);
    let mut stream = watch(&log, StartPosition::Latest).await;
    next(&mut stream).await;
    let Some(Signal::CaughtUp(caught_up)) = next(&mut stream).await.signal else {
        panic!("not caught up");
    };
    assert!(caught_up.head_time.is_some());
    append(&log, &["b"]).await;
    assert_eq!(ids(&next(&mut stream).await), ["b"]);
}
