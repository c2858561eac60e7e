//! What a port tells of its clients.

use std::{convert::Infallible, fs, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kora_gateway::{
    lifecycle::Shutdown,
    listener::{Config, Listener, Metrics, Patience, PeerNames, Protocol, Tls, TlsFiles},
};
use prometheus_client::registry::Registry;
use rcgen::SanType;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    authority::{Authority, Identity},
    files::Files,
};

/// A port that answers each request with what it is told of its client.
async fn port(tls: Option<Tls>) -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = Listener::bind("test", ([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let addr = listener.addr();
    let service = tower::service_fn(async |request: Request<Incoming>| {
        let PeerNames(names) = request.extensions().get().unwrap();
        let names = names.join(" ");
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(names)))
    });
    let config = Config {
        protocol: Protocol::Http2,
        tls,
        max_connections: 10,
        max_streams_per_connection: 10,
        patience: Patience::default(),
    };
    let metrics = Metrics::register(&mut Registry::default());
    let never = Shutdown::default();
    let served = listener.serve(service, config, metrics, never.clone(), never);
    (addr, AbortOnDropHandle::new(tokio::spawn(served)))
}

/// A port whose clients need a certificate of this authority, if there is one.
async fn tls_port(
    server: &Authority,
    clients: Option<&Authority>,
) -> (SocketAddr, AbortOnDropHandle<()>) {
    let files = Files::new();
    files.write(&server.identity());
    let [cert, key, ca] = ["cert.pem", "key.pem", "ca.pem"].map(|name| files.path(name));
    let client_ca = clients.map(|authority| {
        fs::write(&ca, &authority.pem).unwrap();
        ca
    });
    let paths = TlsFiles {
        cert,
        key,
        client_ca,
        is_certificate_required: true,
    };
    port(Some(Tls::load(paths, b"h2").unwrap())).await
}

/// What it answers to two requests of one connection.
async fn told(way: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> [String; 2] {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(way))
        .await
        .unwrap();
    let _running = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut ask = async || {
        let request = Request::get("http://port/").body(Empty::<Bytes>::new());
        let answer = sender.send_request(request.unwrap()).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    };
    [ask().await, ask().await]
}

async fn told_over_tls(
    addr: SocketAddr,
    server: &Authority,
    client: Option<&Identity>,
) -> [String; 2] {
    let socket = TcpStream::connect(addr).await.unwrap();
    let connector = server.connector(client);
    told(connector.connect(addr.ip().into(), socket).await.unwrap()).await
}

#[tokio::test]
async fn every_request_tells_the_names_in_its_clients_certificate() {
    let (server, clients) = (Authority::new(), Authority::new());
    let (addr, _served) = tls_port(&server, Some(&clients)).await;
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let dns = |text: &str| SanType::DnsName(text.try_into().unwrap());
    let client = clients.identity_with(vec![
        dns("onboarding.bank.example"),
        uri("spiffe://bank.example/ns/kyc/sa/Onboarding"),
        SanType::Rfc822Name("kyc@bank.example".try_into().unwrap()),
        uri("urn:onboarding"),
        dns("*.Bank.example"),
    ]);
    let names = "spiffe://bank.example/ns/kyc/sa/Onboarding urn:onboarding onboarding.bank.example *.Bank.example";
    let told = told_over_tls(addr, &server, Some(&client)).await;
    assert_eq!(told, [names, names]);
    // Nor does a client have the names of another.
    let nameless = clients.identity();
    let told = told_over_tls(addr, &server, Some(&nameless)).await;
    assert_eq!(told, ["", ""]);
}

#[tokio::test]
async fn a_client_without_a_certificate_has_no_names() {
    let (addr, _served) = port(None).await;
    let socket = TcpStream::connect(addr).await.unwrap();
    assert_eq!(told(socket).await, ["", ""]);
    let server = Authority::new();
    let (addr, _served) = tls_port(&server, None).await;
    let unasked = server.identity_with(vec![SanType::URI("urn:a".try_into().unwrap())]);
    for client in [None, Some(&unasked)] {
        assert_eq!(told_over_tls(addr, &server, client).await, ["", ""]);
    }
}
