//! What may be sent again under the same id, and what never is.

use serde_json::json;
use tokio::net::TcpListener;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{completed, is_replay, record, request, screen, start_screen};
use crate::{
    call::{Call, Rpc, SCREENING_ID},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};
use kora_gateway::pb::{self, RequestState};

fn proxys_page(status: u16) -> Act {
    Act::Answer(status, Vec::new(), b"<html>".to_vec())
}

#[tokio::test]
async fn an_id_while_unknown_never_leads_to_a_post() {
    let kora = ScriptedKora::start(completed()).await;
    let gateway = Gateway::start(&kora.base_url(), &[("kora-timeout", "300ms")]).await;
    for (act, reason) in [
        (
            Act::error(503, "SCREENING_TIMEOUT"),
            "KORA_SCREENING_TIMEOUT",
        ),
        (Act::error(500, "INTERNAL_ERROR"), "KORA_OUTCOME_UNKNOWN"),
        (
            Act::error(503, "SERVICE_UNAVAILABLE"),
            "KORA_OUTCOME_UNKNOWN",
        ),
        (Act::CloseAfterRequest, "KORA_OUTCOME_UNKNOWN"),
        (Act::Hang, "DEADLINE_EXCEEDED"),
        (Act::json(200, &json!([])), "KORA_RESPONSE_INVALID"),
        (proxys_page(302), "KORA_REDIRECT"),
    ] {
        let id = Uuid::new_v4();
        kora.act(act);
        let first = screen(&gateway, &request(id)).await;
        assert_eq!(first.reason(), reason);
        assert_eq!(kora.take_received().len(), 1, "{reason}");
        kora.act(completed());
        let again = screen(&gateway, &request(id)).await;
        assert_eq!(again.reason(), reason);
        assert_eq!(again.outcome().as_deref(), Some("UNKNOWN"), "{reason}");
        assert!(is_replay(&again), "{reason}");
        let record = record(&gateway, id).await;
        assert_eq!(record.state(), RequestState::Unknown, "{reason}");
        assert!(kora.take_received().is_empty(), "{reason}: sent again");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_certainly_did_not_happen_may_be_sent_again_under_its_id() {
    let kora = ScriptedKora::start(completed()).await;
    let flags = [("trust-kora-503", "true")];
    let gateway = Gateway::start(&kora.base_url(), &flags).await;
    for (act, reason) in [
        (Act::error(401, "UNAUTHORIZED"), "KORA_CREDENTIAL_REJECTED"),
        (Act::error(403, "FORBIDDEN"), "KORA_FORBIDDEN"),
        (proxys_page(404), "KORA_ROUTE_NOT_FOUND"),
        (
            Act::error(429, "RATE_LIMITED").with_header("retry-after", "2"),
            "KORA_RATE_LIMITED",
        ),
        (
            Act::error(503, "SERVICE_UNAVAILABLE").with_header("retry-after", "2"),
            "KORA_UNAVAILABLE",
        ),
    ] {
        let id = Uuid::new_v4();
        kora.act(act);
        // Too short for another attempt.
        let hurried = Call::new(Rpc::Screen, &request(id)).header("grpc-timeout", "1S");
        let first = hurried.send(gateway.grpc).await;
        assert_eq!(first.reason(), reason);
        let record = record(&gateway, id).await;
        assert_eq!(record.state(), RequestState::Rejected, "{reason}");
        kora.take_received();
        kora.act(completed());
        let other = pb::ScreenRequest {
            checks: vec![pb::CheckType::Pep.into()],
            ..request(id)
        };
        let other = screen(&gateway, &other).await;
        assert_eq!(other.reason(), "REQUEST_ID_REUSED", "{reason}");
        let again = screen(&gateway, &request(id)).await;
        assert_eq!(again.screening().screening_id, SCREENING_ID, "{reason}");
        assert!(!is_replay(&again), "{reason}");
        assert_eq!(kora.take_received().len(), 1, "{reason}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_final_refusal_is_given_again_as_it_was() {
    let kora = ScriptedKora::start(completed()).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let invalid = Act::json(
        400,
        &json!({
            "code": "VALIDATION_ERROR", "request_id": "req_body",
            "details": [{"field": "subject.name", "message": "VENDOR-TEXT"}],
        }),
    );
    for (act, reason, state) in [
        (invalid, "KORA_VALIDATION", RequestState::Rejected),
        (
            Act::error(413, "BODY_TOO_LARGE"),
            "KORA_TOO_LARGE",
            RequestState::Rejected,
        ),
        (
            Act::error(500, "SCREENING_FAILED"),
            "SCREENING_FAILED",
            RequestState::Failed,
        ),
    ] {
        let id = Uuid::new_v4();
        kora.act(act);
        let first = screen(&gateway, &request(id)).await;
        assert_eq!(first.reason(), reason);
        kora.act(completed());
        let again = screen(&gateway, &request(id)).await;
        assert_eq!(again.status.code(), first.status.code());
        assert_eq!(again.status.details(), first.status.details(), "{reason}");
        assert!(is_replay(&again));
        let record = record(&gateway, id).await;
        assert_eq!(record.state(), state, "{reason}");
        let error = record.error.unwrap();
        assert_eq!(error.code, i32::from(first.status.code()));
        let expected = first.status.get_details_error_info().unwrap();
        let details = tonic::Status::with_details(
            first.status.code(),
            error.message.clone(),
            prost::Message::encode_to_vec(&error).into(),
        );
        assert_eq!(
            details.get_details_error_info().unwrap().reason,
            expected.reason
        );
        assert_eq!(kora.take_received().len(), 1, "{reason}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn whoever_joins_a_call_that_gives_up_unsent_sends_it() {
    // It accepts, and never answers the handshake: nothing is ever sent.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/api/v1", silent.local_addr().unwrap());
    let gateway = Gateway::start(&url, &[]).await;
    let id = Uuid::new_v4();
    let hurried = Call::new(Rpc::Screen, &request(id)).header("grpc-timeout", "1S");
    let hurried = tokio::spawn(hurried.send(gateway.grpc));
    let _connection = silent.accept().await.unwrap();
    let patient = start_screen(&gateway, request(id));
    assert_eq!(hurried.await.unwrap().reason(), "DEADLINE_BEFORE_SEND");
    let _connection = silent.accept().await.unwrap();
    assert_eq!(patient.await.unwrap().reason(), "KORA_UNREACHABLE");
    gateway.stop().await;
}
