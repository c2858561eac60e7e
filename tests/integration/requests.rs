//! A request with a `request_id` is done once, and what became of it can be asked.

mod continue_async;
mod endings;
mod evicted;
mod late_rules;
mod pending_records;
mod places;
mod raw_bodies;
mod records;
mod repeats;
mod retention;

use std::{net::SocketAddr, sync::Arc};

use kora_gateway::pb::{self, RequestState, request_record};
use serde_json::json;
use tokio::task::JoinHandle;
use tonic::Code;
use uuid::Uuid;

use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID, profile, screen_request},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

/// A screening that Kora has finished.
pub fn completed() -> Act {
    Act::json(
        200,
        &json!({
            "screening_id": SCREENING_ID,
            "status": "COMPLETED",
            "decision": {"outcome": "APPROVE", "triggered_rules": [], "explanation": "none"},
        }),
    )
}

/// A valid screening with an id.
pub fn request(id: Uuid) -> pb::ScreenRequest {
    pb::ScreenRequest {
        request_id: id.to_string(),
        ..screen_request()
    }
}

pub async fn screen(gateway: &Gateway, request: &pb::ScreenRequest) -> Answer {
    Call::new(Rpc::Screen, request).send(gateway.grpc).await
}

pub fn start_screen(gateway: &Gateway, request: pb::ScreenRequest) -> JoinHandle<Answer> {
    let call = Call::new(Rpc::Screen, &request);
    tokio::spawn(call.send(gateway.grpc))
}

/// Asks what became of a request.
pub async fn ask(gateway: &Gateway, id: &str) -> Answer {
    ask_at(gateway.grpc, id).await
}

/// The same of the gateway whose callers' port this is.
pub async fn ask_at(gateway: SocketAddr, id: &str) -> Answer {
    let path = "/kora.compliance.v1.ComplianceService/GetRequest".to_owned();
    let request = pb::GetRequestRequest {
        request_id: id.to_owned(),
    };
    let message = prost::Message::encode_to_vec(&request);
    Call::raw(path, &message).send(gateway).await
}

pub async fn record(gateway: &Gateway, id: Uuid) -> pb::RequestRecord {
    let answer = ask(gateway, &id.to_string()).await;
    answer.ok::<pb::GetRequestResponse>().record.unwrap()
}

pub fn is_replay(answer: &Answer) -> bool {
    answer
        .headers
        .get("x-idempotent-replay")
        .is_some_and(|value| value == "true")
}

#[tokio::test]
async fn the_same_request_again_gets_the_same_answer() {
    let kora = ScriptedKora::start(completed()).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    let first = screen(&gateway, &request(id)).await;
    assert!(!is_replay(&first));
    assert!(first.screening().raw_json.is_empty());

    let other_spelling = pb::ScreenRequest {
        request_id: id.to_string().to_uppercase(),
        checks: vec![pb::CheckType::Sanctions.into(); 2],
        ..screen_request()
    };
    for again in [request(id), other_spelling] {
        let again = screen(&gateway, &again).await;
        assert!(is_replay(&again));
        assert_eq!(again.screening(), first.screening());
    }
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_subject_is_created_once() {
    let kora = ScriptedKora::start(Act::json(201, &json!({"subject_id": "subj_1"}))).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    let request = pb::CreateSubjectRequest {
        subject: Some(profile()),
        request_id: id.to_string(),
    };
    for round in 0..2 {
        let call = Call::new(Rpc::CreateSubject, &request);
        let answer = call.send(gateway.grpc).await;
        assert_eq!(is_replay(&answer), round > 0);
        let subject = answer.ok::<pb::CreateSubjectResponse>().subject.unwrap();
        assert_eq!(subject.subject_id, "subj_1");
    }
    assert_eq!(kora.take_received().len(), 1);
    let record = record(&gateway, id).await;
    assert_eq!(
        record.method,
        "kora.compliance.v1.ComplianceService/CreateSubject"
    );
    assert!(matches!(
        record.result,
        Some(request_record::Result::Subject(_))
    ));
    // One id is one request, whatever the RPC.
    let screening = screen(&gateway, &self::request(id)).await;
    assert_eq!(screening.reason(), "REQUEST_ID_REUSED");
    gateway.stop().await;
}

#[tokio::test]
async fn two_at_the_same_time_are_one() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    let first = start_screen(&gateway, request(id));
    kora.wait_for_requests(1).await;
    let second = start_screen(&gateway, request(id));
    let other_content = pb::ScreenRequest {
        checks: vec![pb::CheckType::Pep.into()],
        ..request(id)
    };
    let other = screen(&gateway, &other_content).await;
    assert_eq!(other.status.code(), Code::FailedPrecondition);
    assert_eq!(other.reason(), "REQUEST_ID_REUSED");
    assert_eq!(other.outcome().as_deref(), Some("NOT_SENT"));
    assert_eq!(record(&gateway, id).await.state(), RequestState::InFlight);

    told.notify_one();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!(first.screening(), second.screening());
    assert_eq!(kora.take_received().len(), 1);
    let other = screen(&gateway, &other_content).await;
    assert_eq!(
        other.reason(),
        "REQUEST_ID_REUSED",
        "also when it has ended"
    );
    assert!(is_replay(&screen(&gateway, &request(id)).await));
    let metrics = gateway.metrics().await;
    for (kind, count) in [("new", 1), ("joined", 1), ("replayed", 1), ("reused", 2)] {
        let metric = format!("requests_with_id_total{{kind=\"{kind}\"}} {count}\n");
        assert!(metrics.contains(&metric), "{kind}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn many_at_the_same_time_are_one() {
    let kora = ScriptedKora::start(completed()).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let ids: Arc<[Uuid]> = (0..8).map(|_| Uuid::new_v4()).collect();
    let calls: Vec<_> = (0..64)
        .map(|turn| start_screen(&gateway, request(ids[turn % ids.len()])))
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().screening().screening_id, SCREENING_ID);
    }
    assert_eq!(kora.take_received().len(), ids.len());
    gateway.stop().await;
}

#[tokio::test]
async fn the_answer_of_a_cancelled_call_is_there_on_replay() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    let call = start_screen(&gateway, request(id));
    kora.wait_for_requests(1).await;
    call.abort();
    gateway
        .wait_for_metric("method=\"Screen\",code=\"CANCELLED\"")
        .await;
    assert_eq!(record(&gateway, id).await.state(), RequestState::InFlight);

    let joined = start_screen(&gateway, request(id));
    told.notify_one();
    assert_eq!(joined.await.unwrap().screening().screening_id, SCREENING_ID);
    let again = screen(&gateway, &request(id)).await;
    assert!(is_replay(&again));
    assert_eq!(again.screening().screening_id, SCREENING_ID);
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_deadline_that_passes_after_sending_does_not_end_the_request() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    let hurried = Call::new(Rpc::Screen, &request(id)).header("grpc-timeout", "3S");
    let answer = hurried.send(gateway.grpc).await;
    assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    assert_eq!(record(&gateway, id).await.state(), RequestState::InFlight);
    let joined = start_screen(&gateway, request(id));
    told.notify_one();
    assert_eq!(joined.await.unwrap().screening().screening_id, SCREENING_ID);
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}
