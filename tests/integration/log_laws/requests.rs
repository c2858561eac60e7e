//! The law of the request records.

use std::{collections::BTreeSet, sync::Arc};

use kora_gateway::store::{
    Begun, Ending, Intent, RequestContent, RequestKey, RequestLog, StoredState, Summary,
};
use uuid::Uuid;

use super::{Place, laws};

laws! {
    only_the_attempt_that_is_recorded_ends_and_only_once,
    of_many_that_begin_at_once_one_wins,
    one_with_other_content_never_takes_a_place,
    a_scope_is_there_while_it_has_a_record,
    a_record_is_there_after_a_restart,
    what_an_earlier_process_left_open_is_marked_as_abandoned_and_never_begun_again,
    an_end_that_comes_while_its_beginning_is_dropped_is_not_overtaken,
}

pub fn key(request_id: Uuid) -> RequestKey {
    RequestKey {
        caller: "a caller.>*".to_owned(),
        request_id,
    }
}

pub fn intent(id: Uuid, attempt: Uuid) -> Intent {
    Intent {
        key: key(id),
        content: RequestContent {
            rpc: "Screen".to_owned(),
            fingerprint: [1; 32],
        },
        attempt,
    }
}

pub fn ending(id: Uuid, attempt: Uuid, state: StoredState, answer: &'static str) -> Ending {
    Ending {
        key: key(id),
        attempt,
        state,
        answer: answer.into(),
        summary: summary(state),
    }
}

/// What stays of an answer of this kind.
pub fn summary(state: StoredState) -> Summary {
    match state {
        StoredState::Succeeded => Summary {
            result_id: "scr_1".to_owned(),
            reason: String::new(),
        },
        _ => Summary {
            result_id: String::new(),
            reason: "KORA_VALIDATION".to_owned(),
        },
    }
}

async fn only_the_attempt_that_is_recorded_ends_and_only_once<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let id = Uuid::new_v4();
    let [first, second] = [Uuid::new_v4(), Uuid::new_v4()];
    let (succeeded, again) = (StoredState::Succeeded, StoredState::MayBeRepeated);
    let finish = async |attempt, state, answer| {
        let finished = log.finish(ending(id, attempt, state, answer)).await;
        finished.unwrap()
    };
    assert!(!finish(first, succeeded, "none").await);
    assert_eq!(log.begin(intent(id, first)).await.unwrap(), Begun::New);
    assert!(!finish(second, succeeded, "other").await);
    assert!(finish(first, again, "refused").await);
    assert_eq!(log.begin(intent(id, second)).await.unwrap(), Begun::New);
    assert!(!finish(first, succeeded, "late").await);
    assert!(finish(second, succeeded, "done").await);
    assert!(!finish(second, again, "twice").await);
    let found = log.request(key(id)).await.unwrap().unwrap();
    assert_eq!((found.state, &found.answer[..]), (succeeded, &b"done"[..]));
    let begun = log.begin(intent(id, first)).await.unwrap();
    assert_eq!(begun, Begun::Found(found));
}

async fn a_scope_is_there_while_it_has_a_record<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let has = async |name: &str| log.has_scope(name.to_owned()).await.unwrap();
    let (name, id) = ("a caller.>*", Uuid::new_v4());
    assert!(!has(name).await);
    log.begin(intent(id, Uuid::new_v4())).await.unwrap();
    assert!(has(name).await);
    for other in ["a", "a caller", "*", ">"] {
        assert!(!has(other).await, "{other}");
    }
}

async fn of_many_that_begin_at_once_one_wins<P: Place>() {
    let place = P::new().await;
    let logs: Vec<_> = place.open_all().await.into_iter().map(Arc::new).collect();
    let id = Uuid::new_v4();
    let begins = (0..60).map(|number| {
        let log = Arc::clone(&logs[number % logs.len()]);
        tokio::spawn(async move {
            let attempt = Uuid::new_v4();
            (attempt, log.begin(intent(id, attempt)).await.unwrap())
        })
    });
    let (mut new, mut found) = (Vec::new(), BTreeSet::new());
    for begin in begins.collect::<Vec<_>>() {
        match begin.await.unwrap() {
            (attempt, Begun::New) => new.push(attempt),
            (_, Begun::Found(record)) => drop(found.insert(record.attempt)),
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!(new.len(), 1);
    assert!(found.into_iter().eq(new));
}

async fn one_with_other_content_never_takes_a_place<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
    log.begin(intent(id, attempt)).await.unwrap();
    let refused = ending(id, attempt, StoredState::MayBeRepeated, "refused");
    assert!(log.finish(refused).await.unwrap());
    let mut other = intent(id, Uuid::new_v4());
    other.content.fingerprint = [2; 32];
    let begun = log.begin(other).await.unwrap();
    assert!(matches!(begun, Begun::Found(found) if found.attempt == attempt));
}

async fn a_record_is_there_after_a_restart<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let [open, done, attempt] = [(); 3].map(|()| Uuid::new_v4());
    for id in [open, done] {
        assert_eq!(log.begin(intent(id, attempt)).await.unwrap(), Begun::New);
    }
    let succeeded = ending(done, attempt, StoredState::Succeeded, "done");
    assert!(log.finish(succeeded).await.unwrap());
    P::close(&log).await;

    let log = place.open().await;
    let found = log.request(key(done)).await.unwrap().unwrap();
    assert_eq!(found.state, StoredState::Succeeded);
    assert_eq!(&found.answer[..], b"done");
    assert_eq!(found.summary, summary(StoredState::Succeeded));
    assert!(found.finish_time.is_some() && !found.is_evicted);
    let found = log.request(key(open)).await.unwrap().unwrap();
    assert!(!found.is_held_elsewhere, "nobody works on it any more");
    assert_eq!(log.request(key(Uuid::nil())).await.unwrap(), None);
}

async fn what_an_earlier_process_left_open_is_marked_as_abandoned_and_never_begun_again<
    P: Place,
>() {
    let place = P::new().await;
    let log = place.open().await;
    let [left, next] = [(); 2].map(|()| Uuid::new_v4());
    let attempt = Uuid::new_v4();
    log.begin(intent(left, attempt)).await.unwrap();
    P::close(&log).await;

    for _ in 0..2 {
        let log = place.open().await;
        // Whatever is written next, at the latest, also marks what was left open.
        let _ = log.begin(intent(next, Uuid::new_v4())).await.unwrap();
        let found = log.request(key(left)).await.unwrap().unwrap();
        assert_eq!(
            (found.state, found.attempt),
            (StoredState::Abandoned, attempt)
        );
        assert!(found.finish_time.is_none() && found.answer.is_empty());
        assert!(!found.is_evicted && !found.is_held_elsewhere);
        let begun = log.begin(intent(left, Uuid::new_v4())).await.unwrap();
        assert_eq!(begun, Begun::Found(found));
        P::close(&log).await;
    }
}

async fn an_end_that_comes_while_its_beginning_is_dropped_is_not_overtaken<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    for _ in 0..50 {
        let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
        let begin = log.begin(intent(id, attempt));
        // Asked once, and dropped: it may have left or not.
        let _ = tokio::time::timeout(std::time::Duration::ZERO, begin).await;
        let again = ending(id, attempt, StoredState::MayBeRepeated, "not sent");
        let is_recorded = log.finish(again).await.unwrap();
        let found = log.request(key(id)).await.unwrap();
        assert_eq!(is_recorded, found.is_some());
        assert!(found.is_none_or(|found| found.state == StoredState::MayBeRepeated));
    }
}
