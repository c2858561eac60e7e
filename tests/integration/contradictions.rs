//! Answers whose code and status contradict each other, and conflicts over an `Idempotency-Key`: nothing that may have
//! happened is reported as refused, or sent again.

use std::sync::Arc;

use kora_gateway::{config::Config, kora, pb, secret::Secret};
use tonic::Code;
use uuid::Uuid;

use crate::{
    call::{Answer, Call, Rpc, profile, screen_request},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

/// 4xx and 5xx that Kora or a proxy in front of it may send.
const STATUSES: [u16; 12] = [400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504];

const CODES: [&str; 12] = [
    "VALIDATION_ERROR",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "NOT_FOUND",
    "CONFLICT",
    "CASE_ALREADY_CLOSED",
    "RATE_LIMITED",
    "INTERNAL_ERROR",
    "SERVICE_UNAVAILABLE",
    "SCREENING_TIMEOUT",
    "SCREENING_FAILED",
    "IDEMPOTENCY_CONFLICT",
];

/// With a hint that keeps retries short.
fn answer(status: u16, code: &str) -> Act {
    Act::error(status, code).with_header("retry-after", "0")
}

fn call(rpc: Rpc, id: Option<Uuid>) -> Call {
    let request_id = id.map(|id| id.to_string()).unwrap_or_default();
    match rpc {
        Rpc::Screen => Call::new(
            rpc,
            &pb::ScreenRequest {
                request_id,
                ..screen_request()
            },
        ),
        _ => Call::new(
            rpc,
            &pb::CreateSubjectRequest {
                subject: Some(profile()),
                request_id,
            },
        ),
    }
}

/// Whether the answer proves that Kora refused the request, by code and by status.
fn is_refusal(rpc: Rpc, is_keyed: bool, status: u16, code: &str) -> bool {
    if (rpc, status, code) == (Rpc::CreateSubject, 409, "CONFLICT") {
        return true;
    }
    let may_be_known = is_keyed
        && (status == 409
            || code.contains("IDEMPOTENCY")
            || code == "CASE_ALREADY_CLOSED"
            || (code == "CONFLICT" && rpc == Rpc::Screen));
    let is_failure = matches!(
        code,
        "INTERNAL_ERROR" | "SERVICE_UNAVAILABLE" | "SCREENING_TIMEOUT" | "SCREENING_FAILED"
    );
    status < 500 && status != 408 && !is_failure && !may_be_known
}

async fn check_pair(
    kora: &ScriptedKora,
    gateway: &Gateway,
    rpc: Rpc,
    is_keyed: bool,
    pair: (u16, &str),
) {
    let (status, code) = pair;
    let context = format!("{status} {code} × {rpc:?}, keyed: {is_keyed}");
    kora.act(answer(status, code));
    let id = is_keyed.then(Uuid::new_v4);
    let first = call(rpc, id).send(gateway.grpc).await;
    let sent = kora.take_received().len();
    let outcome = first.outcome().unwrap();
    if is_refusal(rpc, is_keyed, status, code) {
        assert_eq!(outcome, "REJECTED", "{context}");
        let is_repeated = first.reason() == "KORA_RATE_LIMITED";
        assert_eq!(sent, if is_repeated { 3 } else { 1 }, "{context}");
        return;
    }
    let is_final_failure = rpc == Rpc::Screen && code == "SCREENING_FAILED" && status <= 500;
    let may_be_known = (is_keyed && status == 409) || status == 408;
    let expected = if is_final_failure && !may_be_known {
        "ACCEPTED"
    } else {
        "UNKNOWN"
    };
    assert_eq!(outcome, expected, "{context}");
    assert_eq!(sent, 1, "{context}");
    assert!(
        !matches!(first.status.code(), Code::Unavailable | Code::Cancelled),
        "{context}: a mesh would resend it"
    );
    if is_keyed {
        let again = call(rpc, id).send(gateway.grpc).await;
        assert_eq!(again.reason(), first.reason(), "{context}");
        assert_eq!(kora.take_received().len(), 0, "{context}: sent again");
    }
}

async fn check_all(rpc: Rpc, is_keyed: bool) {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for status in STATUSES {
        for code in CODES {
            check_pair(&kora, &gateway, rpc, is_keyed, (status, code)).await;
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn nothing_that_may_have_happened_is_refused_or_sent_again() {
    let checks = [Rpc::Screen, Rpc::CreateSubject]
        .map(|rpc| [true, false].map(|is_keyed| tokio::spawn(check_all(rpc, is_keyed))));
    for check in checks.into_iter().flatten() {
        check.await.unwrap();
    }
}

#[tokio::test]
async fn a_conflict_over_a_key_is_unknown_for_ever() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let without_code = Act::Answer(409, Vec::new(), Vec::new());
    for (rpc, act) in [
        (Rpc::Screen, Act::error(409, "CONFLICT")),
        (Rpc::Screen, without_code.clone()),
        (Rpc::CreateSubject, without_code),
        (Rpc::Screen, Act::error(409, "IDEMPOTENCY_KEY_REUSED")),
        (
            Rpc::CreateSubject,
            Act::error(422, "IDEMPOTENCY_KEY_IN_USE"),
        ),
        (Rpc::Screen, Act::error(400, "IDEMPOTENCY_CONFLICT")),
    ] {
        let context = format!("{act:?} × {rpc:?}");
        kora.act(act);
        let id = Uuid::new_v4();
        let first = call(rpc, Some(id)).send(gateway.grpc).await;
        assert_eq!(first.reason(), "KORA_OUTCOME_UNKNOWN", "{context}");
        assert_eq!(first.outcome().as_deref(), Some("UNKNOWN"), "{context}");
        let record = Call::raw(
            "/kora.compliance.v1.ComplianceService/GetRequest".to_owned(),
            &prost::Message::encode_to_vec(&pb::GetRequestRequest {
                request_id: id.to_string(),
            }),
        );
        let record: pb::GetRequestResponse = record.send(gateway.grpc).await.ok();
        assert_eq!(record.record.unwrap().state(), pb::RequestState::Unknown);
        let again = call(rpc, Some(id)).send(gateway.grpc).await;
        assert_eq!(again.reason(), "KORA_OUTCOME_UNKNOWN", "{context}");
        assert_eq!(kora.take_received().len(), 1, "{context}");
    }
    for act in [
        Act::error(400, "IDEMPOTENCY_KEY_REQUIRED"),
        Act::error(422, "IDEMPOTENCY_KEY_REQUIRED"),
    ] {
        kora.act(act);
        let refused = call(Rpc::Screen, Some(Uuid::new_v4())).send(gateway.grpc);
        assert_eq!(refused.await.outcome().as_deref(), Some("REJECTED"));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_that_changed_repeats_no_call_that_failed_at_kora() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("api-key");
    std::fs::write(&file, "old-key").unwrap();
    let rotated = Arc::new(file.clone());
    // The key changes while Kora has the request.
    let kora = ScriptedKora::start(Act::scripted(move |_| {
        std::fs::write(&*rotated, "new-key").unwrap();
        Act::error(500, "UNAUTHORIZED")
    }))
    .await;
    let check = kora::check_api_key;
    let gateway = Gateway::start_with(&kora.base_url(), &[], |config: &mut Config| {
        let read = kora_gateway::secret::read(&file, check).unwrap();
        config.tenants[0].kora.api_key = Secret::in_file(read.text, file.clone(), check);
    })
    .await;
    let failed: Answer = Rpc::Screen.call().send(gateway.grpc).await;
    assert_eq!(failed.reason(), "KORA_OUTCOME_UNKNOWN");
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_read_is_repeated_after_a_5xx_whatever_its_code() {
    let kora = ScriptedKora::start(Act::Hang).await;
    for rpc in [Rpc::GetScreening, Rpc::GetSubject] {
        for code in ["RATE_LIMITED", "NOT_FOUND", "INTERNAL_ERROR", "CONFLICT"] {
            let gateway = Gateway::start(&kora.base_url(), &[]).await;
            kora.act(Act::error(500, code));
            let failed = rpc.call().send(gateway.grpc).await;
            assert_eq!(failed.reason(), "KORA_INTERNAL", "{code}");
            assert_eq!(kora.take_received().len(), 3, "{code}");
            gateway.stop().await;
        }
    }
}
