//! Who speaks no protocol, or another one: bytes with markers into every port.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{deliveries::status_of, launch::Launch, outputs::Outputs, process::PATIENCE};

/// Nothing asks Kora here.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// What begins HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends these bytes, and reads until the other side has no more to say.
pub async fn exchange(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // Who is refused early can find the way closed.
    let _ = stream.write_all(bytes).await;
    read(stream).await
}

/// The same, and says that nothing more comes.
pub async fn exchange_and_leave(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    read(stream).await
}

/// Sends these bytes, waits for an answer, and leaves.
pub async fn exchange_once(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await;
    read.expect("an answer in time").unwrap();
    answer
}

async fn read(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset ends it as well.
    let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = ended.expect("the other side ends it");
    answer
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A greeting of TLS that names its server so.
pub fn client_hello(server_name: &[u8]) -> Vec<u8> {
    fn with_length(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length, bytes].concat()
    }
    let name = [&[0], &with_length(server_name)[..]].concat();
    let extension = [&[0, 0], &with_length(&with_length(&name))[..]].concat();
    let random = b"MARKER-RANDOM-MARKER-RANDOM-MARK";
    let hello = [
        &[3, 3],
        &random[..],
        &[0],
        &with_length(&[0x13, 0x01]),
        &[1, 0],
        &with_length(&extension),
    ]
    .concat();
    let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
    let handshake = [&[1], &length[1..], &hello].concat();
    [&[22, 3, 1], &with_length(&handshake)[..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_not_repeated() {
    let gateway = Launch::gateway(NO_KORA).start().await;
    let mut outputs = Outputs::default();
    let settings = [PREFACE, &frame(4, 0, 0, &[])].concat();
    let after_settings = |bytes: &[u8]| [&settings, bytes].concat();
    let junk = [
        b"MARKER MARKER MARKER\r\n\r\n".to_vec(),
        b"GET /MARKER?MARKER=MARKER HTTP/1.1\r\nhost: MARKER\r\nauthorization: MARKER\r\n\r\n"
            .to_vec(),
        b"GET / HTTP/1.1\r\nMARKER MARKER\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9 MARKER\r\n\r\n".to_vec(),
        b"CONNECT MARKER:443 HTTP/1.1\r\nhost: MARKER\r\n\r\n".to_vec(),
        client_hello(b"MARKER.example"),
        after_settings(&frame(1, 4, 1, b"MARKER")),
        after_settings(&frame(0, 0, 1, b"MARKER")),
        after_settings(&frame(6, 0, 0, b"MARKER")),
        after_settings(&frame(6, 1, 0, b"MARKER-8")),
        after_settings(&frame(7, 0, 0, b"\0\0\0\0\0\0\0\0MARKER in a GOAWAY")),
        after_settings(&frame(9, 0, 1, b"MARKER")),
        after_settings(&frame(0x4d, 0, 1, b"MARKER")),
        [PREFACE, b"MARKER MARKER MARKER MARKER"].concat(),
    ];
    for bytes in &junk {
        for (place, addr) in [
            ("callers' port", gateway.grpc()),
            ("webhook port", gateway.webhook()),
            ("admin port", gateway.admin()),
        ] {
            let answer = exchange_and_leave(addr, bytes).await;
            outputs.add(place, answer);
        }
    }
    for (path, status) in [
        ("/MARKER", 404),
        ("/metrics?MARKER", 200),
        ("/livez?MARKER=MARKER", 200),
    ] {
        for (method, status) in [
            ("GET", status),
            ("MARKER", if status == 404 { 404 } else { 405 }),
        ] {
            let asked =
                format!("{method} {path} HTTP/1.1\r\nhost: MARKER\r\ncookie: MARKER\r\n\r\n");
            let answer = exchange_and_leave(gateway.admin(), asked.as_bytes()).await;
            assert_eq!(status_of(&answer), Some(status), "{asked}");
            outputs.add("admin port", answer);
        }
    }
    gateway.end(&mut outputs).await;
    outputs.look();
}
