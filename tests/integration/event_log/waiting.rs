//! Appends that wait: for how long, for what room, and what becomes of them.

use kora_gateway::store::AppendError;
use tokio::time::{Instant, timeout};

use super::*;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// More than an append may take.
const TOO_LONG: Duration = Duration::from_secs(10);

/// Somebody who keeps the writer from writing.
fn hold(place: &Place) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

/// Lets the writer go on. Time goes on as well: it takes some until the disk has answered.
async fn let_go(other: rusqlite::Connection, log: &Sqlite) {
    other.execute_batch("ROLLBACK").unwrap();
    tokio::time::resume();
    let mut writable = log.writable();
    let wait = timeout(PATIENCE, writable.wait_for(|is_writable| *is_writable));
    wait.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_append_that_takes_too_long_is_given_up_and_shows() {
    let place = Place::new();
    let log = place.open();
    let other = hold(&place);
    let began = Instant::now();
    assert_eq!(log.append(by_id("a")).await, Err(AppendError::TooSlow));
    assert!(began.elapsed() < TOO_LONG);
    assert!(!*log.writable().borrow());
    let_go(other, &log).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_writer_has_a_limit_in_bytes() {
    let place = Place::new();
    let log = place.open();
    let body = "x".repeat(20 << 20);
    let large = |id: &str| event(Identity::Vendor(id.to_owned()), &body);
    // Together more than there is room for. The writer has to write no more than one of them.
    let events = [large("a"), large("a"), large("a"), large("d")];
    let other = hold(&place);
    for given_up in futures_util::future::join_all(events.map(|event| log.append(event))).await {
        assert_eq!(given_up, Err(AppendError::TooSlow));
    }
    let_go(other, &log).await;
    append(&log, "e").await;
    // There was no room for it: the writer was never asked.
    let found = all_after(&log, 0).await;
    assert!(found.iter().all(|(_, id)| id != "d"), "{found:?}");
}

#[tokio::test]
async fn closing_a_log_writes_what_waits() {
    let place = Place::new();
    let log = place.open();
    let other = hold(&place);
    let close = async {
        other.execute_batch("ROLLBACK").unwrap();
        timeout(PATIENCE, log.close()).await.unwrap();
    };
    let (first, second, ()) = tokio::join!(log.append(by_id("a")), log.append(by_id("b")), close);
    assert_eq!((first, second), (Ok(Appended::New), Ok(Appended::New)));
    assert!(!*log.writable().borrow(), "nobody writes any more");
    let log = place.open();
    assert_eq!(all_after(&log, 0).await, named(&[(1, "a"), (2, "b")]));
}
