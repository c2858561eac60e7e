//! Ports with TLS: names in clients' certificates, greetings that are none, and files that go bad.

use std::fs;

use rcgen::{SanType, string::Ia5String};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    callers::tenants,
    launch::Launch,
    marked,
    outputs::Outputs,
    process::Running,
    strangers::{client_hello, exchange_and_leave},
};
use crate::{
    call::{Answer, Call, Connection, Rpc},
    ports::authority::{Authority, Identity},
};

/// Nothing listens there.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// A name that a caller has, and one that nobody has.
const KNOWN: &str = "spiffe://MARKER/known";
const UNKNOWN: &str = "spiffe://MARKER/unknown";

fn named(authority: &Authority, name: &str) -> Identity {
    let [name, dns] = [name, "marker.example"].map(|text| Ia5String::try_from(text).unwrap());
    authority.identity_with(vec![SanType::URI(name), SanType::DnsName(dns)])
}

async fn start(authority: &Authority) -> Running {
    let launch = Launch::bare();
    let own = authority.identity();
    let [cert, key] = [("cert.pem", &own.cert), ("key.pem", &own.key)]
        .map(|(name, text)| launch.file(name, text));
    let ca = launch.file("ca.pem", &authority.pem);
    let text = tenants(&launch, NO_KORA)
        + &format!(
            "[[callers]]\nname = \"mesh\"\nsan = [\"{KNOWN}\"]\ntenants = [\"acme-uk\"]\nrights = [\"screen\"]\n"
        );
    let file = launch.file("gateway.toml", &text);
    let launch = launch
        .flag("config", &file)
        .flag("tls-cert", &cert)
        .flag("tls-key", &key)
        .flag("tls-client-ca", &ca)
        .flag("webhook-tls-cert", &cert)
        .flag("webhook-tls-key", &key);
    launch.start().await
}

async fn call(
    gateway: &Running,
    connector: TlsConnector,
) -> Result<Answer, Box<dyn std::error::Error>> {
    let addr = gateway.grpc();
    let socket = TcpStream::connect(addr).await?;
    let socket = connector.connect(addr.ip().into(), socket).await?;
    let mut connection = Connection::over(socket, addr).await?;
    Ok(connection
        .send(Call::new(Rpc::Screen, &marked::screening()))
        .await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_certificates_and_greetings_are_not_repeated() {
    let authority = Authority::new();
    let gateway = start(&authority).await;
    let mut outputs = Outputs::default();
    for (client, reason) in [
        (Some(named(&authority, KNOWN)), "KORA_UNREACHABLE"),
        (Some(named(&authority, UNKNOWN)), "UNAUTHENTICATED"),
        (None, "UNAUTHENTICATED"),
    ] {
        let answer = call(&gateway, authority.connector(client.as_ref()))
            .await
            .unwrap();
        assert_eq!(answer.reason(), reason);
        outputs.add_answer(reason, &answer);
    }
    let stranger = named(&Authority::new(), UNKNOWN);
    assert!(
        call(&gateway, authority.connector(Some(&stranger)))
            .await
            .is_err()
    );
    for name in [
        &b"MARKER_HOST of none"[..],
        b"MARKER.example",
        b"\xffMARKER",
        b"127.0.0.1",
    ] {
        for addr in [gateway.grpc(), gateway.webhook()] {
            let answer = exchange_and_leave(addr, &client_hello(name)).await;
            // An alert.
            assert_eq!(answer.first(), Some(&21));
            outputs.add("TLS", answer);
        }
    }
    for addr in [gateway.grpc(), gateway.webhook()] {
        outputs.add(
            "TLS",
            exchange_and_leave(addr, b"GET /MARKER HTTP/1.1\r\nhost: MARKER\r\n\r\n").await,
        );
    }
    gateway.end(&mut outputs).await;
    outputs.look();
}

/// Halfway through a rotation by mistake: something else stands where a key or a certificate should.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_go_bad_are_told_of_by_what_they_are() {
    let authority = Authority::new();
    let mut all = Vec::new();
    for (name, text) in [
        ("key.pem", "MARKER of no key"),
        (
            "key.pem",
            "-----BEGIN PRIVATE KEY-----\nMARKER\n-----END PRIVATE KEY-----\n",
        ),
        ("key.pem", "-----BEGIN MARKER\nTUFSS0VS\n"),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\nMARKER of none\n-----END CERTIFICATE-----\n",
        ),
        (
            "ca.pem",
            "-----BEGIN CERTIFICATE-----\nTUFSS0VS\n-----END CERTIFICATE-----\n",
        ),
    ] {
        let mut gateway = start(&authority).await;
        all.push(tokio::spawn(async move {
            let mut outputs = Outputs::default();
            fs::write(gateway.files.path().join(name), text).unwrap();
            gateway
                .wait_for_log("the certificates stay as they were")
                .await;
            gateway.end(&mut outputs).await;
            outputs
        }));
    }
    for one in all {
        one.await.unwrap().look();
    }
}
