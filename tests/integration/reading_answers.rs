//! How Kora's answers are read: how much of them, by what, and what is taken for an id.

use kora_gateway::pb;
use serde_json::json;

use crate::{
    call::{Call, Rpc, SCREENING_ID, SUBJECT_ID, profile, screen_request},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

/// A whole, readable answer for any RPC, padded with blanks that JSON allows.
fn padded(status: u16, mut body: Vec<u8>, size: usize, chunked: bool) -> Act {
    body.resize(size, b' ');
    if !chunked {
        return Act::Answer(
            status,
            vec![("x-request-id", "req_header".to_owned())],
            body,
        );
    }
    let mut bytes =
        format!("HTTP/1.1 {status} X\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n")
            .into_bytes();
    bytes.extend(body);
    bytes.extend(b"\r\n0\r\n\r\n");
    Act::Write(bytes)
}

#[tokio::test]
async fn an_answer_larger_than_allowed_is_not_read_even_if_it_could_be() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[("kora-max-response-bytes", "1KiB")]).await;
    let fine = json!({"screening_id": SCREENING_ID, "subject_id": SUBJECT_ID, "status": "PENDING"})
        .to_string()
        .into_bytes();
    let refusal = json!({"code": "VALIDATION_ERROR"}).to_string().into_bytes();
    for chunked in [false, true] {
        for rpc in Rpc::ALL {
            kora.act(padded(200, fine.clone(), 1024, chunked));
            assert_eq!(
                rpc.call().send(gateway.grpc).await.status.code(),
                tonic::Code::Ok,
                "{rpc:?}"
            );
            kora.act(padded(200, fine.clone(), 1025, chunked));
            let answer = rpc.call().send(gateway.grpc).await;
            assert_eq!(
                answer.reason(),
                "KORA_RESPONSE_INVALID",
                "{rpc:?} chunked: {chunked}"
            );
        }
        // What is too large to be read does not prove a refusal.
        kora.act(padded(400, refusal.clone(), 1025, chunked));
        let answer = Rpc::Screen.call().send(gateway.grpc).await;
        assert_eq!(
            answer.reason(),
            "KORA_OUTCOME_UNKNOWN",
            "chunked: {chunked}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_code_decides_where_the_status_claims_no_less() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for (act, reason) in [
        (Act::error(418, "VALIDATION_ERROR"), "KORA_VALIDATION"),
        (Act::error(418, "INVALID_SUBJECT"), "KORA_VALIDATION"),
        (Act::error(418, "BAD_REQUEST"), "KORA_VALIDATION"),
        (Act::error(418, "UNAUTHORIZED"), "KORA_CREDENTIAL_REJECTED"),
        (Act::error(418, "FORBIDDEN"), "KORA_FORBIDDEN"),
        (Act::error(418, "CONFLICT"), "KORA_CONFLICT"),
        (Act::error(418, "CASE_ALREADY_CLOSED"), "KORA_CONFLICT"),
        (Act::error(400, "INTERNAL_ERROR"), "KORA_OUTCOME_UNKNOWN"),
        (
            Act::error(400, "VERIFICATION_FAILED"),
            "KORA_OUTCOME_UNKNOWN",
        ),
        (
            Act::error(400, "SERVICE_UNAVAILABLE"),
            "KORA_OUTCOME_UNKNOWN",
        ),
        // The request named nothing that could be missing.
        (Act::error(404, "DATASET_NOT_FOUND"), "KORA_ROUTE_NOT_FOUND"),
        (Act::Answer(422, vec![], vec![]), "KORA_VALIDATION"),
        (Act::Answer(600, vec![], vec![]), "KORA_RESPONSE_INVALID"),
        (Act::error(999, "WHATEVER"), "KORA_RESPONSE_INVALID"),
    ] {
        let context = format!("{act:?}");
        kora.act(act);
        assert_eq!(
            Rpc::Screen.call().send(gateway.grpc).await.reason(),
            reason,
            "{context}"
        );
    }
    kora.act(Act::error(404, "RECORD_MISSING"));
    assert_eq!(
        Rpc::GetScreening.call().send(gateway.grpc).await.reason(),
        "SCREENING_NOT_FOUND"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn koras_request_id_is_the_bodys_where_the_header_has_none_and_must_look_like_one() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let body = |id: &str| {
        json!({"code": "INTERNAL_ERROR", "request_id": id})
            .to_string()
            .into_bytes()
    };
    for (header, in_body, expected) in [
        (None, "req_body", "req_body"),
        (Some("req_header"), "req_body", "req_header"),
        (Some("Jane Smith"), "req_body", "req_body"),
        (None, "Jane Smith", ""),
        (None, "x".repeat(129).as_str(), ""),
    ] {
        let headers = header
            .map(|id: &str| ("x-request-id", id.to_owned()))
            .into_iter()
            .collect();
        kora.act(Act::Answer(500, headers, body(in_body)));
        let answer = Rpc::Screen.call().send(gateway.grpc).await;
        assert_eq!(
            answer.details().request_info().unwrap().serving_data,
            expected,
            "{header:?} {in_body}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_async_screening_may_be_bare_whatever_the_status_and_a_read_one_may_not() {
    let kora = ScriptedKora::start(Act::json(200, &json!({"screening_id": SCREENING_ID}))).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let request = pb::ScreenRequest {
        mode: pb::ScreeningMode::Async.into(),
        ..screen_request()
    };
    let screening = Call::new(Rpc::Screen, &request)
        .send(gateway.grpc)
        .await
        .screening();
    assert_eq!(screening.status(), pb::ScreeningStatus::Pending);
    assert_eq!(screening.checks, [pb::CheckType::Sanctions as i32]);
    assert!(screening.raw_json.is_empty());
    assert_eq!(
        Rpc::GetScreening.call().send(gateway.grpc).await.reason(),
        "KORA_RESPONSE_INVALID"
    );
    let old = json!({"screening_id": SCREENING_ID, "status": "PENDING", "risk_band": "low", "created_at": "1969-12-31T23:59:59.5Z"});
    kora.act(Act::json(200, &old));
    let read = Rpc::GetScreening
        .call()
        .send(gateway.grpc)
        .await
        .ok::<pb::GetScreeningResponse>()
        .screening
        .unwrap();
    assert!(read.raw_json.is_empty());
    assert_eq!(read.risk_band(), pb::RiskBand::Unrecognized);
    assert_eq!(
        read.create_time.unwrap(),
        prost_types::Timestamp {
            seconds: -1,
            nanos: 500_000_000
        }
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_new_subject_has_an_idempotency_key_of_its_own() {
    let kora = ScriptedKora::start(Act::json(201, &json!({"subject_id": "s"}))).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let request_id = "67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned();
    let create = pb::CreateSubjectRequest {
        subject: Some(profile()),
        request_id: request_id.clone(),
    };
    Call::new(Rpc::CreateSubject, &create)
        .send(gateway.grpc)
        .await
        .ok::<pb::CreateSubjectResponse>();
    let key = kora.take_received()[0]
        .header("idempotency-key")
        .unwrap()
        .to_owned();
    assert_eq!(key.len(), 36);
    // That of a Screen with the same request_id (successes::what_is_sent_is_what_was_asked_for).
    assert_ne!(key, "6e6d8030-0a24-5354-b0c1-e6d48ff670dd");
    gateway.stop().await;
}

/// Kora is there and answers: nobody else is to suffer from it.
#[tokio::test]
async fn answers_that_are_too_large_do_not_open_the_circuit() {
    let large = Act::json(200, &json!({"screening_id": "x".repeat(2048)}));
    let kora = ScriptedKora::start(large).await;
    let settings = [("kora-max-response-bytes", "1KiB")];
    let gateway = Gateway::start(&kora.base_url(), &settings).await;
    for _ in 0..12 {
        let answer = Rpc::GetScreening.call().send(gateway.grpc).await;
        assert_eq!(answer.reason(), "KORA_RESPONSE_INVALID");
    }
    gateway.stop().await;
}
