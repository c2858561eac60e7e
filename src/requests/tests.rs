//! What holds while the store takes its time. The clock is paused: it moves on only when nobody has anything
//! left to do.

mod room;
mod slow_store;

use std::future::pending;

use super::*;
use crate::{
    access::Claimant,
    error::Outcome,
    screening::KoraObject,
    store::{Ending, Intent, StoredState, Summary},
};
use room::{Room, WAIT, everybody_waits, key, screening, sent_twice};

#[tokio::test(start_paused = true)]
async fn nobody_else_has_an_id_whose_end_is_still_being_recorded() {
    let room = Room::new();
    room.store.begun.add_permits(1);
    let first = room.call(WAIT, async { Ok(screening()) }).await;
    assert_eq!(first.unwrap().message, screening());
    assert!(room.requests.in_flight.has(&key()));
    let again = room.call(WAIT, sent_twice()).await.unwrap();
    assert_eq!(again.message, screening());
    assert_eq!(room.store.begins(), 1);
    room.store.finished.add_permits(1);
    room.is_over().await;
    assert!(!room.requests.in_flight.has(&key()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_its_record_and_comes_in_time_without() {
    let room = Room::new();
    room.store.begun.add_permits(1);
    let start = Instant::now();
    let slow = room.call(WAIT, async { Ok(screening()) }).await;
    assert!(slow.is_ok());
    let waited = start.elapsed();
    assert!(WAIT / 2 < waited && waited < WAIT, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_begin_that_nobody_waited_for_is_taken_back_in_the_record_too() {
    let room = Room::new();
    let error = timeout_at(Instant::now() + 2 * WAIT, room.call(WAIT, sent_twice()));
    let error = error.await.unwrap().unwrap_err();
    // Whether an earlier call had the id, nobody could say.
    assert_eq!(error.reason, Reason::StoreUnavailable);
    // It is on its way to the disk all the same.
    assert_eq!(room.store.begins(), 1);
    assert_eq!(room.store.endings(), [StoredState::MayBeRepeated]);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_begin_is_refused_and_over_at_once() {
    let room = Room::new();
    room.store.begun.close();
    let start = Instant::now();
    let error = room.call(WAIT, sent_twice()).await.unwrap_err();
    assert_eq!(error.reason, Reason::StoreUnavailable);
    assert_eq!(error.retry_after, Some(COME_BACK_AFTER));
    // There is no record that could be waited for.
    timeout_at(start + WAIT, room.is_over()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn whoever_joined_is_answered_by_its_own_deadline_and_does_not_know() {
    let room = Room::new();
    room.store.begun.add_permits(1);
    let leader = tokio::spawn(room.call(10 * WAIT, pending()));
    everybody_waits().await;
    let start = Instant::now();
    let joined = timeout_at(start + 2 * WAIT, room.call(WAIT, sent_twice()));
    let error = joined.await.unwrap().unwrap_err();
    assert_eq!(error.reason.of_paid_call().1, Outcome::Unknown);
    assert_eq!(start.elapsed(), WAIT);
    leader.abort();
}

#[tokio::test(start_paused = true)]
async fn whoever_joined_hears_of_the_end_of_the_gateway_and_does_not_know() {
    let room = Room::new();
    room.store.begun.add_permits(1);
    let leader = tokio::spawn(room.call(10 * WAIT, pending()));
    everybody_waits().await;
    let joined = tokio::spawn(room.call(10 * WAIT, sent_twice()));
    everybody_waits().await;
    let start = Instant::now();
    room.requests.orders.give_up.start();
    for call in [joined, leader] {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.reason.of_paid_call().1, Outcome::Unknown);
    }
    assert!(start.elapsed() < WAIT);
}

#[tokio::test(start_paused = true)]
async fn whoever_joined_sends_it_only_if_the_first_one_was_given_up_unsent() {
    for (reason, begins) in [
        (Reason::RatePaced, 2),
        (Reason::DeadlineBeforeSend, 2),
        (Reason::KoraForbidden, 1),
        (Reason::KoraOutcomeUnknown, 1),
    ] {
        let room = Room::new();
        let first = tokio::spawn(room.call(WAIT, async move { Err(reason.into()) }));
        everybody_waits().await;
        let joined = tokio::spawn(room.call(WAIT, async { Ok(screening()) }));
        everybody_waits().await;
        room.store.begun.add_permits(2);
        room.store.finished.add_permits(2);
        assert_eq!(first.await.unwrap().unwrap_err().reason, reason);
        match joined.await.unwrap() {
            Ok(answered) => assert_eq!((answered.message, begins), (screening(), 2)),
            Err(error) => assert_eq!((error.reason, begins), (reason, 1)),
        }
        assert_eq!(room.store.begins(), begins);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_joined_a_replay_hears_that_it_is_one() {
    let room = Room::new();
    room.store.begun.add_permits(1);
    room.store.finished.add_permits(1);
    let first = room.call(WAIT, async { Ok(screening()) }).await.unwrap();
    assert!(!first.is_replay);
    let again = [(); 2].map(|()| tokio::spawn(room.call(WAIT, sent_twice())));
    everybody_waits().await;
    room.store.begun.add_permits(1);
    for call in again {
        let answered = call.await.unwrap().unwrap();
        assert_eq!((answered.message, answered.is_replay), (screening(), true));
    }
}

#[tokio::test(start_paused = true)]
async fn who_joins_gets_the_body_that_the_record_does_not_keep() {
    let room = Room::new();
    let with_body = pb::Screening {
        raw_json: b"{}".to_vec(),
        ..screening()
    };
    let sent = with_body.clone();
    let first = tokio::spawn(room.call(WAIT, async { Ok(sent) }));
    everybody_waits().await;
    let joined = tokio::spawn(room.call(WAIT, sent_twice()));
    everybody_waits().await;
    room.store.begun.add_permits(2);
    room.store.finished.add_permits(1);
    for call in [first, joined] {
        assert_eq!(call.await.unwrap().unwrap().message, with_body);
    }
    let again = room.call(WAIT, sent_twice()).await.unwrap();
    assert!(again.is_replay);
    assert_eq!(again.message, screening());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_here_when_the_gateway_ends_is_given() {
    let room = Room::new();
    room.store.begun.add_permits(1);
    let call = tokio::spawn(room.call(10 * WAIT, async { Ok(screening()) }));
    everybody_waits().await;
    room.requests.orders.give_up.start();
    everybody_waits().await;
    room.store.finished.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap().message, screening());
}

#[tokio::test(start_paused = true)]
async fn what_ended_while_its_record_was_read_is_read_again() {
    let room = Room::new();
    let content = RequestContent {
        rpc: "Screen".to_owned(),
        fingerprint: [0; 32],
    };
    let intent = Intent {
        key: key(),
        content,
        attempt: Uuid::nil(),
    };
    room.store.begun.add_permits(1);
    room.store.begin(intent).await.unwrap();
    let requests = room.requests.clone();
    let answer_by = Instant::now() + WAIT;
    let asked = tokio::spawn(async move {
        let asked = requests.request("caller", Uuid::nil(), answer_by);
        asked.await
    });
    everybody_waits().await;
    room.store.finished.add_permits(1);
    let ending = Ending {
        key: key(),
        attempt: Uuid::nil(),
        state: StoredState::Succeeded,
        answer: bytes::Bytes::new(),
        summary: Summary::default(),
    };
    room.store.finish(ending).await.unwrap();
    room.store.read.add_permits(2);
    let record = asked.await.unwrap().unwrap();
    assert!(matches!(record.state, RecordState::Succeeded(_)));
}

#[tokio::test(start_paused = true)]
async fn a_screening_that_the_store_is_slow_to_take_waits_in_the_end() {
    let room = Room::new();
    let start = Instant::now();
    let taken = KoraObject::read(br#"{"screening_id": "scr_1", "status": "PENDING"}"#);
    let taken = Screening::from_kora(&taken.unwrap(), None).unwrap();
    let claimant = room.permits.of_call(Claimant::only(), start + WAIT);
    let record = claimant.record().unwrap();
    let requests = &room.requests;
    requests.await_end(&taken, start + WAIT, &record).await;
    let waited = start.elapsed();
    assert!(WAIT / 2 < waited && waited < WAIT, "{waited:?}");
    room.store.poll_added.add_permits(1);
    room.is_over().await;
    assert_eq!(room.store.waiting(), ["scr_1"]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_a_slow_store_is_answered_at_the_deadline() {
    let room = Room::new();
    let answer_by = Instant::now() + WAIT;
    let asked = room.requests.request("caller", Uuid::nil(), answer_by);
    let error = asked.await.unwrap_err();
    assert_eq!(error.reason, Reason::DeadlineExceeded);
    assert_eq!(Instant::now(), answer_by);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_written_until_the_store_takes_it_and_joiners_get_it_meanwhile() {
    let room = Room::new();
    room.store.begun.add_permits(1);
    room.store.refuse_ends(5);
    let first = room.call(WAIT, async { Ok(screening()) }).await;
    assert_eq!(first.unwrap().message, screening());
    let joined = room.call(WAIT, sent_twice()).await.unwrap();
    assert_eq!(joined.message, screening());
    room.store.finished.add_permits(1);
    room.is_over().await;
    assert_eq!(room.store.endings(), [StoredState::Succeeded]);
}

#[tokio::test(start_paused = true)]
async fn as_many_ends_as_calls_may_be_left_to_be_written_and_then_new_ids_are_refused() {
    let room = Room::new();
    let claimant = room
        .permits
        .of_call(Claimant::only(), Instant::now() + WAIT);
    let pending: Vec<_> = (0..room::MAX_CALLS).map(|_| claimant.record()).collect();
    assert!(pending.iter().all(Result::is_ok));
    room.store.read.add_permits(1);
    let error = room.call(WAIT, sent_twice()).await.unwrap_err();
    assert_eq!(error.reason, Reason::StoreUnavailable);
    assert_eq!(room.store.begins(), 0);
    drop(pending);
    room.store.begun.add_permits(1);
    room.store.finished.add_permits(1);
    let call = room.call(WAIT, async { Ok(screening()) }).await;
    assert!(call.is_ok());
}

#[tokio::test(start_paused = true)]
async fn while_the_gateway_stops_known_requests_are_answered_and_new_ones_are_refused() {
    let room = Room::new();
    room.requests.orders.stop.start();
    room.store.read.add_permits(1);
    let error = room.call(WAIT, sent_twice()).await.unwrap_err();
    assert_eq!(error.reason, Reason::GatewayDraining);
    assert_eq!(room.store.begins(), 0);

    let room = Room::new();
    room.store.begun.add_permits(1);
    room.store.finished.add_permits(1);
    let first = room.call(WAIT, async { Ok(screening()) }).await.unwrap();
    room.requests.orders.stop.start();
    room.store.read.add_permits(1);
    let again = room.call(WAIT, sent_twice()).await.unwrap();
    assert!(again.is_replay);
    assert_eq!(again.message, first.message);
}

#[tokio::test(start_paused = true)]
async fn whoever_joins_while_the_gateway_stops_waits_for_the_end() {
    let room = Room::new();
    room.store.begun.add_permits(1);
    let leader = tokio::spawn(room.call(WAIT, async {
        tokio::time::sleep(WAIT / 2).await;
        Ok(screening())
    }));
    everybody_waits().await;
    room.requests.orders.stop.start();
    room.store.finished.add_permits(1);
    let joined = room.call(WAIT, sent_twice()).await.unwrap();
    assert_eq!(joined.message, screening());
    leader.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_tell_whether_an_id_is_known_the_store_is_unavailable() {
    // The store has not answered by the deadline; the permits for sending are taken.
    let room = Room::new();
    let start = Instant::now();
    let claimant = room.permits.of_call(Claimant::only(), start + WAIT);
    let calls: Vec<_> = (0..room::MAX_CALLS).map(|_| claimant.try_call()).collect();
    let error = room.call(WAIT, sent_twice()).await.unwrap_err();
    assert_eq!(error.reason, Reason::StoreUnavailable);
    assert_eq!(start.elapsed(), WAIT);
    // No look-up is possible.
    let repeats: Vec<_> = (0..room::MAX_CALLS).map(|_| claimant.repeat()).collect();
    let error = room.call(WAIT, sent_twice()).await.unwrap_err();
    assert_eq!(error.reason, Reason::StoreUnavailable);
    drop((calls, repeats));
}
