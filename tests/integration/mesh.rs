//! A service mesh in front of the gateway that resends by itself, as Envoy's and Linkerd's retries on
//! `cancelled,unavailable` do, whatever the RPC: never a second screening, never a second subject.

use std::{net::SocketAddr, slice};

use kora_gateway::pb;
use tokio::net::TcpSocket;
use tonic::Code;
use uuid::Uuid;

use crate::{
    call::{Answer, Call, Rpc, profile, screen_request},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
    situations::{Row, all_rows},
};

/// How often a mesh sends one call at most.
const ATTEMPTS: usize = 3;

/// What the caller got through the mesh, and how often the mesh asked for it.
struct Meshed {
    answer: Answer,
    attempts: usize,
}

/// Sends a call, and the same bytes again at once as long as the status is one that meshes resend: to each
/// of these gateways in turn.
async fn through_mesh(gateways: &[SocketAddr], call: Call) -> Meshed {
    let mut turns = gateways.iter().cycle();
    let mut attempts = 0;
    loop {
        let answer = call.clone().send(*turns.next().unwrap()).await;
        attempts += 1;
        let is_resent = matches!(answer.status.code(), Code::Cancelled | Code::Unavailable);
        if !is_resent || attempts == ATTEMPTS {
            return Meshed { answer, attempts };
        }
    }
}

/// The calls that must not be made twice, each without an id and with a new one.
fn paid_calls() -> [(&'static str, Call); 4] {
    let request_id = || Uuid::new_v4().to_string();
    let screen = pb::ScreenRequest {
        request_id: request_id(),
        ..screen_request()
    };
    let create = pb::CreateSubjectRequest {
        subject: Some(profile()),
        request_id: request_id(),
    };
    [
        ("Screen", Rpc::Screen.call()),
        ("Screen with an id", Call::new(Rpc::Screen, &screen)),
        ("CreateSubject", Rpc::CreateSubject.call()),
        (
            "CreateSubject with an id",
            Call::new(Rpc::CreateSubject, &create),
        ),
    ]
}

/// Whether Kora says with it that nothing was done.
fn is_refusal(act: &Act) -> bool {
    matches!(act, Act::Answer(429, ..))
}

#[tokio::test]
async fn whatever_kora_does_a_mesh_makes_it_once() {
    let kinds = [0, 1, 2, 3].map(|kind| tokio::spawn(every_row_with(kind)));
    for kind in kinds {
        kind.await.unwrap();
    }
}

async fn every_row_with(kind: usize) {
    let kora = ScriptedKora::start(Act::Hang).await;
    let flags = [
        ("kora-timeout", "400ms"),
        ("kora-max-response-bytes", "100KiB"),
    ];
    for Row { situation, act, .. } in all_rows() {
        // One of its own: what fails often opens a circuit.
        let gateway = Gateway::start(&kora.base_url(), &flags).await;
        kora.act(act.clone());
        let (name, call) = paid_calls().into_iter().nth(kind).unwrap();
        let meshed = through_mesh(slice::from_ref(&gateway.grpc), call).await;
        let posts = kora.take_received().len();
        assert!(
            posts == 1 || (posts > 1 && is_refusal(&act)),
            "{situation} × {name}: {posts} POSTs, {:?}",
            meshed.answer.status
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_caller_in_a_hurry_is_not_helped_by_a_second_request() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for (name, call) in paid_calls() {
        let call = call.header("grpc-timeout", "400m");
        let meshed = through_mesh(slice::from_ref(&gateway.grpc), call).await;
        assert_eq!(meshed.answer.reason(), "DEADLINE_EXCEEDED", "{name}");
        assert_eq!(kora.take_received().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn what_a_stopping_gateway_has_sent_is_not_sent_by_another() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let stopping = Gateway::start(&kora.base_url(), &[("drain-timeout", "2500ms")]).await;
    let other = Gateway::start(&kora.base_url(), &[]).await;
    let gateways = [stopping.grpc, other.grpc];
    let calls = paid_calls().map(|(_, call)| {
        // One connection each, as the calls of different callers have.
        tokio::spawn(async move { through_mesh(&gateways, call).await })
    });
    kora.wait_for_requests(calls.len()).await;
    let posts = calls.len();
    stopping.stop().await;
    for call in calls {
        let answer = call.await.unwrap().answer;
        assert_eq!(answer.reason(), "KORA_OUTCOME_UNKNOWN");
    }
    assert_eq!(kora.take_received().len(), posts);
    other.stop().await;
}

/// The mesh of these tests does resend, and may: where nothing was sent, and where Kora said no.
#[tokio::test]
async fn what_did_not_happen_may_be_resent() {
    // It has the port, and does not listen.
    let free = TcpSocket::new_v4().unwrap();
    free.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = format!("http://{}/api/v1", free.local_addr().unwrap());
    let refusal = Act::error(503, "SERVICE_UNAVAILABLE").with_header("retry-after", "3600");
    let kora = ScriptedKora::start(refusal).await;
    let trusting = [("trust-kora-503", "true")];
    for (url, reason, outcome) in [
        (nobody, "KORA_UNREACHABLE", "NOT_SENT"),
        (kora.base_url(), "KORA_UNAVAILABLE", "REJECTED"),
    ] {
        for (name, call) in paid_calls() {
            let gateway = Gateway::start(&url, &trusting).await;
            let Meshed { answer, attempts } = through_mesh(&[gateway.grpc], call).await;
            assert_eq!(answer.reason(), reason, "{name}");
            assert_eq!(answer.outcome().as_deref(), Some(outcome), "{name}");
            assert_eq!(attempts, ATTEMPTS, "{name}");
            let is_sent = !kora.take_received().is_empty();
            assert_eq!(is_sent, outcome == "REJECTED", "{name}");
            gateway.stop().await;
        }
    }
}

/// A gateway that cannot reach Kora, and one that can: the mesh makes the call succeed, once.
#[tokio::test]
async fn what_one_gateway_could_not_send_another_sends_once() {
    // It has the port, and does not listen.
    let free = TcpSocket::new_v4().unwrap();
    free.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = format!("http://{}/api/v1", free.local_addr().unwrap());
    let (told, pending) = Act::pending_once_told();
    told.notify_one();
    let kora = ScriptedKora::start(pending).await;
    let cut_off = Gateway::start(&nobody, &[]).await;
    let well = Gateway::start(&kora.base_url(), &[]).await;
    let meshed = through_mesh(&[cut_off.grpc, well.grpc], Rpc::Screen.call()).await;
    assert_eq!(meshed.attempts, 2);
    assert!(!meshed.answer.screening().screening_id.is_empty());
    assert_eq!(kora.take_received().len(), 1);
    for gateway in [cut_off, well] {
        gateway.stop().await;
    }
}
