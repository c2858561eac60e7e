//! What streams bring into memory is charged to the budget: large events wait for it, small ones never do.

use kora_gateway::memory::Allowances;

use super::*;

const LARGE: usize = 1 << 20;

/// Appends an event with a body of this size.
async fn append_sized(log: &Sqlite, id: &str, size: usize) {
    let content = Content::default();
    let body = vec![b' '; size];
    let event = NewEvent::from_webhook(Identity::Vendor(id.to_owned()), content, &body);
    assert_eq!(log.append(event).await, Ok(Appended::New));
}

/// A log that has large events and small ones, none of them in memory.
async fn log_on_disk(directory: &Path) -> Arc<Sqlite> {
    let log = open(directory, 1 << 30);
    for (id, size) in [
        ("small-1", 10),
        ("large-1", LARGE),
        ("small-2", 10),
        ("large-2", LARGE),
    ] {
        append_sized(&log, id, size).await;
    }
    log.close().await;
    drop(log);
    open(directory, 1 << 30)
}

async fn stream(log: &Arc<Sqlite>, streams: &Allowances) -> Subscription {
    let feed = Feed::new(
        log.clone(),
        feed::Metrics::register(&mut Registry::default()),
    );
    let request = pb::WatchEventsRequest {
        start: Some(pb::watch_events_request::Start::Position(
            StartPosition::Earliest.into(),
        )),
        include_raw_json: true,
        ..Default::default()
    };
    let memory = StreamMemory {
        messages: streams.of(&"caller".into(), 1),
        ..allowance()
    };
    let request = WatchRequest::from_wire(request).unwrap();
    let mut stream = feed
        .open(request, memory, Shutdown::default())
        .await
        .unwrap();
    next(&mut stream).await;
    stream
}

#[tokio::test]
async fn a_large_event_is_charged_once_it_is_read_and_until_it_was_sent() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_on_disk(directory.path()).await;
    let budget = Budget::new(32 << 20);
    let (pool, allowances) = (&budget.streams, budget.allowances_of_streams());
    // One stream has all of its message in hand, which its client does not take.
    let mut slow = stream(&log, &allowances).await;
    let mut held = Vec::new();
    while pool.size() - pool.used() >= 2 * LARGE {
        held.push(slow.next().await.unwrap().unwrap().into_chunks(&[]));
        if held.len() % 2 == 0 {
            slow = stream(&log, &allowances).await;
        }
    }
    let rest = allowances.of(&"caller".into(), 1);
    let rest = rest.try_charge(pool.size() - pool.used()).unwrap();

    // Another one gets what is small at once, and the rest once the first has taken its messages.
    let mut other = stream(&log, &allowances).await;
    let message = next(&mut other).await;
    assert_eq!(ids(&message)[0], "small-1");
    let mut got: Vec<_> = ids(&message).into_iter().map(str::to_owned).collect();
    let waiting = tokio::time::timeout(Duration::from_millis(100), other.next());
    assert!(
        waiting.await.is_err(),
        "there is no memory for a large event"
    );
    drop((held, rest));
    while got.len() < 4 {
        let message = next(&mut other).await;
        got.extend(ids(&message).into_iter().map(str::to_owned));
    }
    assert_eq!(got, ["small-1", "large-1", "small-2", "large-2"]);
    drop((other, slow));
    assert_eq!(pool.used(), 0);
}

#[tokio::test]
async fn small_events_flow_where_the_budget_is_used_up() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 1 << 30);
    let expected: Vec<_> = (0..200).map(|number| format!("evt-{number}")).collect();
    for id in &expected {
        append_sized(&log, id, 1000).await;
    }
    let budget = Budget::new(32 << 20);
    let _all = budget.streams.try_charge(budget.streams.size()).unwrap();
    let mut stream = stream(&log, &budget.allowances_of_streams()).await;
    let mut got = Vec::new();
    while got.len() < expected.len() {
        let message = next(&mut stream).await;
        assert!(message.encoded_len() < 17 << 10);
        got.extend(ids(&message).into_iter().map(str::to_owned));
    }
    assert_eq!(got, expected);
}
