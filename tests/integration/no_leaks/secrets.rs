//! Secrets that change while the gateway runs, and a Kora that is not who it should be.

use std::{fs, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, pem::PemObject},
    },
};
use tonic::Code;

use super::{
    launch::Launch,
    marked::{self, KEY, WEBHOOK_SECRET},
    outputs::Outputs,
    process::Running,
};
use crate::{
    call::{Rpc, SCREENING_ID},
    deliveries::{Webhooks, signature_by},
    ports::authority::{Authority, Identity},
    scripted_kora::{Act, ScriptedKora},
};

/// What takes the places of the first ones.
const NEXT_KEY: &str = "MARKER-NEXT-KEY";
const NEXT_SECRET: &str = "MARKER-NEXT-SECRET";

/// Reads what a client says, and answers with what is no TLS.
async fn no_tls() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"MARKER of no TLS").await;
        }
    });
    addr
}

/// A gateway whose key and secret are in files.
async fn start(base_url: &str) -> Running {
    let launch = Launch::gateway(base_url).flag("kora-timeout", "10s");
    let [key, secret] =
        [("key", KEY), ("secret", WEBHOOK_SECRET)].map(|(name, text)| launch.file(name, text));
    launch
        .without("KORA_API_KEY")
        .without("KORA_WEBHOOK_SECRET")
        .variable("KORA_API_KEY_FILE", &key)
        .variable("KORA_WEBHOOK_SECRET_FILE", &secret)
        .start()
        .await
}

async fn offer(gateway: &Running, secret: &str) -> u16 {
    let body = marked::complaint().to_string();
    let signature = signature_by(secret, body.as_bytes());
    let answer = Webhooks::to(gateway.webhook())
        .offer_signed(body.as_bytes(), signature)
        .await;
    answer.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_and_renewed_is_not_told() {
    let kora = ScriptedKora::start(Act::scripted(|received| {
        match received.header("authorization") == Some("Bearer MARKER-NEXT-KEY") {
            true => Act::json(200, &marked::completed(SCREENING_ID)),
            false => Act::json(401, &marked::refusal("UNAUTHORIZED")),
        }
    }))
    .await;
    let mut gateway = start(&kora.base_url()).await;
    let mut outputs = Outputs::default();
    let refused = marked::call(Rpc::Screen).send(gateway.grpc()).await;
    assert_eq!(refused.reason(), "KORA_CREDENTIAL_REJECTED");
    outputs.add_answer("a refused key", &refused);
    fs::write(gateway.files.path().join("key"), NEXT_KEY).unwrap();
    let renewed = marked::call(Rpc::Screen).send(gateway.grpc()).await;
    assert_eq!(renewed.status.code(), Code::Ok);
    gateway.wait_for_log("a secret has changed").await;
    let log = gateway.end(&mut outputs).await;
    assert!(log.contains("KORA_CREDENTIAL_REJECTED"));
    outputs.look();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_rotated_is_not_told() {
    let mut gateway = start("http://127.0.0.1:9/api/v1").await;
    let mut outputs = Outputs::default();
    assert_eq!(offer(&gateway, WEBHOOK_SECRET).await, 200);
    fs::write(gateway.files.path().join("secret"), NEXT_SECRET).unwrap();
    gateway.wait_for_log("a secret has changed").await;
    assert_eq!(offer(&gateway, NEXT_SECRET).await, 200);
    assert_eq!(offer(&gateway, WEBHOOK_SECRET).await, 401);
    gateway.end(&mut outputs).await;
    outputs.look();
}

/// Somebody else answers in Kora's place, and is not told the key.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_kora_is_not_repeated() {
    let authority = Authority::new();
    let ca = tempfile::NamedTempFile::new().unwrap();
    fs::write(ca.path(), &authority.pem).unwrap();
    let stranger = ScriptedKora::start_tls(Act::Hang, acceptor(&Authority::new())).await;
    // Fewer failures than open a circuit.
    let rpcs = [Rpc::Screen, Rpc::GetScreening];
    for addr in [stranger.addr, no_tls().await] {
        let launch = Launch::gateway(&format!("https://{addr}/MARKER-PATH"));
        let launch = launch.flag("kora-ca-file", ca.path().to_str().unwrap());
        let gateway = launch.flag("kora-timeout", "10s").start().await;
        let mut outputs = Outputs::default();
        for rpc in rpcs {
            let answer = marked::call(rpc)
                .header("grpc-timeout", "5S")
                .send(gateway.grpc())
                .await;
            assert_eq!(answer.reason(), "KORA_UNREACHABLE");
            outputs.add_answer("nobody", &answer);
        }
        let log = gateway.end(&mut outputs).await;
        assert_eq!(log.matches("KORA_UNREACHABLE").count(), rpcs.len());
        outputs.look();
    }
    assert!(stranger.take_received().is_empty());
}

/// A server's TLS by this authority.
fn acceptor(authority: &Authority) -> TlsAcceptor {
    let Identity { der, key, .. } = authority.identity();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![der], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_hold_no_secret_any_more_are_not_told() {
    let mut all = Vec::new();
    let many_lines = "MARKER-SECRET\n".repeat(20);
    for (name, bytes) in [
        ("key", &b"MARKER of a key\nMARKER of another"[..]),
        ("key", b"MARKER \xff\xfe"),
        ("key", &[b'M'; 70_000]),
        ("secret", many_lines.as_bytes()),
        ("secret", b" \n"),
        // A directory is there instead.
        ("key", b""),
    ] {
        let bytes = bytes.to_vec();
        all.push(tokio::spawn(async move {
            let mut gateway = start("http://127.0.0.1:9/api/v1").await;
            let mut outputs = Outputs::default();
            let path = gateway.files.path().join(name);
            match bytes.is_empty() {
                false => fs::write(path, bytes).unwrap(),
                true => {
                    fs::remove_file(&path).unwrap();
                    fs::create_dir(&path).unwrap();
                }
            }
            gateway.wait_for_log("a secret stays as it was").await;
            gateway.end(&mut outputs).await;
            outputs
        }));
    }
    for one in all {
        one.await.unwrap().look();
    }
}
