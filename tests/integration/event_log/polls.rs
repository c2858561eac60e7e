//! The law of the polls.

use kora_gateway::{
    event::{NewEvent, SCREENING_COMPLETED, SCREENING_FAILED},
    store::{Poll, PollLog},
};

use super::*;

fn end(screening_id: &str) -> Content {
    end_of(SCREENING_COMPLETED, screening_id)
}

fn end_of(kind: &str, screening_id: &str) -> Content {
    Content {
        keys: Keys {
            kind: kind.to_owned(),
            screening_id: screening_id.to_owned(),
            ..Keys::default()
        },
        ..Content::default()
    }
}

async fn add(log: &Sqlite, screening_id: &str, at: i64) -> bool {
    let next_poll = Timestamp::from_millisecond(at).unwrap();
    let added = log.add_poll(screening_id.to_owned(), next_poll).await;
    added.unwrap()
}

async fn waiting(log: &Sqlite) -> Vec<String> {
    let ids = sound(log).await.into_iter().map(|poll| poll.screening_id);
    ids.collect()
}

async fn sound(log: &Sqlite) -> Vec<Poll> {
    let polls = log.polls(10).await.unwrap();
    assert!(polls.damaged.is_empty());
    polls.sound
}

#[tokio::test]
async fn a_screening_waits_once_and_the_first_that_is_due_comes_first() {
    let place = Place::new();
    let log = place.open();
    for (id, at, is_new) in [
        ("a", 2, true),
        ("b", 1, true),
        ("c", 3, true),
        ("a", 0, false),
    ] {
        assert_eq!(add(&log, id, at).await, is_new);
    }
    assert_eq!(waiting(&log).await, ["b", "a", "c"]);
    let first = log.polls(1).await.unwrap().sound;
    assert_eq!(first[0].screening_id, "b");
    assert_eq!(first.len(), 1);
    assert!(log.remove_poll(b"b".to_vec()).await.unwrap());
    assert!(!log.remove_poll(b"b".to_vec()).await.unwrap());
    assert_eq!(waiting(&log).await, ["a", "c"]);
}

#[tokio::test]
async fn a_poll_is_postponed_by_whoever_read_it_last() {
    let place = Place::new();
    let log = place.open();
    add(&log, "a", 1).await;
    let [read] = &sound(&log).await[..] else {
        panic!("not one poll");
    };
    let later = Timestamp::from_millisecond(5).unwrap();
    assert!(log.postpone(read.clone(), later).await.unwrap());
    assert!(!log.postpone(read.clone(), later).await.unwrap());
    let postponed = [Poll {
        next_poll: later,
        attempts: 1,
        ..read.clone()
    }];
    assert_eq!(sound(&log).await, postponed);
    log.close().await;
    assert_eq!(sound(&place.open()).await, postponed);
}

#[tokio::test]
async fn a_screening_is_reconciled_only_while_it_waits() {
    let place = Place::new();
    let log = place.open();
    let reconcile = || log.reconcile(NewEvent::reconciled(end("a"), b"{}"));
    assert_eq!(reconcile().await, Ok(Appended::Duplicate));
    add(&log, "a", 1).await;
    assert_eq!(reconcile().await, Ok(Appended::New));
    assert_eq!(reconcile().await, Ok(Appended::Duplicate));
    assert!(!add(&log, "a", 1).await, "it has ended");
    assert_eq!(log.tail().bounds().head.sequence, 1);
}

#[tokio::test]
async fn an_end_removes_its_own_poll_alone() {
    let place = Place::new();
    let log = place.open();
    for (id, at) in [("a", 1), ("", 2), ("b", 3)] {
        add(&log, id, at).await;
    }
    for (id, screening_id) in [("evt_1", "a"), ("evt_2", "")] {
        let identity = Identity::Vendor(id.to_owned());
        let event = NewEvent::from_webhook(identity, end(screening_id), b"{}");
        assert_eq!(log.append(event).await, Ok(Appended::New));
    }
    assert_eq!(waiting(&log).await, ["", "b"]);
    assert!(!add(&log, "a", 1).await, "it has ended");
}

#[tokio::test]
async fn a_screening_that_failed_has_ended() {
    let place = Place::new();
    let log = place.open();
    add(&log, "a", 1).await;
    let identity = Identity::Vendor("evt_1".to_owned());
    let failed = NewEvent::from_webhook(identity, end_of(SCREENING_FAILED, "a"), b"{}");
    assert_eq!(log.append(failed).await, Ok(Appended::New));
    assert!(waiting(&log).await.is_empty());
    assert!(!add(&log, "a", 1).await);
}
