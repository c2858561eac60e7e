//! TLS and mutual TLS, and files that change while the gateway serves.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use kora_gateway::config::{Config, Environment, Flags};
use serde_json::json;
use tokio::{net::TcpStream, time};

use super::{
    authority::{Authority, Identity},
    files::Files,
};
use crate::{
    call::{Connection, Rpc, SCREENING_ID},
    harness::{Gateway, WEBHOOK_SECRET},
    scripted_kora::{Act, ScriptedKora},
};

/// How long the gateway has to read files that have changed, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A hundred calls a second.
const PAUSE: Duration = Duration::from_millis(10);

/// How often the certificates are replaced under these calls.
const ROTATIONS: usize = 3;

async fn kora() -> ScriptedKora {
    let pending = json!({"screening_id": SCREENING_ID, "status": "PENDING"});
    ScriptedKora::start(Act::json(200, &pending)).await
}

async fn gateway(kora: &ScriptedKora, files: &Files, client_ca: Option<&Authority>) -> Gateway {
    let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| files.text(name));
    let mut flags = vec![("tls-cert", cert.as_str()), ("tls-key", key.as_str())];
    if let Some(authority) = client_ca {
        fs::write(files.path("ca.pem"), &authority.pem).unwrap();
        flags.push(("tls-client-ca", ca.as_str()));
    }
    Gateway::start(&kora.base_url(), &flags).await
}

/// A call on a connection of its own; an error if the gateway does not let it in.
async fn call(
    gateway: SocketAddr,
    trusted: &Authority,
    client: Option<&Identity>,
) -> Result<(), Box<dyn std::error::Error>> {
    let socket = TcpStream::connect(gateway).await?;
    let socket = trusted
        .connector(client)
        .connect(gateway.ip().into(), socket)
        .await?;
    let mut connection = Connection::over(socket, gateway).await?;
    let answer = connection.send(Rpc::Screen.call()).await?;
    assert_eq!(answer.screening().screening_id, SCREENING_ID);
    Ok(())
}

#[tokio::test]
async fn callers_are_served_over_tls_alone() {
    let (kora, files, authority) = (kora().await, Files::new(), Authority::new());
    files.write(&authority.identity());
    let gateway = gateway(&kora, &files, None).await;
    call(gateway.grpc, &authority, None).await.unwrap();
    assert!(call(gateway.grpc, &Authority::new(), None).await.is_err());
    let plain = TcpStream::connect(gateway.grpc).await.unwrap();
    let plain = Connection::over(plain, gateway.grpc).await;
    if let Ok(mut plain) = plain {
        assert!(plain.send(Rpc::Screen.call()).await.is_err());
    }
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn only_clients_of_the_authority_are_let_in_where_there_is_one() {
    let (kora, files, authority) = (kora().await, Files::new(), Authority::new());
    files.write(&authority.identity());
    let clients = Authority::new();
    let gateway = gateway(&kora, &files, Some(&clients)).await;
    let [known, strange] = [clients.identity(), Authority::new().identity()];
    call(gateway.grpc, &authority, Some(&known)).await.unwrap();
    for client in [None, Some(&strange)] {
        assert!(call(gateway.grpc, &authority, client).await.is_err());
    }
    assert_eq!(kora.take_received().len(), 1);
    // Another authority takes its place.
    let others = Authority::new();
    fs::write(files.path("ca.pem"), &others.pem).unwrap();
    let began = Instant::now();
    while call(gateway.grpc, &authority, Some(&known)).await.is_ok() {
        assert!(began.elapsed() < PATIENCE);
    }
    call(gateway.grpc, &authority, Some(&others.identity()))
        .await
        .unwrap();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_rotated_under_load_without_a_failed_call() {
    let (kora, files, authority) = (kora().await, Files::new(), Authority::new());
    files.write(&authority.identity());
    let gateway = gateway(&kora, &files, None).await;
    let (grpc, trusted) = (gateway.grpc, Arc::new(authority));
    let socket = TcpStream::connect(grpc).await.unwrap();
    let socket = trusted
        .connector(None)
        .connect(grpc.ip().into(), socket)
        .await
        .unwrap();
    let mut kept = Connection::over(socket, grpc).await.unwrap();
    let calls = tokio::spawn({
        let trusted = Arc::clone(&trusted);
        async move {
            let mut turns = time::interval(PAUSE);
            for number in 0_u64.. {
                turns.tick().await;
                match number % 2 {
                    0 => drop(kept.send(Rpc::Screen.call()).await.unwrap().screening()),
                    _ => call(grpc, &trusted, None).await.unwrap(),
                }
            }
        }
    });
    for _ in 0..ROTATIONS {
        let next = trusted.identity();
        // Halfway: a key that is not the certificate's, then half a file.
        fs::write(files.path("key.pem"), &next.key).unwrap();
        time::sleep(PAUSE).await;
        fs::write(files.path("cert.pem"), &next.cert[..next.cert.len() / 2]).unwrap();
        time::sleep(PAUSE).await;
        fs::write(files.path("cert.pem"), &next.cert).unwrap();
        let began = Instant::now();
        while trusted.certificate_of(grpc).await != next.der {
            assert!(
                began.elapsed() < PATIENCE,
                "the new certificate does not come"
            );
        }
    }
    assert!(!calls.is_finished(), "{:?}", calls.await);
    calls.abort();
    gateway.stop().await;
}

#[tokio::test]
async fn webhooks_are_taken_over_tls() {
    let (files, authority) = (Files::new(), Authority::new());
    files.write(&authority.identity());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| files.text(name));
    let flags = [
        ("webhook-tls-cert", cert.as_str()),
        ("webhook-tls-key", key.as_str()),
    ];
    let gateway = Gateway::start("http://127.0.0.1:1/api/v1", &flags).await;
    let trusted = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([trusted])
        .build()
        .unwrap();
    let body = br#"{"id": "a", "event": "case.closed", "data": {}}"#;
    let url = format!("https://{}/webhooks/compliance", gateway.webhook);
    let signed = client
        .post(&url)
        .header("x-webhook-signature", crate::deliveries::signature(body));
    assert_eq!(signed.body(&body[..]).send().await.unwrap().status(), 200);
    assert!(
        client
            .get(url.replace("https:", "http:"))
            .send()
            .await
            .is_err()
    );
    gateway.stop().await;
}

#[test]
fn files_that_cannot_be_used_are_told_by_their_setting() {
    let (files, authority) = (Files::new(), Authority::new());
    files.write(&authority.identity());
    fs::write(files.path("other.pem"), authority.identity().key).unwrap();
    let [cert, key, other, absent] =
        ["cert.pem", "key.pem", "other.pem", "absent.pem"].map(|name| files.text(name));
    let problem = |flags: &[(&'static str, &str)]| {
        let all = flags
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let all = all.chain([("kora-tenant-id", "t".to_owned())]).collect();
        let environment = Environment::from([
            ("KORA_API_KEY".to_owned(), "k".to_owned()),
            ("KORA_WEBHOOK_SECRET".to_owned(), WEBHOOK_SECRET.to_owned()),
        ]);
        let loaded = Config::load(Flags(all), &environment, false);
        loaded.err().map(|problems| problems.to_string())
    };
    assert_eq!(problem(&[("tls-cert", &cert), ("tls-key", &key)]), None);
    for (flags, expected) in [
        (&[("tls-cert", &*cert)][..], "tls-key is not set"),
        (&[("tls-key", &key)], "tls-cert is not set"),
        (&[("tls-client-ca", &cert)], "tls-cert is not set"),
        (&[("webhook-tls-cert", &cert)], "webhook-tls-key is not set"),
        (
            &[("tls-cert", &cert), ("tls-key", &other)],
            "tls-key cannot be used",
        ),
        (
            &[("tls-cert", &cert), ("tls-key", &absent)],
            "tls-key cannot be used",
        ),
        (
            &[("tls-cert", &other), ("tls-key", &key)],
            "tls-cert cannot be used",
        ),
        (
            &[
                ("tls-cert", &cert),
                ("tls-key", &key),
                ("tls-client-ca", &key),
            ],
            "tls-client-ca cannot be used",
        ),
    ] {
        let problem = problem(flags).unwrap();
        assert!(problem.contains(expected), "{flags:?}: {problem}");
    }
}
