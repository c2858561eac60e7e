//! The law of the polls.

use jiff::Timestamp;
use kora_gateway::{
    event::{
        Content, Identity, Keys, NewEvent, SCREENING_COMPLETED, SCREENING_FAILED, reconciled_id,
    },
    pb,
    screening::MAX_ID_BYTES,
    store::{Appended, EventLog, Poll, PollLog},
};
use prost::Message;

use super::{Place, laws};

laws! {
    a_screening_waits_once_and_the_first_that_is_due_comes_first,
    a_poll_is_postponed_by_whoever_read_it_last,
    a_screening_is_reconciled_only_while_it_waits,
    an_end_removes_its_own_poll_alone,
    a_screening_that_failed_has_ended,
    a_webhook_after_the_reconciled_event_replaces_it,
    a_webhook_about_another_subject_replaces_nothing,
    an_end_of_any_log_ends_the_wait_of_all,
    a_screening_with_the_longest_id_waits_like_any_other,
    an_end_removes_a_poll_that_is_not_due,
}

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

async fn add(log: &impl PollLog, screening_id: &str, at: i64) -> bool {
    let next_poll = Timestamp::from_millisecond(at).unwrap();
    let added = log
        .add_poll(screening_id.to_owned(), String::new(), next_poll)
        .await;
    added.unwrap()
}

async fn waiting(log: &impl PollLog) -> Vec<String> {
    let ids = sound(log).await.into_iter().map(|poll| poll.screening_id);
    ids.collect()
}

async fn sound(log: &impl PollLog) -> Vec<Poll> {
    let polls = log.polls(10, Timestamp::MAX).await.unwrap();
    assert!(polls.damaged.is_empty());
    polls.sound
}

async fn a_screening_waits_once_and_the_first_that_is_due_comes_first<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    for (id, at, is_new) in [
        ("a", 2, true),
        ("b", 1, true),
        ("c", 3, true),
        ("a", 0, false),
    ] {
        assert_eq!(add(&log, id, at).await, is_new);
    }
    assert_eq!(waiting(&log).await, ["b", "a", "c"]);
    let first = log.polls(1, Timestamp::MAX).await.unwrap().sound;
    assert_eq!(first[0].screening_id, "b");
    assert_eq!(first.len(), 1);
    assert!(log.remove_poll(b"b".to_vec()).await.unwrap());
    assert!(!log.remove_poll(b"b".to_vec()).await.unwrap());
    assert_eq!(waiting(&log).await, ["a", "c"]);
}

async fn a_poll_is_postponed_by_whoever_read_it_last<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
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
    P::close(&log).await;
    assert_eq!(sound(&place.open().await).await, postponed);
}

async fn a_screening_is_reconciled_only_while_it_waits<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let reconcile = || log.reconcile(NewEvent::reconciled(end("a"), b"{}"));
    assert_eq!(reconcile().await, Ok(Appended::Duplicate));
    add(&log, "a", 1).await;
    assert_eq!(reconcile().await, Ok(Appended::New));
    assert_eq!(reconcile().await, Ok(Appended::Duplicate));
    assert!(!add(&log, "a", 1).await, "it has ended");
    assert_eq!(log.tail().bounds().head.sequence, 1);
}

async fn an_end_removes_its_own_poll_alone<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
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

async fn a_screening_that_failed_has_ended<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    add(&log, "a", 1).await;
    let identity = Identity::Vendor("evt_1".to_owned());
    let failed = NewEvent::from_webhook(identity, end_of(SCREENING_FAILED, "a"), b"{}");
    assert_eq!(log.append(failed).await, Ok(Appended::New));
    assert!(waiting(&log).await.is_empty());
    assert!(!add(&log, "a", 1).await);
}

async fn a_screening_with_the_longest_id_waits_like_any_other<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let id = "x".repeat(MAX_ID_BYTES);
    assert!(add(&log, &id, 1).await);
    assert!(!add(&log, &id, 1).await, "it waits already");
    let [poll] = &sound(&log).await[..] else {
        panic!("not one poll");
    };
    assert_eq!(poll.screening_id, id);
    let later = Timestamp::from_millisecond(2).unwrap();
    assert!(log.postpone(poll.clone(), later).await.unwrap());
    let reconciled = log.reconcile(NewEvent::reconciled(end(&id), b"{}")).await;
    assert_eq!(reconciled, Ok(Appended::New));
    assert!(waiting(&log).await.is_empty());
    assert!(!add(&log, &id, 1).await, "it has ended");
}

async fn an_end_removes_a_poll_that_is_not_due<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let far = place.hands().milliseconds() + 3_600_000;
    for id in ["a", "b"] {
        add(&log, id, far).await;
    }
    assert_eq!(waiting(&log).await, ["a", "b"]);
    let appended = log.append(by_webhook("1", "a")).await;
    assert_eq!(appended, Ok(Appended::New));
    assert_eq!(waiting(&log).await, ["b"]);
}

fn by_webhook(id: &str, screening_id: &str) -> NewEvent {
    NewEvent::from_webhook(Identity::Vendor(id.to_owned()), end(screening_id), b"{}")
}

async fn a_webhook_after_the_reconciled_event_replaces_it<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    add(&log, "a", 1).await;
    let reconciled = NewEvent::reconciled(end("a"), b"{}");
    assert_eq!(log.reconcile(reconciled).await, Ok(Appended::New));
    for (id, screening_id, superseded) in
        [("1", "a", reconciled_id("a")), ("2", "b", String::new())]
    {
        let appended = log.append(by_webhook(id, screening_id)).await;
        assert_eq!(appended, Ok(Appended::New));
        let head = log.tail().bounds().head.sequence;
        let page = log.read(head - 1).await.unwrap();
        let event = pb::Event::decode(page[0].event.clone()).unwrap();
        assert_eq!(event.supersedes_event_id, superseded, "{screening_id}");
    }
}

async fn a_webhook_about_another_subject_replaces_nothing<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let about = |screening_id: &str, subject_id: &str| {
        let mut content = end(screening_id);
        content.keys.subject_id = subject_id.to_owned();
        content
    };
    for (screening_id, reconciled, webhook, replaces) in [
        ("other", "subj_a", "subj_b", false),
        ("same", "subj_a", "subj_a", true),
        ("unnamed", "subj_a", "", true),
        ("newly_named", "", "subj_b", true),
    ] {
        add(&log, screening_id, 1).await;
        let reconciled = NewEvent::reconciled(about(screening_id, reconciled), b"{}");
        assert_eq!(log.reconcile(reconciled).await, Ok(Appended::New));
        let identity = Identity::Vendor(screening_id.to_owned());
        let webhook = NewEvent::from_webhook(identity, about(screening_id, webhook), b"{}");
        assert_eq!(log.append(webhook).await, Ok(Appended::New));
        let head = log.tail().bounds().head.sequence;
        let page = log.read(head - 1).await.unwrap();
        let event = pb::Event::decode(page[0].event.clone()).unwrap();
        let superseded = if replaces {
            reconciled_id(screening_id)
        } else {
            String::new()
        };
        assert_eq!(event.supersedes_event_id, superseded, "{screening_id}");
    }
}

async fn an_end_of_any_log_ends_the_wait_of_all<P: Place>() {
    let place = P::new().await;
    let logs = place.open_all().await;
    let last = logs.last().unwrap();
    for (number, log) in logs.iter().enumerate() {
        let id = format!("scr_{number}");
        assert!(add(log, &id, 1).await);
        assert!(!add(last, &id, 1).await, "it waits already");
        let appended = last.append(by_webhook(&id, &id)).await;
        assert_eq!(appended, Ok(Appended::New));
        let reconciled = log.reconcile(NewEvent::reconciled(end(&id), b"{}")).await;
        assert_eq!(reconciled, Ok(Appended::Duplicate));
        assert!(!add(log, &id, 1).await, "it has ended");
    }
    // One of them polls, and nothing waits there.
    for log in &logs {
        assert!(waiting(log).await.is_empty());
    }
}
