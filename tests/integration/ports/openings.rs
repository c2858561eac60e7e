//! Clients that connect and go no further.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    call::{Rpc, SCREENING_ID},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

/// After how long a client that says nothing, or not enough, has to be gone.
const LIMIT: Duration = Duration::from_secs(10);

/// A machine that is busy with other tests is forgiven so much.
const BUSY: Duration = Duration::from_secs(20);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Connects, sends this, and waits until it is closed. Returns how long that took.
async fn time_to_end(addr: SocketAddr, bytes: &[u8]) -> Duration {
    let mut client = TcpStream::connect(addr).await.unwrap();
    client.write_all(bytes).await.unwrap();
    let began = Instant::now();
    let mut read = Vec::new();
    // A reset is an end, too.
    let ended = timeout(LIMIT + BUSY, client.read_to_end(&mut read)).await;
    assert!(
        ended.is_ok(),
        "{:?} is still open",
        String::from_utf8_lossy(bytes)
    );
    began.elapsed()
}

#[tokio::test]
async fn silent_and_half_open_clients_are_gone_soon_on_every_port() {
    let gateway = Gateway::start("http://127.0.0.1:1/api/v1", &[]).await;
    let half_settings = [PREFACE, &[0, 0, 12, 4, 0, 0, 0, 0, 0, 7, 7]].concat();
    let of_grpc: [&[u8]; 5] = [b"", b"P", &PREFACE[..23], PREFACE, &half_settings];
    let of_admin: [&[u8]; 6] = [
        b"",
        b"P",
        PREFACE,
        &half_settings,
        b"G",
        b"GET /livez HTTP/1.1\r\n",
    ];
    let of_webhook: [&[u8]; 3] = [b"", b"P", b"POST /webhooks/compliance HTTP/1.1\r\n"];
    let all = [
        (gateway.grpc, &of_grpc[..]),
        (gateway.admin, &of_admin[..]),
        (gateway.webhook, &of_webhook[..]),
    ];
    let clients = all
        .into_iter()
        .flat_map(|(addr, parts)| parts.iter().map(move |part| time_to_end(addr, part)));
    let times = futures_util::future::join_all(clients).await;
    let longest = times.iter().max().unwrap();
    assert!(*longest < LIMIT + BUSY / 10, "{times:?}");
    gateway
        .wait_for_metric("connections_unopened_total{listener=\"grpc\",reason=\"late\"} 5\n")
        .await;
    gateway.stop().await;
}

#[tokio::test]
async fn who_speaks_something_else_is_let_go_at_once() {
    let gateway = Gateway::start("http://127.0.0.1:1/api/v1", &[]).await;
    for other in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
    ] {
        assert!(time_to_end(gateway.grpc, other).await < BUSY);
    }
    gateway
        .wait_for_metric("connections_unopened_total{listener=\"grpc\",reason=\"failed\"} 2\n")
        .await;
    gateway.stop().await;
}

/// More of them than there are places, and none is let go by its time yet.
#[tokio::test]
async fn clients_that_ask_are_not_shut_out_by_clients_that_say_nothing() {
    let kora = ScriptedKora::start(Act::json(
        200,
        &serde_json::json!({"screening_id": SCREENING_ID, "status": "PENDING"}),
    ))
    .await;
    let places = 8;
    let flags = [("max-connections", "8")];
    let gateway = Gateway::start_with(&kora.base_url(), &flags, |config| {
        config.grpc_listener.patience.opening = Duration::from_secs(3600);
    })
    .await;
    let mut asking = crate::call::Connection::open(gateway.grpc).await;
    asking.send(Rpc::Screen.call()).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..3 * places {
        silent.push(TcpStream::connect(gateway.grpc).await.unwrap());
        if silent.len() % 5 == 0 {
            let answer = Rpc::Screen.call().send(gateway.grpc).await;
            assert_eq!(answer.screening().screening_id, SCREENING_ID);
        }
    }
    // Who has asked before has kept its place.
    let answer = asking.send(Rpc::Screen.call()).await.unwrap();
    assert_eq!(answer.screening().screening_id, SCREENING_ID);
    gateway
        .wait_for_metric("connections_unopened_total{listener=\"grpc\",reason=\"evicted\"}")
        .await;
    drop(silent);
    gateway.stop().await;
}
