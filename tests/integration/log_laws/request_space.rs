//! The size bound of request records: answers go, ids stay.

use std::time::Duration;

use futures_util::future::join_all;
use kora_gateway::store::{Begun, Ending, RequestLog, StoredRequest, StoredState};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    Place, TIGHT, laws,
    requests::{ending, intent, key, summary},
};

laws! {
    at_the_bound_the_oldest_answers_are_evicted_and_no_id,
    an_evicted_answer_stays_evicted_and_is_no_damage,
    ids_that_fill_the_bound_have_new_ones_refused_and_known_ones_answered,
}

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A large answer.
const ANSWER_BYTES: usize = 14 << 10;

/// How many of them are stored: about twice as many as fit.
const ANSWERS: usize = 2 * TIGHT as usize / ANSWER_BYTES;

fn large(id: Uuid, attempt: Uuid, state: StoredState) -> Ending {
    Ending {
        answer: vec![b'x'; ANSWER_BYTES].into(),
        ..ending(id, attempt, state, "")
    }
}

async fn found(log: &impl RequestLog, id: Uuid) -> StoredRequest {
    log.request(key(id)).await.unwrap().unwrap()
}

/// Ends a new request with a large answer.
async fn add(log: &impl RequestLog, state: StoredState) -> Uuid {
    let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(log.begin(intent(id, attempt)).await, Ok(Begun::New));
    assert_eq!(log.finish(large(id, attempt, state)).await, Ok(true));
    id
}

async fn until_evicted(log: &impl RequestLog, id: Uuid) {
    let evicted = async {
        while !found(log, id).await.is_evicted {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, evicted).await.unwrap();
}

async fn at_the_bound_the_oldest_answers_are_evicted_and_no_id<P: Place>() {
    let place = P::tight().await;
    let log = place.open().await;
    let [open, abandoned] = [(); 2].map(|()| Uuid::new_v4());
    log.begin(intent(abandoned, Uuid::new_v4())).await.unwrap();
    P::close(&log).await;
    let log = place.open().await;
    let attempt = Uuid::new_v4();
    log.begin(intent(open, attempt)).await.unwrap();
    let mut ids = Vec::new();
    let states = [
        StoredState::Succeeded,
        StoredState::Failed,
        StoredState::MayBeRepeated,
    ];
    for number in 0..ANSWERS {
        ids.push((add(&log, states[number % 3]).await, states[number % 3]));
    }
    until_evicted(&log, ids[ANSWERS / 4].0).await;

    let mut kept = Vec::new();
    for (id, state) in &ids {
        let found = found(&log, *id).await;
        assert_eq!(found.state, *state);
        assert_eq!(found.summary, summary(*state));
        assert!(found.finish_time.is_some());
        let answer = if found.is_evicted { 0 } else { ANSWER_BYTES };
        assert_eq!(found.answer.len(), answer);
        kept.push(!found.is_evicted);
    }
    assert!(kept.is_sorted(), "the oldest ends go first: {kept:?}");
    assert!(kept[ANSWERS - 1], "the newest fits");
    let kept = kept.into_iter().filter(|is_kept| *is_kept).count();
    assert!(kept * ANSWER_BYTES <= TIGHT as usize);

    assert_eq!(found(&log, abandoned).await.state, StoredState::Abandoned);
    assert_eq!(found(&log, open).await.state, StoredState::InFlight);
    let late = ending(open, attempt, StoredState::Succeeded, "late");
    assert_eq!(log.finish(late).await, Ok(true));
}

async fn an_evicted_answer_stays_evicted_and_is_no_damage<P: Place>() {
    let place = P::tight().await;
    let log = place.open().await;
    let succeeded = add(&log, StoredState::Succeeded).await;
    let repeated = add(&log, StoredState::MayBeRepeated).await;
    for _ in 0..ANSWERS {
        add(&log, StoredState::Succeeded).await;
    }
    until_evicted(&log, repeated).await;
    P::close(&log).await;

    let log = place.open().await;
    let before = found(&log, succeeded).await;
    assert!(before.is_evicted);
    let begun = log.begin(intent(succeeded, Uuid::new_v4())).await.unwrap();
    assert_eq!(begun, Begun::Found(before));
    let attempt = Uuid::new_v4();
    let mut other = intent(repeated, attempt);
    other.content.fingerprint = [2; 32];
    let begun = log.begin(other).await.unwrap();
    assert!(matches!(begun, Begun::Found(found) if found.is_evicted));
    assert_eq!(log.begin(intent(repeated, attempt)).await, Ok(Begun::New));
    assert!(!found(&log, repeated).await.is_evicted);
    let done = ending(repeated, attempt, StoredState::Succeeded, "done");
    assert_eq!(log.finish(done).await, Ok(true));
}

async fn ids_that_fill_the_bound_have_new_ones_refused_and_known_ones_answered<P: Place>() {
    let place = P::tight().await;
    let log = place.open().await;
    let attempt = Uuid::new_v4();
    let mut known = Vec::new();
    let full = async {
        loop {
            let ids: Vec<_> = (0..64).map(|_| Uuid::new_v4()).collect();
            let begun = join_all(ids.iter().map(|id| log.begin(intent(*id, attempt)))).await;
            for (id, begun) in ids.into_iter().zip(begun) {
                match begun.unwrap() {
                    Begun::New => known.push(id),
                    Begun::Full => return,
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    timeout(PATIENCE, full).await.unwrap();
    assert!(known.len() > 1000, "{}", known.len());

    let new = Uuid::new_v4();
    for id in [known[0], known[known.len() - 1]] {
        let begun = log.begin(intent(new, attempt)).await;
        assert_eq!(begun, Ok(Begun::Full));
        let recorded = log.request(key(new)).await.unwrap();
        assert_eq!(recorded, None, "nothing is recorded");
        let again = log.begin(intent(id, Uuid::new_v4())).await.unwrap();
        assert!(matches!(again, Begun::Found(found) if found.attempt == attempt));
        let end = large(id, attempt, StoredState::Succeeded);
        assert_eq!(log.finish(end).await, Ok(true));
        assert_eq!(found(&log, id).await.state, StoredState::Succeeded);
        until_evicted(&log, id).await;
    }
    for id in known {
        assert_eq!(found(&log, id).await.attempt, attempt);
    }
}
