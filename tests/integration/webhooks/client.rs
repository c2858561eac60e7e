//! A webhook sender that writes what a test tells it.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::door::{Door, SECRETS};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Client {
    pub async fn connect(door: &Door) -> Client {
        Client {
            stream: TcpStream::connect(door.addr).await.unwrap(),
            read: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        sent.unwrap().unwrap();
    }

    pub async fn send_no_more(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Leaves without a goodbye.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
        let end = loop {
            match self.read.windows(4).position(|part| part == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => assert!(
                    self.read_more().await,
                    "the connection ended: {:?}",
                    self.read
                ),
            }
        };
        let head = self.read.drain(..end).collect();
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        let size = match answer.header("content-length") {
            Some(size) => size.parse().unwrap(),
            None => 0,
        };
        while self.read.len() < size {
            assert!(self.read_more().await, "the connection ended");
        }
        answer.body = self.read.drain(..size).collect();
        answer
    }

    /// Sees that nothing but the end of the connection comes.
    pub async fn expect_end(&mut self) {
        assert!(!self.read_more().await, "{:?}", self.read);
        assert_eq!(self.read, b"");
    }

    async fn read_more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        read.unwrap().unwrap() > 0
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// The header of a signature.
pub fn sign_with(secret: &str, body: impl AsRef<[u8]>) -> String {
    let mut code = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    code.update(body.as_ref());
    let code = code.finalize().into_bytes();
    let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x-webhook-signature: {hex}")
}

pub fn sign(body: impl AsRef<[u8]>) -> String {
    sign_with(SECRETS[0], body)
}

/// The same header with its digits in upper case.
pub fn upper_case(header: &str) -> String {
    let (name, hex) = header.split_once(": ").unwrap();
    format!("{name}: {}", hex.to_uppercase())
}

/// A POST with these headers.
pub fn post(path: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let size = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {size}\r\n\r\n{body}")
        .into_bytes()
}

/// An authentic webhook.
pub fn signed(body: &str) -> Vec<u8> {
    post("/webhooks/compliance", &[&sign(body)], body)
}

/// An authentic webhook in chunks.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut request = chunked_head(body);
    for chunk in body.chunks(size) {
        request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}

/// The head of one.
pub fn chunked_head(body: &[u8]) -> Vec<u8> {
    format!(
        "POST /webhooks/compliance HTTP/1.1\r\nhost: x\r\n{}\r\ntransfer-encoding: chunked\r\n\r\n",
        sign(body)
    )
    .into_bytes()
}
