//! The way to Kora: TLS with a certificate authority of one's own, a proxy, and idle connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use kora_gateway::{clock::Clock, pb};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

use crate::{
    call::Rpc,
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

fn pending() -> Act {
    Act::json(200, &json!({"screening_id": "s", "status": "PENDING"}))
}

/// A server's TLS for 127.0.0.1, and the PEM file to trust it by.
fn tls() -> (TlsAcceptor, tempfile::NamedTempFile) {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certified.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), file)
}

#[tokio::test]
async fn over_tls_the_same_holds() {
    let (acceptor, ca) = tls();
    let kora = ScriptedKora::start_tls(pending(), acceptor).await;
    let url = format!("https://{}/api/v1", kora.addr);
    let ca = ca.path().to_str().unwrap();
    let flags = [("kora-ca-file", ca), ("kora-timeout", "400ms")];
    let gateway = Gateway::start(&url, &flags).await;
    let answer = Rpc::Screen.call().send(gateway.grpc).await;
    assert_eq!(answer.screening().screening_id, "s");
    for (act, reason) in [
        (Act::CloseAfterHead, "KORA_OUTCOME_UNKNOWN"),
        (Act::CloseAfterRequest, "KORA_OUTCOME_UNKNOWN"),
        (Act::Hang, "DEADLINE_EXCEEDED"),
    ] {
        kora.act(act);
        let answer = Rpc::Screen.call().send(gateway.grpc).await;
        assert_eq!(answer.reason(), reason);
        assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    }
    assert_eq!(kora.take_received().len(), 4);
    gateway.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_gets_nothing() {
    let (acceptor, _) = tls();
    let (_, other_ca) = tls();
    let kora = ScriptedKora::start_tls(pending(), acceptor).await;
    let url = format!("https://{}/api/v1", kora.addr);
    for flags in [
        vec![],
        vec![("kora-ca-file", other_ca.path().to_str().unwrap())],
    ] {
        let gateway = Gateway::start(&url, &flags).await;
        let answer = Rpc::Screen.call().send(gateway.grpc).await;
        assert_eq!(answer.reason(), "KORA_UNREACHABLE");
        assert_eq!(answer.outcome().as_deref(), Some("NOT_SENT"));
        gateway.stop().await;
    }
    assert!(kora.take_received().is_empty());
}

/// A proxy that opens tunnels, and remembers what it read in the clear.
async fn tunnelling_proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tunnels = Arc::new(AtomicUsize::new(0));
    let opened = Arc::clone(&tunnels);
    tokio::spawn(async move {
        loop {
            let (mut inner, _) = listener.accept().await.unwrap();
            opened.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(inner.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                assert!(
                    !head.to_lowercase().contains("bearer"),
                    "the proxy was told the key"
                );
                let target = head
                    .strip_prefix("CONNECT ")
                    .unwrap()
                    .split(' ')
                    .next()
                    .unwrap();
                let mut outer = TcpStream::connect(target).await.unwrap();
                inner.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut inner, &mut outer).await;
            });
        }
    });
    (url, tunnels)
}

#[tokio::test]
async fn the_proxy_is_a_tunnel_for_https_and_nothing_else() {
    let (proxy, tunnels) = tunnelling_proxy().await;
    let (acceptor, ca) = tls();
    let kora = ScriptedKora::start_tls(pending(), acceptor).await;
    let url = format!("https://{}/api/v1", kora.addr);
    let ca = ca.path().to_str().unwrap();
    let gateway = Gateway::start(&url, &[("kora-proxy", &proxy), ("kora-ca-file", ca)]).await;
    Rpc::Screen.call().send(gateway.grpc).await.screening();
    assert_eq!(tunnels.load(Ordering::SeqCst), 1);
    gateway.stop().await;

    // Plain HTTP would show the proxy the key: it goes straight to the loopback address.
    let plain = ScriptedKora::start(pending()).await;
    let gateway = Gateway::start(&plain.base_url(), &[("kora-proxy", &proxy)]).await;
    Rpc::Screen.call().send(gateway.grpc).await.screening();
    assert_eq!(tunnels.load(Ordering::SeqCst), 1);
    gateway.stop().await;
}

/// A Kora that counts the connections it got and those that the gateway closed.
async fn counting_kora() -> (String, watch::Receiver<(usize, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1", listener.local_addr().unwrap());
    let (counts, seen) = watch::channel((0, 0));
    let counts = Arc::new(counts);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let counts = Arc::clone(&counts);
            counts.send_modify(|(opened, _)| *opened += 1);
            tokio::spawn(async move {
                // A GET comes in one piece here.
                while stream.read(&mut [0; 4096]).await.unwrap_or(0) > 0 {
                    let body = r#"{"screening_id":"scr_1","status":"PENDING"}"#;
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all((head + body).as_bytes()).await.unwrap();
                }
                counts.send_modify(|(_, closed)| *closed += 1);
            });
        }
    });
    (url, seen)
}

#[tokio::test]
async fn an_idle_connection_is_used_again_until_its_time_is_over() {
    let (url, mut counts) = counting_kora().await;
    let gateway = Gateway::start(&url, &[("kora-idle-timeout", "500ms")]).await;
    const CALLS: usize = 20;
    for _ in 0..CALLS {
        let answer = Rpc::GetScreening.call().send(gateway.grpc).await;
        answer.ok::<pb::GetScreeningResponse>();
    }
    let (opened, _) = *counts.borrow();
    assert!(opened < CALLS, "every call had a connection of its own");
    let all_closed = counts.wait_for(|(opened, closed)| opened == closed);
    let in_time = timeout(Duration::from_secs(5), all_closed).await;
    assert!(in_time.is_ok(), "an idle connection is kept for ever");
    gateway.stop().await;
}

#[tokio::test]
async fn a_panic_after_sending_reads_as_unknown() {
    // Nobody else looks at the clock between the arrival of a request at Kora and its answer.
    let is_armed = Arc::new(AtomicBool::new(false));
    let clock = {
        let is_armed = Arc::clone(&is_armed);
        Clock::from_fn(move || {
            assert!(!is_armed.swap(false, Ordering::SeqCst), "MARKER");
            jiff::Timestamp::UNIX_EPOCH
        })
    };
    let kora = ScriptedKora::start(Act::scripted(move |_| {
        is_armed.store(true, Ordering::SeqCst);
        Act::error(500, "INTERNAL_ERROR")
    }))
    .await;
    let gateway = Gateway::start_on(&kora.base_url(), &[], clock).await;
    let answer = Rpc::Screen.call().send(gateway.grpc).await;
    assert_eq!(answer.reason(), "KORA_OUTCOME_UNKNOWN");
    assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    assert_eq!(kora.take_received().len(), 1);
    let answer = Rpc::GetSubject.call().send(gateway.grpc).await;
    assert_eq!(answer.reason(), "KORA_INTERNAL");
    kora.act(pending());
    Rpc::Screen.call().send(gateway.grpc).await.screening();
    gateway.stop().await;
}
