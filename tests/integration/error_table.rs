//! Every way to fail × every RPC that it applies to: code, reason, outcome, details, and how many
//! requests reached Kora.

use std::time::Duration;

use kora_gateway::pb;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;
use tonic::Code;

use crate::{
    call::{Answer, CALL_ID, Call, Rpc, SCREENING_ID, SUBJECT_ID, screen_request},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
    situations::{Expected, Row, all_rows, attempts, bare, lost, refused_content, unreadable},
};

const ATTEMPT_LIMIT: &str = "400ms";

/// The reasons that say how long to wait.
const WITH_RETRY_INFO: [&str; 2] = ["KORA_RATE_LIMITED", "KORA_UNAVAILABLE"];

#[tokio::test]
async fn every_answer_of_koras_has_its_reason() {
    let rpcs = Rpc::ALL.map(|rpc| tokio::spawn(every_answer_to(rpc)));
    for rpc in rpcs {
        rpc.await.unwrap();
    }
}

async fn every_answer_to(rpc: Rpc) {
    let kora = ScriptedKora::start(Act::Hang).await;
    let flags = [
        ("kora-timeout", ATTEMPT_LIMIT),
        ("kora-max-response-bytes", "100KiB"),
    ];
    for Row {
        situation,
        act,
        expected,
    } in all_rows()
    {
        let Some(expected) = expected(rpc) else {
            continue;
        };
        // One of its own: what fails often opens a circuit.
        let gateway = Gateway::start(&kora.base_url(), &flags).await;
        kora.act(act.clone());
        let answer = rpc.call().send(gateway.grpc).await;
        let context = format!("{situation} × {rpc:?}");
        check(&answer, rpc, expected, &context);
        let has_id = matches!(&act, Act::Answer(_, headers, _) if headers.iter().any(|(name, _)| *name == "x-request-id"));
        let kora_id = if has_id { "req_header" } else { "" };
        let info = answer.details().request_info().unwrap().clone();
        assert_eq!(info.serving_data, kora_id, "{context}");
        assert_eq!(
            kora.take_received().len(),
            attempts(rpc, expected.1),
            "{context}: requests that reached Kora"
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn what_never_gets_to_kora_says_so() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[("max-request-bytes", "2KiB")]).await;
    let malformed: Expected = (Code::InvalidArgument, "MALFORMED_REQUEST", "NOT_SENT");
    for rpc in Rpc::ALL {
        let large = Call::raw(rpc.path(), &vec![0; 3000]);
        let no_message = Call::raw(rpc.path(), &[0xff; 9]);
        let no_utf8 = Call::raw(rpc.path(), &[0x0a, 0x02, 0xc3, 0x28]);
        for (situation, call, expected) in [
            (
                "invalid",
                Call::raw(rpc.path(), &[]),
                (Code::InvalidArgument, "INVALID_REQUEST", "NOT_SENT"),
            ),
            ("no message", no_message, malformed),
            ("no UTF-8", no_utf8, malformed),
            (
                "compressed",
                rpc.call().header("grpc-encoding", "gzip"),
                malformed,
            ),
            (
                "a malformed timeout",
                rpc.call().header("grpc-timeout", "soon"),
                malformed,
            ),
            (
                "too large",
                large,
                (Code::InvalidArgument, "REQUEST_TOO_LARGE", "NOT_SENT"),
            ),
            (
                "no time left",
                rpc.call().header("grpc-timeout", "5m"),
                (Code::DeadlineExceeded, "DEADLINE_BEFORE_SEND", "NOT_SENT"),
            ),
            (
                "a timeout of zero",
                rpc.call().header("grpc-timeout", "0S"),
                (Code::DeadlineExceeded, "DEADLINE_BEFORE_SEND", "NOT_SENT"),
            ),
        ] {
            let answer = call.send(gateway.grpc).await;
            check(&answer, rpc, expected, &format!("{situation} × {rpc:?}"));
        }
    }
    for path in [
        "/kora.compliance.v1.ComplianceService/Nope",
        "/kora.compliance.v2.ComplianceService/Screen",
        "/",
    ] {
        let answer = Call::raw(path.to_owned(), &[]).send(gateway.grpc).await;
        assert_eq!(answer.status.code(), Code::Unimplemented, "{path}");
        assert_eq!(answer.reason(), "UNKNOWN_METHOD", "{path}");
        assert_eq!(answer.outcome(), None, "{path}");
    }
    assert!(kora.take_received().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn a_kora_that_cannot_be_reached_was_not_sent_to() {
    // A port that nobody listens on, a name that does not exist, a server without TLS, and one that
    // accepts and stays silent in the handshake.
    let free = tokio::net::TcpSocket::new_v4().unwrap();
    free.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = format!("http://{}/api/v1", free.local_addr().unwrap());
    let plain = ScriptedKora::start(Act::Write(b"no TLS here".to_vec())).await;
    let no_tls = format!("https://{}/api/v1", plain.addr);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_handshake = format!("https://{}/api/v1", silent.local_addr().unwrap());
    for url in [
        closed.as_str(),
        "https://kora.invalid/api/v1",
        &no_tls,
        &no_handshake,
    ] {
        let calls = Rpc::ALL.map(|rpc| {
            let url = url.to_owned();
            tokio::spawn(async move {
                let gateway = Gateway::start(&url, &[]).await;
                let answer = rpc.call().send(gateway.grpc).await;
                gateway.stop().await;
                answer
            })
        });
        for (rpc, call) in Rpc::ALL.into_iter().zip(calls) {
            let expected = (Code::Unavailable, "KORA_UNREACHABLE", "NOT_SENT");
            let context = format!("{url} × {rpc:?}");
            check(&call.await.unwrap(), rpc, expected, &context);
        }
    }
    assert!(plain.take_received().is_empty());
}

#[tokio::test]
async fn a_trusted_503_is_a_refusal() {
    let kora =
        ScriptedKora::start(Act::error(503, "SERVICE_UNAVAILABLE").with_header("retry-after", "3"))
            .await;
    let gateway = Gateway::start(&kora.base_url(), &[("trust-kora-503", "true")]).await;
    for rpc in Rpc::ALL {
        let answer = rpc.call().send(gateway.grpc).await;
        let expected = (Code::Unavailable, "KORA_UNAVAILABLE", "REJECTED");
        check(&answer, rpc, expected, &format!("{rpc:?}"));
        let wait = answer.details().retry_info().unwrap().retry_delay;
        assert_eq!(wait, Some(Duration::from_secs(3)));
    }
    kora.act(bare(503));
    let answer = Rpc::Screen.call().send(gateway.grpc).await;
    check(
        &answer,
        Rpc::Screen,
        lost(Rpc::Screen).unwrap(),
        "without an envelope",
    );
    gateway.stop().await;
}

#[tokio::test]
async fn screening_by_a_subject_that_is_not_there_names_it() {
    let kora = ScriptedKora::start(Act::error(404, "NOT_FOUND")).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let by_id = pb::ScreenRequest {
        party: Some(pb::screen_request::Party::SubjectId(SUBJECT_ID.to_owned())),
        ..screen_request()
    };
    let answer = Call::new(Rpc::Screen, &by_id).send(gateway.grpc).await;
    let expected = (Code::NotFound, "SUBJECT_NOT_FOUND", "REJECTED");
    check(&answer, Rpc::Screen, expected, "by id");
    let other = json!({"screening_id": "s", "subject_id": "subj_other", "status": "COMPLETED"});
    kora.act(Act::json(200, &other));
    let answer = Call::new(Rpc::Screen, &by_id).send(gateway.grpc).await;
    check(
        &answer,
        Rpc::Screen,
        unreadable(Rpc::Screen).unwrap(),
        "another subject's screening",
    );
    gateway.stop().await;
}

#[tokio::test]
async fn koras_complaints_name_the_fields_of_the_api() {
    let kora = ScriptedKora::start(Act::json(
        400,
        &json!({"code": "VALIDATION_ERROR", "message": "VENDOR-TEXT", "details": [
            {"field": "subject.dateOfBirth", "message": "VENDOR-TEXT"},
            {"field": "name", "reason": "VENDOR-TEXT", "value": "Jane Smith"},
            {"field": "Jane Smith", "message": "VENDOR-TEXT"}
        ]}),
    ))
    .await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for rpc in [Rpc::Screen, Rpc::CreateSubject] {
        let answer = rpc.call().send(gateway.grpc).await;
        check(&answer, rpc, refused_content(rpc).unwrap(), "details");
        let bad = answer.details().bad_request().unwrap().clone();
        let fields: Vec<_> = bad
            .field_violations
            .iter()
            .map(|v| v.field.as_str())
            .collect();
        assert_eq!(fields, ["subject.date_of_birth", "subject.name"]);
    }
    gateway.stop().await;
}

/// Everything that holds for every error, whatever its row.
fn check(answer: &Answer, rpc: Rpc, (code, reason, outcome): Expected, context: &str) {
    let details = answer.details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("{context}: no ErrorInfo"));
    assert_eq!(
        (info.reason.as_str(), answer.status.code()),
        (reason, code),
        "{context}"
    );
    assert_eq!(info.domain, "kora-gateway", "{context}");
    let expected_outcome = rpc.is_paid().then(|| outcome.to_owned());
    assert_eq!(answer.outcome(), expected_outcome, "{context}");
    assert_eq!(
        details.request_info().unwrap().request_id,
        CALL_ID,
        "{context}"
    );
    assert_eq!(answer.headers["x-request-id"], CALL_ID, "{context}");
    assert!(answer.status.details().len() < 4096, "{context}");

    if rpc.is_paid() && matches!(code, Code::Unavailable | Code::Cancelled) {
        assert!(
            matches!(outcome, "NOT_SENT" | "REJECTED"),
            "{context}: a mesh would resend it"
        );
    }
    let validation = matches!(reason, "INVALID_REQUEST" | "KORA_VALIDATION");
    assert_eq!(
        details.bad_request().is_some(),
        validation,
        "{context}: BadRequest"
    );
    let retry = WITH_RETRY_INFO.contains(&reason);
    assert_eq!(
        details.retry_info().is_some(),
        retry,
        "{context}: RetryInfo"
    );
    let named = match reason {
        "SUBJECT_NOT_FOUND" => Some(("kora.compliance.v1.Subject", SUBJECT_ID)),
        "SCREENING_NOT_FOUND" => Some(("kora.compliance.v1.Screening", SCREENING_ID)),
        _ => None,
    };
    if let Some((kind, id)) = named {
        let resource = details.resource_info().unwrap();
        assert_eq!(
            (
                resource.resource_type.as_str(),
                resource.resource_name.as_str()
            ),
            (kind, id)
        );
    }
    let everything = [answer.status.message().as_bytes(), answer.status.details()].concat();
    let everything = String::from_utf8_lossy(&everything);
    for leak in ["VENDOR-TEXT", "Jane", "<html>", "127.0.0.1"] {
        assert!(!everything.contains(leak), "{context}: {leak} in the error");
    }
    catalogue_agrees(reason, code, outcome, rpc, context);
}

/// The published catalogue says the same as the table.
fn catalogue_agrees(reason: &str, code: Code, outcome: &str, rpc: Rpc, context: &str) {
    let pool = prost_reflect::DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let reasons = pool
        .get_enum_by_name("kora.compliance.v1.ErrorReason")
        .unwrap();
    let extension = pool
        .get_extension_by_name("kora.compliance.v1.reason")
        .unwrap();
    let value = reasons
        .get_value_by_name(&format!("ERROR_REASON_{reason}"))
        .unwrap();
    let options = value.options();
    let spec = options.get_extension(&extension);
    let spec: pb::ErrorReasonSpec = spec.as_message().unwrap().transcode_to().unwrap();
    assert_eq!(spec.code, code as i32, "{context}");
    if rpc.is_paid() {
        assert_eq!(
            spec.outcome().as_str_name(),
            format!("CALL_OUTCOME_{outcome}"),
            "{context}"
        );
    }
    assert!(spec.encoded_len() > 0);
}
