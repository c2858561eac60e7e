//! Clients that connect and go no further.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{authority::Authority, files::Files};
use crate::{
    call::{Rpc, SCREENING_ID},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

/// After how long a client that says nothing, or not enough, has to be gone.
const LIMIT: Duration = Duration::from_secs(10);

/// After how long a client that has opened and does not answer a PING has to be gone.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A machine that is busy with other tests is forgiven so much.
const BUSY: Duration = Duration::from_secs(20);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Connects, sends this, and waits until it is closed. Returns how long that took.
async fn time_to_end(addr: SocketAddr, bytes: &[u8]) -> Duration {
    let client = TcpStream::connect(addr).await.unwrap();
    time_of(client, bytes).await
}

/// The same over TLS that is there.
async fn time_to_end_over_tls(
    trusted: &Authority,
    addr: SocketAddr,
    alpn: &[u8],
    bytes: &[u8],
) -> Duration {
    let client = TcpStream::connect(addr).await.unwrap();
    let connector = trusted.connector_of(alpn, None);
    let client = connector.connect(addr.ip().into(), client).await.unwrap();
    time_of(client, bytes).await
}

async fn time_of(client: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> Duration {
    let began = Instant::now();
    read_to_end(client, bytes, LIMIT).await;
    began.elapsed()
}

/// Sends this and reads until the connection is closed, which has to be soon after `limit`.
async fn read_to_end(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
    limit: Duration,
) -> Vec<u8> {
    client.write_all(bytes).await.unwrap();
    client.flush().await.unwrap();
    let mut read = Vec::new();
    // A reset is an end, too.
    let ended = timeout(limit + BUSY, client.read_to_end(&mut read)).await;
    assert!(
        ended.is_ok(),
        "{:?} is still open",
        String::from_utf8_lossy(bytes)
    );
    read
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
async fn clients_that_are_silent_in_tls_or_after_it_are_gone_soon() {
    let (files, authority) = (Files::new(), Authority::new());
    files.write(&authority.identity());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.text(name));
    let flags = [
        ("tls-cert", cert.as_str()),
        ("tls-key", key.as_str()),
        ("webhook-tls-cert", cert.as_str()),
        ("webhook-tls-key", key.as_str()),
    ];
    let gateway = Gateway::start("http://127.0.0.1:1/api/v1", &flags).await;
    let half_hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    let ports = [
        (gateway.grpc, &b"h2"[..]),
        (gateway.webhook, &b"http/1.1"[..]),
    ];
    let clients = ports.map(async |(addr, alpn)| {
        tokio::join!(
            time_to_end(addr, b""),
            time_to_end(addr, half_hello),
            time_to_end_over_tls(&authority, addr, alpn, b""),
            time_to_end_over_tls(&authority, addr, alpn, b"P"),
        )
    });
    for (silent, half, opened, begun) in futures_util::future::join_all(clients).await {
        let times = [silent, half, opened, begun];
        assert!(
            times.iter().all(|time| *time < LIMIT + BUSY / 10),
            "{times:?}"
        );
    }
    // HTTP/1.1 has begun when TLS is there.
    for (listener, late) in [("grpc", 4), ("webhook", 2)] {
        let labels = format!("listener=\"{listener}\",reason=\"late\"");
        let counted = format!("connections_unopened_total{{{labels}}} {late}\n");
        gateway.wait_for_metric(&counted).await;
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_opened_and_does_not_answer_any_more_is_gone_soon() {
    let gateway = Gateway::start("http://127.0.0.1:1/api/v1", &[]).await;
    let client = TcpStream::connect(gateway.grpc).await.unwrap();
    let no_settings = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let read = read_to_end(client, &no_settings, KEEP_ALIVE).await;
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
    assert!(
        read.windows(ping.len()).any(|part| part == ping),
        "{read:?}"
    );
    gateway
        .wait_for_metric("connections_open{listener=\"grpc\"} 0\n")
        .await;
    let metrics = gateway.metrics().await;
    assert!(
        !metrics.contains("connections_unopened_total{"),
        "{metrics}"
    );
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
