//! NATS goes away and comes back: what was acknowledged is there, and a log that lost it says so.

use std::time::Duration;

use kora_gateway::store::{AppendError, Appended, EventLog, JetStream};
use tokio::time::{sleep, timeout};

use crate::log_laws::{NatsPlace, Place, all_after, append, by_id, named};

/// How long a test waits for what must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How long to leave the machine to others before looking again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) async fn until_writable(log: &JetStream, is_writable: bool) {
    let mut writable = log.writable();
    let changed = writable.wait_for(|is| *is == is_writable);
    timeout(PATIENCE, changed).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_passes_and_nothing_is_lost() {
    let mut place = NatsPlace::new().await;
    let logs = place.open_all().await;
    append(&logs[0], "a").await;
    let mut head = logs[1].tail().head();
    head.wait_for(|head| *head == 1).await.unwrap();
    place.server.kill();
    for log in &logs {
        until_writable(log, false).await;
        assert_eq!(log.append(by_id("b")).await, Err(AppendError::Unavailable));
        // What is in memory is read on.
        assert_eq!(all_after(log, 1).await, vec![]);
    }
    place.server.resume();
    for log in &logs {
        until_writable(log, true).await;
    }
    append(&logs[0], "b").await;
    append(&logs[1], "c").await;
    assert_eq!(logs[1].append(by_id("a")).await, Ok(Appended::Duplicate));
    let expected = named(&[(1, "a"), (2, "b"), (3, "c")]);
    for log in &logs {
        let mut head = log.tail().head();
        let shown = head.wait_for(|head| *head == 3);
        timeout(PATIENCE, shown).await.unwrap().unwrap();
        assert_eq!(all_after(log, 0).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_nats_is_too_slow_for_may_be_there_and_is_there_once() {
    let place = NatsPlace::new().await;
    let log = place.open().await;
    append(&log, "a").await;
    place.server.freeze(true);
    assert_eq!(log.append(by_id("b")).await, Err(AppendError::TooSlow));
    assert!(!*log.writable().borrow());
    place.server.freeze(false);
    let again = async {
        while log.append(by_id("b")).await.is_err() {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
    append(&log, "c").await;
    let expected = named(&[(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(all_after(&log, 0).await, expected);
    until_writable(&log, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_what_memory_does_not_have_waits_for_a_short_outage() {
    let mut place = NatsPlace::new().await;
    let log = place.open().await;
    append(&log, "a").await;
    log.close().await;
    let log = place.open().await;
    place.server.kill();
    until_writable(&log, false).await;
    let resume = async {
        tokio::task::yield_now().await;
        place.server.resume();
    };
    let (found, ()) = tokio::join!(all_after(&log, 0), resume);
    assert_eq!(found, named(&[(1, "a")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kills_in_the_middle_of_appends() {
    let mut place = NatsPlace::new().await;
    let log = place.open().await;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let appends = async {
            let mut done = Vec::new();
            for number in 0.. {
                let id = format!("e{round}-{number}");
                if log.append(by_id(&id)).await.is_err() {
                    return (done, id);
                }
                done.push(id);
            }
            unreachable!("appends fail while NATS is away")
        };
        let kill = async {
            let mut head = log.tail().head();
            let before = *head.borrow();
            head.wait_for(|head| *head > before + 20).await.unwrap();
            place.server.kill();
        };
        let ((done, failed), ()) = tokio::join!(appends, kill);
        acknowledged.extend(done);
        place.server.resume();
        until_writable(&log, true).await;
        // Whether it was there or not, it is there once now.
        log.append(by_id(&failed)).await.unwrap();
        acknowledged.push(failed);
    }
    let found = all_after(&log, 0).await;
    let ids: Vec<_> = found.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(ids, acknowledged);
    log.close().await;
    assert_eq!(all_after(&place.open().await, 0).await, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lost_everything_breaks_the_log() {
    let mut place = NatsPlace::new().await;
    let log = place.open().await;
    append(&log, "a").await;
    place.server.lose_everything();
    // Also one that looks like it.
    let other = place.open().await;
    for id in ["x", "y"] {
        append(&other, id).await;
    }
    let broken = async {
        while log.append(by_id("b")).await != Err(AppendError::Broken) {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, broken).await.unwrap();
    assert!(!*log.writable().borrow());
    assert_eq!(all_after(&other, 0).await, named(&[(1, "x"), (2, "y")]));
}
