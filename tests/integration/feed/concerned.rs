//! A stream with a filter in the present: it gets what concerns it, whatever else there is, and moves with the log.

use super::*;

/// Events as they are appended: the id, the subject and the type.
type Appending<'a> = (&'a str, &'a str, &'a str);

async fn append_all(log: &Sqlite, events: impl IntoIterator<Item = Appending<'_>>) {
    for (id, subject, kind) in events {
        let content = Content {
            keys: Keys {
                kind: kind.to_owned(),
                subject_id: subject.to_owned(),
                screening_id: format!("scr_{id}"),
            },
            ..Content::default()
        };
        let event = NewEvent::from_webhook(Identity::Vendor(id.to_owned()), content, b"{}");
        assert_eq!(log.append(event).await, Ok(Appended::New));
    }
}

/// Appends so many events that concern nobody.
async fn append_others(log: &Sqlite, from: usize, count: usize) {
    let ids: Vec<_> = (from..from + count).map(|n| format!("other-{n}")).collect();
    let others = ids.iter().map(|id| (id.as_str(), "other", "case.closed"));
    append_all(log, others).await;
}

fn types(names: &[&str]) -> pb::EventFilter {
    pb::EventFilter {
        types: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn subject(id: &str) -> pb::EventFilter {
    pb::EventFilter {
        subject_ids: vec![id.to_owned()],
        ..Default::default()
    }
}

/// Streams of one log that are in the present.
async fn present<const N: usize>(
    log: &Arc<Sqlite>,
    filters: [pb::EventFilter; N],
) -> [Subscription; N] {
    let metrics = feed::Metrics::register(&mut Registry::default());
    let feed = Feed::new(log.clone(), metrics);
    let mut streams = Vec::new();
    for filter in filters {
        let request = pb::WatchEventsRequest {
            filter: Some(filter),
            heartbeat_interval: Some(prost_types::Duration {
                // As rare as can be: a slow machine must not be answered by heartbeats.
                seconds: i64::MAX,
                nanos: 0,
            }),
            ..Default::default()
        };
        let request = WatchRequest::from_wire(request).unwrap();
        let mut stream = feed
            .open(request, allowance(), Shutdown::default())
            .await
            .unwrap();
        next(&mut stream).await;
        let caught_up = next(&mut stream).await;
        assert!(matches!(caught_up.signal, Some(Signal::CaughtUp(_))));
        streams.push(stream);
    }
    streams.try_into().ok().unwrap()
}

fn head_token(log: &Sqlite) -> String {
    let position = log.tail().bounds().head;
    let log_id = log.id();
    ResumeToken { log_id, position }.encode()
}

#[tokio::test]
async fn a_quiet_stream_moves_with_the_log_and_never_falls_out_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 300);
    let [mut mine] = present(&log, [subject("mine")]).await;
    append_others(&log, 0, 50).await;
    assert!(log.tail().bounds().trimmed.sequence > 30);
    append_all(&log, [("a", "mine", "case.closed"), ("b", "other", "x")]).await;
    let message = next(&mut mine).await;
    assert_eq!(ids(&message), ["a"]);
    assert_eq!(message.resume_token, head_token(&log), "and nothing more");
}

#[tokio::test]
async fn each_stream_gets_what_passes_all_of_its_conditions() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 30);
    let both = pb::EventFilter {
        subject_ids: vec!["mine".to_owned()],
        ..types(&["case.*"])
    };
    let screening = pb::EventFilter {
        screening_ids: vec!["scr_d".to_owned()],
        ..Default::default()
    };
    let filters = [
        subject("mine"),
        both,
        screening,
        types(&["case.closed", "case.*"]),
        types(&["screening.*"]),
        pb::EventFilter::default(),
    ];
    let mut streams = present(&log, filters).await;
    append_all(
        &log,
        [
            ("a", "mine", "case.closed"),
            ("b", "other", "case.a.b"),
            ("c", "mine", "screening.completed"),
            ("d", "", "screening"),
            ("e", "mine", "case.opened"),
            ("f", "other", "screening.a.b"),
        ],
    )
    .await;
    let expected: [&[&str]; 6] = [
        &["a", "c", "e"],
        &["a", "e"],
        &["d"],
        &["a", "b", "e"],
        &["c", "f"],
        &["a", "b", "c", "d", "e", "f"],
    ];
    for (stream, expected) in streams.iter_mut().zip(expected) {
        let message = next(stream).await;
        assert_eq!(ids(&message), expected);
        assert_eq!(message.resume_token, head_token(&log));
    }
}

#[tokio::test]
async fn more_than_is_noted_comes_in_order_and_once() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 30);
    let [mut mine] = present(&log, [subject("mine")]).await;
    let numbers: Vec<_> = (0..250).map(|number| number.to_string()).collect();
    for id in &numbers {
        let other = format!("{id}-other");
        let pair = [(id.as_str(), "mine", "x"), (other.as_str(), "other", "x")];
        append_all(&log, pair).await;
    }
    let mut received = Vec::new();
    while received.len() < numbers.len() {
        let message = next(&mut mine).await;
        assert!(message.signal.is_none() && message.events.len() <= 100);
        received.extend(message.events.into_iter().map(|event| event.event_id));
    }
    assert_eq!(received, numbers);
    append_all(&log, [("last", "mine", "x")]).await;
    let message = next(&mut mine).await;
    assert_eq!(ids(&message), ["last"]);
    assert_eq!(message.resume_token, head_token(&log));
}

#[tokio::test]
async fn what_memory_has_not_got_any_more_is_read_from_disk() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 30);
    let [mut mine] = present(&log, [subject("mine")]).await;
    append_all(&log, [("a", "mine", "x")]).await;
    append_others(&log, 0, 4200).await;
    append_all(&log, [("b", "mine", "x")]).await;
    assert!(log.tail().record(1).is_none(), "it is still in memory");
    let first = next(&mut mine).await;
    assert_eq!(ids(&first), ["a"]);
    assert_eq!(ids(&next(&mut mine).await), ["b"]);
}

#[tokio::test]
async fn what_concerned_a_stream_and_is_not_kept_any_more_is_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 300);
    let [mut mine] = present(&log, [subject("mine")]).await;
    append_all(&log, [("a", "mine", "x")]).await;
    append_others(&log, 0, 50).await;
    let error = mine.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason.name(), "TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_token_between_two_messages_leaves_nothing_out() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 30);
    let [mut mine] = present(&log, [subject("mine")]).await;
    let large = vec![b' '; 40 << 10];
    for id in ["a", "b", "c", "d", "e"] {
        let content = Content {
            keys: Keys {
                subject_id: "mine".to_owned(),
                ..Keys::default()
            },
            ..Content::default()
        };
        let event = NewEvent::from_webhook(Identity::Vendor(id.to_owned()), content, &large);
        log.append(event).await.unwrap();
    }
    let mut received: Vec<String> = Vec::new();
    let mut messages = 0;
    while received.len() < 5 {
        let message = next(&mut mine).await;
        messages += 1;
        received.extend(ids(&message).into_iter().map(str::to_owned));
        let token = ResumeToken::decode(&message.resume_token).unwrap();
        assert_eq!(token.position.sequence, received.len() as u64);
    }
    assert_eq!(received, ["a", "b", "c", "d", "e"]);
    assert!(messages > 1);
}
