//! What is known for certain of a request is written until the store has taken it: while NATS stands still, no id is
//! burned and no paid answer is lost.

use std::time::Duration;

use kora_gateway::pb::RequestState;
use serde_json::json;
use tokio::time::{sleep, timeout};
use tonic::Code;
use uuid::Uuid;

use super::{ask, completed, is_replay, record, request, screen, start_screen};
use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID},
    harness::{Gateway, of_tenant},
    nats_server::NatsServer,
    scripted_kora::{Act, ScriptedKora},
};

/// Longer than the gateway waits for a write at NATS, twice over.
const STANDSTILL: Duration = Duration::from_secs(12);

/// How long a test waits for what follows a standstill.
const PATIENCE: Duration = Duration::from_secs(60);

async fn gateway(kora: &ScriptedKora, nats: &NatsServer) -> Gateway {
    Gateway::start(&kora.base_url(), &[("event-log", &nats.url())]).await
}

/// Repeats a call until the store can be asked.
async fn until_known(gateway: &Gateway, id: Uuid) -> Answer {
    let asked = async {
        loop {
            let answer = screen(gateway, &request(id)).await;
            if answer.reason() != "STORE_UNAVAILABLE" {
                break answer;
            }
            assert_eq!(answer.outcome().as_deref(), Some("NOT_SENT"));
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asked).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_could_not_be_begun_is_not_burned() {
    let nats = NatsServer::start();
    let kora = ScriptedKora::start(completed()).await;
    let gateway = gateway(&kora, &nats).await;
    nats.freeze(true);
    let id = Uuid::new_v4();
    let begun = tokio::time::Instant::now();
    let hurried = Call::new(Rpc::Screen, &request(id)).header("grpc-timeout", "2S");
    let refused = hurried.send(gateway.grpc).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(refused.status.code(), Code::Unavailable);
    assert_eq!(refused.reason(), "STORE_UNAVAILABLE");
    assert_eq!(refused.outcome().as_deref(), Some("NOT_SENT"));
    gateway
        .wait_for_metric("requests_pending_records 1\n")
        .await;
    sleep(STANDSTILL).await;
    nats.freeze(false);
    let sent = until_known(&gateway, id).await;
    assert_eq!(sent.screening().screening_id, SCREENING_ID);
    gateway
        .wait_for_metric("requests_pending_records 0\n")
        .await;
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_answer_that_comes_during_a_standstill_is_recorded() {
    let nats = NatsServer::start();
    let (told, late) = Act::once_told(&json!({
        "screening_id": SCREENING_ID, "status": "COMPLETED", "decision": {"outcome": "APPROVE"},
    }));
    let kora = ScriptedKora::start(late).await;
    let gateway = gateway(&kora, &nats).await;
    let id = Uuid::new_v4();
    let detached = start_screen(&gateway, request(id));
    kora.wait_for_requests(1).await;
    detached.abort();
    nats.freeze(true);
    told.notify_one();
    // Whoever asks meanwhile gets the answer from memory.
    let joined = Call::new(Rpc::Screen, &request(id)).header("grpc-timeout", "3S");
    let joined = joined.send(gateway.grpc).await;
    assert_eq!(joined.screening().screening_id, SCREENING_ID);
    sleep(STANDSTILL).await;
    let stopping = {
        nats.freeze(false);
        let known = until_known(&gateway, id).await;
        assert_eq!(known.screening(), joined.screening());
        gateway
            .wait_for_metric("requests_pending_records 0\n")
            .await;
        assert_eq!(record(&gateway, id).await.state(), RequestState::Succeeded);
        assert!(is_replay(&screen(&gateway, &request(id)).await));
        gateway.stop()
    };
    assert_eq!(kora.take_received().len(), 1);
    stopping.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_is_still_to_be_written() {
    let nats = NatsServer::start();
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let one = gateway(&kora, &nats).await;
    let other = gateway(&kora, &nats).await;
    let id = Uuid::new_v4();
    let detached = start_screen(&one, request(id));
    kora.wait_for_requests(1).await;
    detached.abort();
    nats.freeze(true);
    told.notify_one();
    one.wait_for_metric("reconciler_pending_records 1\n").await;
    let stopping = tokio::spawn(one.stop());
    sleep(STANDSTILL).await;
    assert!(!stopping.is_finished());
    nats.freeze(false);
    stopping.await.unwrap();
    let asked = async {
        loop {
            let answer = ask(&other, &id.to_string()).await;
            if answer.status.code() == Code::Ok {
                break answer.ok::<kora_gateway::pb::GetRequestResponse>();
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let known = timeout(PATIENCE, asked).await.unwrap().record.unwrap();
    assert_eq!(known.state(), RequestState::Succeeded);
    // The screening is not finished, and waits to be polled by whoever is left.
    let polls = of_tenant("store_polls_waiting");
    let polled = async { while !other.metrics().await.contains(&format!("{polls} 1\n")) {} };
    timeout(PATIENCE, polled).await.unwrap();
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_another_replica_ends_by_its_callers_deadline() {
    let nats = NatsServer::start();
    let kora = ScriptedKora::start(Act::Hang).await;
    let [one, other] = [gateway(&kora, &nats).await, gateway(&kora, &nats).await];
    let id = Uuid::new_v4();
    let first = start_screen(&one, request(id));
    kora.wait_for_requests(1).await;
    let call = Call::new(Rpc::Screen, &request(id)).header("grpc-timeout", "2S");
    let begun = tokio::time::Instant::now();
    let waiting = tokio::spawn(call.send(other.grpc));
    // It has read the record once, and reads it again and again.
    sleep(Duration::from_millis(900)).await;
    nats.freeze(true);
    let answer = waiting.await.unwrap();
    let waited = begun.elapsed();
    nats.freeze(false);
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    first.abort();
    for gateway in [one, other] {
        gateway.start_stop();
    }
}
