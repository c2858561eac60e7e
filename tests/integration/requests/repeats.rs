//! Repeats and joins of known requests have permits of their own, and are never told that nothing was sent.

use kora_gateway::pb::{self, RequestState};
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use super::{completed, is_replay, record, request, screen, start_screen};
use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

/// How many calls with one id may wait for the first one.
const MAX_JOINS: usize = 64;

fn assert_unknown(answer: &Answer) {
    assert_eq!(answer.status.code(), Code::Unknown);
    assert_eq!(answer.reason(), "KORA_OUTCOME_UNKNOWN");
    assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
}

#[tokio::test]
async fn what_is_known_needs_no_permit_of_calls() {
    let kora = ScriptedKora::start(completed()).await;
    let [finished, in_flight] = [(); 2].map(|()| Uuid::new_v4());
    let gateway = Gateway::start(&kora.base_url(), &[("max-calls", "1")]).await;
    screen(&gateway, &request(finished)).await.screening();
    kora.take_received();
    let (told, late) = Act::pending_once_told();
    kora.act(late);
    let first = start_screen(&gateway, request(in_flight));
    kora.wait_for_requests(1).await;

    let again = screen(&gateway, &request(finished)).await;
    assert_eq!(again.screening().screening_id, SCREENING_ID);
    assert!(is_replay(&again));
    let known = record(&gateway, in_flight).await;
    assert_eq!(known.state(), RequestState::InFlight);
    let other_content = pb::ScreenRequest {
        purpose: pb::ScreeningPurpose::Periodic.into(),
        ..request(finished)
    };
    let reused = screen(&gateway, &other_content).await;
    assert_eq!(reused.reason(), "REQUEST_ID_REUSED");
    let new = screen(&gateway, &request(Uuid::new_v4())).await;
    assert_eq!(new.reason(), "GATEWAY_OVERLOADED");
    assert_eq!(new.outcome().as_deref(), Some("NOT_SENT"));
    assert_eq!(new.headers["grpc-retry-pushback-ms"], "1000");

    // One repeat waits, as many as there are calls.
    let joined = [(); 2].map(|()| start_screen(&gateway, request(in_flight)));
    let mut answers = Vec::new();
    let [one, other] = joined;
    tokio::pin!(one, other);
    let (refused, waits) = tokio::select! {
        refused = &mut one => (refused, other),
        refused = &mut other => (refused, one),
    };
    assert_unknown(&refused.unwrap());
    told.notify_one();
    answers.push(first.await.unwrap());
    answers.push(waits.await.unwrap());
    for answer in answers {
        assert_eq!(answer.screening().screening_id, SCREENING_ID);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn too_many_joins_of_one_request_do_not_know() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    let first = start_screen(&gateway, request(id));
    kora.wait_for_requests(1).await;
    let call = Call::new(Rpc::Screen, &request(id));
    let mut joined = JoinSet::new();
    for _ in 0..=MAX_JOINS {
        joined.spawn(call.clone().send(gateway.grpc));
    }
    assert_unknown(&joined.join_next().await.unwrap().unwrap());
    told.notify_one();
    first.await.unwrap().screening();
    let mut answered = 0;
    while let Some(answer) = joined.join_next().await {
        answer.unwrap().screening();
        answered += 1;
    }
    assert_eq!(answered, MAX_JOINS);
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}
