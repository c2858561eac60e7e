//! What an orchestrator sees.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time,
};
use tonic::Code;

use crate::{
    call::{Call, Rpc},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

async fn get(gateway: &Gateway, path: &str) -> (u16, String) {
    let url = format!("http://{}{path}", gateway.admin);
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The status of `grpc.health.v1` for a name: its number, or `None` if the name is not known.
async fn health(addr: std::net::SocketAddr, name: &str) -> Option<u8> {
    let request = [&[0x0a, name.len() as u8], name.as_bytes()].concat();
    let answer = Call::raw("/grpc.health.v1.Health/Check".to_owned(), &request)
        .send(addr)
        .await;
    match answer.status.code() {
        // A message without its one field says UNKNOWN, which is zero.
        Code::Ok => Some(answer.message.get(1).copied().unwrap_or(0)),
        code => {
            assert_eq!(code, Code::NotFound);
            None
        }
    }
}

const UNKNOWN: u8 = 0;
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

#[tokio::test]
async fn probes_answer_on_the_admin_port() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    assert_eq!(get(&gateway, "/livez").await.0, 200);
    assert_eq!(get(&gateway, "/readyz").await.0, 200);
    for other in [
        "/",
        "/healthz",
        "/readyz/",
        "/kora.compliance.v1.ComplianceService/Screen",
    ] {
        assert_eq!(
            get(&gateway, other).await.0,
            404,
            "{other}: a typing error must not look healthy"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn health_is_the_same_on_both_ports_and_kora_down_makes_nothing_unready() {
    let kora = ScriptedKora::start(Act::CloseAfterRequest).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for addr in [gateway.grpc, gateway.admin] {
        for name in ["", "kora.compliance.v1.ComplianceService"] {
            assert_eq!(health(addr, name).await, Some(SERVING), "ready is ready");
        }
        wait_for_health(addr, "liveness", SERVING).await;
        assert_eq!(health(addr, "kora").await, Some(UNKNOWN));
        assert_eq!(health(addr, "nobody").await, None);
    }
    Rpc::Screen.call().send(gateway.grpc).await;
    wait_for_health(gateway.admin, "kora", NOT_SERVING).await;
    assert_eq!(health(gateway.admin, "").await, Some(SERVING));
    assert_eq!(get(&gateway, "/readyz").await.0, 200);
    kora.act(Act::error(500, "INTERNAL_ERROR"));
    Rpc::Screen.call().send(gateway.grpc).await;
    wait_for_health(gateway.admin, "kora", SERVING).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_kora_that_cannot_be_reached_does_not_answer() {
    // It has the port, and does not listen.
    let nobody = tokio::net::TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/api/v1", nobody.local_addr().unwrap());
    let gateway = Gateway::start(&url, &[]).await;
    Rpc::Screen.call().send(gateway.grpc).await;
    wait_for_health(gateway.admin, "kora", NOT_SERVING).await;
    gateway.stop().await;
}

#[tokio::test]
async fn calls_and_requests_to_kora_are_counted() {
    let pending = json!({"screening_id": "s", "status": "PENDING"});
    let kora = ScriptedKora::start(Act::json(200, &pending)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    Rpc::Screen.call().send(gateway.grpc).await.screening();
    kora.act(Act::error(404, "NOT_FOUND"));
    Rpc::GetSubject.call().send(gateway.grpc).await;
    Call::raw("/made/Up".to_owned(), &[])
        .send(gateway.grpc)
        .await;
    let (_, metrics) = get(&gateway, "/metrics").await;
    for line in [
        "kora_gateway_call_duration_seconds_count{method=\"Screen\",code=\"OK\"} 1",
        "kora_gateway_call_duration_seconds_count{method=\"GetSubject\",code=\"NOT_FOUND\"} 1",
        "kora_gateway_call_duration_seconds_count{method=\"unknown\",code=\"UNIMPLEMENTED\"} 1",
        "kora_gateway_kora_request_duration_seconds_count{endpoint=\"POST /screenings\",status=\"200\"} 1",
        "kora_gateway_kora_request_duration_seconds_count{endpoint=\"GET /subjects/{id}\",status=\"404\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
    assert!(
        !metrics.contains("made"),
        "callers must not make up names of metrics"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_not_grpc_is_told_so() {
    let kora = ScriptedKora::start(Act::error(404, "NOT_FOUND")).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for content_type in ["application/json", "text/plain", ""] {
        let call = Rpc::Screen.call().header("content-type", content_type);
        assert_eq!(call.http_status(gateway.grpc).await, 415, "{content_type}");
    }
    assert_eq!(Rpc::GetSubject.call().http_status(gateway.grpc).await, 200);
    // HTTP/1 is not served on the callers' port.
    let url = format!("http://{}/", gateway.grpc);
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("gRPC"));
    gateway.stop().await;
}

#[tokio::test]
async fn kora_that_hangs_does_not_answer() {
    let kora = ScriptedKora::start(Act::json(202, &json!({"screening_id": "s"}))).await;
    let gateway = Gateway::start(&kora.base_url(), &[("kora-timeout", "500ms")]).await;
    Rpc::Screen.call().send(gateway.grpc).await;
    wait_for_health(gateway.admin, "kora", SERVING).await;
    kora.act(Act::Hang);
    // A caller in a hurry says nothing about Kora; the gateway's own limit does.
    let hasty = Rpc::GetSubject.call().header("grpc-timeout", "300m");
    assert_eq!(hasty.send(gateway.grpc).await.reason(), "DEADLINE_EXCEEDED");
    assert_eq!(health(gateway.admin, "kora").await, Some(SERVING));
    Rpc::Screen.call().send(gateway.grpc).await;
    wait_for_health(gateway.admin, "kora", NOT_SERVING).await;
    gateway.stop().await;
}

/// What a client says first: the preface of HTTP/2 and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn connections_and_streams_have_their_bounds() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let flags = [
        ("max-connections", "2"),
        ("max-streams-per-connection", "3"),
    ];
    let gateway = Gateway::start(&kora.base_url(), &flags).await;
    // Whoever has asked for something keeps its place.
    let calls = [(); 2].map(|()| tokio::spawn(Rpc::Screen.call().send(gateway.grpc)));
    kora.wait_for_requests(2).await;
    let mut third = TcpStream::connect(gateway.grpc).await.unwrap();
    third.write_all(PREFACE).await.unwrap();
    let mut byte = [0];
    let patience = Duration::from_millis(500);
    assert!(
        time::timeout(patience, third.read(&mut byte))
            .await
            .is_err(),
        "a third connection is served"
    );
    for call in calls {
        call.abort();
    }
    // A server that serves a connection speaks first: SETTINGS, with MAX_CONCURRENT_STREAMS (3) = 3.
    let mut bytes = [0; 256];
    let read = time::timeout(Duration::from_secs(5), third.read(&mut bytes));
    let count = read.await.expect("its place is not given on").unwrap();
    let is_bound = |bytes: &[u8]| bytes == [0, 3, 0, 0, 0, 3];
    assert!(
        bytes[..count].windows(6).any(is_bound),
        "{:?}",
        &bytes[..count]
    );
    drop(third);
    gateway.stop().await;
}

#[tokio::test]
async fn gateways_come_and_go_in_one_process() {
    let kora = ScriptedKora::start(Act::json(202, &json!({"screening_id": "s"}))).await;
    for _ in 0..5 {
        let one = Gateway::start(&kora.base_url(), &[]).await;
        let other = Gateway::start(&kora.base_url(), &[]).await;
        assert_ne!(one.grpc, other.grpc);
        Rpc::Screen.call().send(one.grpc).await.screening();
        one.stop().await;
        Rpc::Screen.call().send(other.grpc).await.screening();
        other.stop().await;
    }
}

async fn wait_for_health(addr: std::net::SocketAddr, name: &str, expected: u8) {
    time::timeout(Duration::from_secs(10), async {
        while health(addr, name).await != Some(expected) {}
    })
    .await
    .unwrap_or_else(|_| panic!("{name:?} on {addr} never got {expected}"));
}
