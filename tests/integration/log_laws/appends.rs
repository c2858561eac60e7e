//! What is appended is there: once, in one order, and again after a restart.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kora_gateway::{
    event::{Identity, NewEvent},
    store::{Appended, EventLog},
};
use tokio::task::JoinHandle;

use super::{Place, all_after, append, by_id, event, laws, named};

laws! {
    what_was_appended_is_there_in_order_after_a_restart,
    memory_and_disk_tell_the_same,
    a_closed_log_takes_nothing,
    an_id_is_known_again_after_a_restart,
    another_body_under_a_known_id_is_another_event,
    bodies_that_are_equal_as_json_are_one_event,
    bodies_that_are_no_json_are_compared_byte_by_byte,
    appends_at_once_and_the_same_id_at_once_are_each_kept_once,
    an_append_that_nobody_waits_for_is_whole_or_not_there,
    readers_of_all_logs_see_one_order_without_a_hole_while_all_append,
}

async fn what_was_appended_is_there_in_order_after_a_restart<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    for id in ["a", "b", "c"] {
        append(&log, id).await;
    }
    let (id, bounds) = (log.id(), log.tail().bounds());
    let expected = named(&[(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(all_after(&log, 0).await, expected);
    P::close(&log).await;

    let log = place.open().await;
    assert_eq!((log.id(), log.tail().bounds()), (id, bounds));
    // From disk now: nothing is in memory yet.
    assert_eq!(all_after(&log, 0).await, expected);
    append(&log, "d").await;
    assert_eq!(all_after(&log, 2).await, named(&[(3, "c"), (4, "d")]));
}

async fn memory_and_disk_tell_the_same<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    append(&log, "a").await;
    let from_memory = log.read(0).await.unwrap();
    P::close(&log).await;
    let from_disk = place.open().await.read(0).await.unwrap();
    assert!(from_memory == from_disk, "{from_memory:?} {from_disk:?}");
}

async fn a_closed_log_takes_nothing<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    P::close(&log).await;
    assert!(log.append(by_id("late")).await.is_err());
    assert!(!*log.writable().borrow(), "nobody writes any more");
    assert_eq!(all_after(&place.open().await, 0).await, vec![]);
}

async fn an_id_is_known_again_after_a_restart<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    append(&log, "a").await;
    place.pass(Duration::from_secs(3000));
    assert_eq!(log.append(by_id("a")).await, Ok(Appended::Duplicate));
    P::close(&log).await;
    let log = place.open().await;
    assert_eq!(log.append(by_id("a")).await, Ok(Appended::Duplicate));
    assert_eq!(all_after(&log, 0).await, named(&[(1, "a")]));
}

fn case(kind: &str, body: &str) -> NewEvent {
    let mut event = event(Identity::Vendor("cas_1".to_owned()), body);
    event.keys.kind = kind.to_owned();
    event
}

async fn append_each<L: EventLog>(log: &L, cases: &[(&str, &str, Appended)]) {
    for (kind, body, expected) in cases {
        let appended = log.append(case(kind, body)).await;
        assert_eq!(appended, Ok(*expected), "{kind} {body}");
    }
}

async fn another_body_under_a_known_id_is_another_event<P: Place>() {
    const OPEN: &str = r#"{"status":"OPEN"}"#;
    const IN_REVIEW: &str = r#"{"status":"IN_REVIEW"}"#;
    const CLOSED: &str = r#"{"status":"CLOSED"}"#;
    let place = P::new().await;
    let log = place.open().await;
    append_each(
        &log,
        &[
            ("case.updated", OPEN, Appended::New),
            ("case.updated", IN_REVIEW, Appended::New),
            ("case.updated", CLOSED, Appended::New),
            ("case.updated", IN_REVIEW, Appended::Duplicate),
            ("case.updated", OPEN, Appended::Duplicate),
            ("case.closed", "{}", Appended::New),
        ],
    )
    .await;
    P::close(&log).await;
    let log = place.open().await;
    append_each(
        &log,
        &[
            ("case.updated", CLOSED, Appended::Duplicate),
            ("case.updated", IN_REVIEW, Appended::Duplicate),
            ("case.closed", "{}", Appended::Duplicate),
            ("case.updated", OPEN, Appended::Duplicate),
        ],
    )
    .await;
    // The first 16 digits of SHA-256 over each body, which is in its canonical form already.
    let expected = [
        (1, "cas_1"),
        (2, "cas_1~06c41e51ae041e8d"),
        (3, "cas_1~adbf49da35ba00b7"),
        (4, "cas_1~44136fa355b3678a"),
    ];
    assert_eq!(all_after(&log, 0).await, named(&expected));
}

async fn bodies_that_are_equal_as_json_are_one_event<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let kind = "case.updated";
    let first = r#"{"a":[1,{"b":"\u00e9/","c":1.50}],"d":null}"#;
    append_each(
        &log,
        &[
            (kind, "{}", Appended::New),
            (kind, first, Appended::New),
            (
                kind,
                "\u{feff} {\"d\" : null, \"a\":[ 1,{\"c\":1.50,\"b\":\"é\\/\"} ] }\n",
                Appended::Duplicate,
            ),
            (kind, " { } ", Appended::Duplicate),
            // Nothing says that Kora means the same with another number of digits.
            (kind, &first.replace("1.50", "1.5"), Appended::New),
            (kind, &first.replace("[1,", "[1.0,"), Appended::New),
            (kind, &first.replace("null", "\"\""), Appended::New),
            (kind, &first.replace("b", "B"), Appended::New),
        ],
    )
    .await;
    assert_eq!(all_after(&log, 0).await.len(), 6);
}

async fn bodies_that_are_no_json_are_compared_byte_by_byte<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let kind = "case.updated";
    let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
    let (deeper, padded) = (deep(100_000), format!(" {}", deep(100_000)));
    append_each(
        &log,
        &[
            (kind, r#"{"a":1,"a":2}"#, Appended::New),
            (kind, r#"{"a":2,"a":1}"#, Appended::New),
            (kind, r#"{"a":2,"a":1}"#, Appended::Duplicate),
            (kind, r#"{"a":{"b":1,"b":1}}"#, Appended::New),
            (kind, r#" {"a":{"b":1,"b":1}}"#, Appended::New),
            (kind, "x", Appended::New),
            (kind, "x ", Appended::New),
            (kind, "x", Appended::Duplicate),
            (kind, &deeper, Appended::New),
            (kind, &padded, Appended::New),
            (kind, &padded, Appended::Duplicate),
        ],
    )
    .await;
}

async fn appends_at_once_and_the_same_id_at_once_are_each_kept_once<P: Place>() {
    let place = P::new().await;
    let logs: Vec<_> = place.open_all().await.into_iter().map(Arc::new).collect();
    let appends = (0..600).map(|number| {
        let log = Arc::clone(&logs[number % logs.len()]);
        tokio::spawn(async move { log.append(by_id(&format!("e{}", number % 200))).await })
    });
    let mut new = 0;
    for append in appends.collect::<Vec<_>>() {
        new += usize::from(append.await.unwrap().unwrap() == Appended::New);
    }
    let found = all_after(&*place_reader(&place, &logs).await, 0).await;
    assert_eq!((new, found.len()), (200, 200));
    assert!(found.iter().map(|(sequence, _)| *sequence).eq(1..=200));
    let ids: BTreeSet<_> = found.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 200);
}

/// A log that shows all that the others have appended.
async fn place_reader<P: Place>(place: &P, logs: &[Arc<P::Log>]) -> Arc<P::Log> {
    for log in logs {
        P::close(log).await;
    }
    Arc::new(place.open().await)
}

async fn an_append_that_nobody_waits_for_is_whole_or_not_there<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    for number in 0..50 {
        let append = log.append(by_id(&format!("e{number}")));
        // Asked once, and dropped: it may have reached the queue or not.
        let _ = tokio::time::timeout(Duration::ZERO, append).await;
    }
    append(&log, "last").await;
    let found = all_after(&log, 0).await;
    assert!(
        found
            .iter()
            .map(|(sequence, _)| *sequence)
            .eq(1..=found.len() as u64)
    );
    assert_eq!(found.last().unwrap().1, "last");
}

const APPENDS: usize = 300;

async fn readers_of_all_logs_see_one_order_without_a_hole_while_all_append<P: Place>() {
    let place = P::new().await;
    let logs: Vec<_> = place.open_all().await.into_iter().map(Arc::new).collect();
    let readers: Vec<JoinHandle<Vec<_>>> = logs
        .iter()
        .map(|log| tokio::spawn(follow(Arc::clone(log), APPENDS * logs.len())))
        .collect();
    let appends = logs.iter().enumerate().map(|(number, log)| {
        let log = Arc::clone(log);
        tokio::spawn(async move {
            for event in 0..APPENDS {
                append(&*log, &format!("e{number}-{event}")).await;
            }
        })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.unwrap();
    }
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.await.unwrap());
    }
    assert!(seen.iter().all(|one| *one == seen[0]));
    for number in 0..logs.len() {
        let of_one = seen[0].iter().filter_map(|(_, id)| {
            let (log, event) = id.strip_prefix('e')?.split_once('-')?;
            (log == number.to_string()).then(|| event.parse::<usize>().unwrap())
        });
        assert!(of_one.eq(0..APPENDS), "in the order in which it appended");
    }
}

/// Everything that a log shows, as it shows it, until it has shown so much.
async fn follow<L: EventLog>(log: Arc<L>, count: usize) -> Vec<(u64, String)> {
    let mut head = log.tail().head();
    let mut seen: Vec<(u64, String)> = Vec::new();
    while seen.len() < count {
        let last = seen.len() as u64;
        head.wait_for(|head| *head > last).await.unwrap();
        for record in log.read(last).await.unwrap() {
            assert_eq!(record.sequence, seen.len() as u64 + 1);
            seen.push((record.sequence, record.event_id.clone()));
        }
    }
    seen
}
