//! The emulator over a real loopback socket.

mod door;
mod faults;
mod receiver;
mod refusals;
mod rest;
mod sandbox;
mod serving;
mod subscriptions;
mod webhook_faults;
mod webhooks;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{API_KEY, Config, TENANT_ID, serve};

/// A running emulator. It ends with its test.
struct Emulator {
    address: SocketAddr,
    client: Client,
    stop: oneshot::Sender<()>,
    served: JoinHandle<io::Result<()>>,
}

impl Emulator {
    async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    async fn start_with(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap_or_default() };
        Self {
            address,
            // A connection for each request, so that no test meets one that another answer cut.
            client: Client::builder().pool_max_idle_per_host(0).build().unwrap(),
            stop,
            served: tokio::spawn(serve(listener, config, shutdown)),
        }
    }

    /// A request without credentials.
    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.address))
    }

    /// A request to the REST API with the right credentials.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, &format!("/api/v1{path}"))
            .bearer_auth(API_KEY)
            .header("X-Tenant-ID", TENANT_ID)
    }

    async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path)
            .json(body)
            .send()
            .await
            .unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    async fn set_scenario(&self, scenario: Value) {
        let answer = self
            .bare(Method::PUT, "/__emulator/scenario")
            .json(&scenario);
        assert_eq!(
            answer.send().await.unwrap().status(),
            StatusCode::NO_CONTENT
        );
    }

    /// The list of requests, and the number dropped from it.
    async fn received(&self) -> (Vec<Value>, u64) {
        let answer = self
            .bare(Method::GET, "/__emulator/requests")
            .send()
            .await
            .unwrap();
        let list: Value = answer.json().await.unwrap();
        (
            list["requests"].as_array().unwrap().clone(),
            list["dropped"].as_u64().unwrap(),
        )
    }

    /// Sends a POST as plain bytes and returns the open connection.
    async fn send_raw(&self, path: &str, body: &Value) -> TcpStream {
        let body = body.to_string();
        let head = format!(
            "POST /api/v1{path} HTTP/1.1\r\nhost: emulator\r\nauthorization: Bearer {API_KEY}\r\n\
             x-tenant-id: {TENANT_ID}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream
    }

    /// Whether a subject with this `external_id` was stored. Claims it if not.
    async fn is_taken(&self, external_id: &str) -> bool {
        match self.post("/subjects", &subject(external_id)).await.status() {
            StatusCode::CREATED => false,
            StatusCode::CONFLICT => true,
            status => panic!("unexpected {status}"),
        }
    }
}

/// Everything that still comes on a connection, until the emulator closes or resets it.
async fn read_to_end(mut stream: TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    // A reset is one way to be cut. What came before it is kept.
    let end = timeout(Duration::from_secs(10), stream.read_to_end(&mut read)).await;
    assert!(
        end.is_ok(),
        "the connection stays open after {} bytes",
        read.len()
    );
    read
}

fn screening(name: &str, mode: &str) -> Value {
    json!({
        "mode": mode,
        "purpose": "ONBOARDING",
        "checks": ["SANCTIONS", "PEP"],
        "subject": {"type": "INDIVIDUAL", "name": name},
    })
}

fn subject(external_id: &str) -> Value {
    json!({"type": "INDIVIDUAL", "name": "Ada Example", "external_id": external_id})
}

/// The answer's envelope, checked for what every envelope has.
async fn envelope(answer: Response, status: u16, code: &str) -> Value {
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let request_id = answer.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let envelope: Value = answer.json().await.unwrap();
    assert_eq!(envelope["code"], code, "{envelope}");
    assert_eq!(envelope["request_id"], request_id.as_str());
    assert!(request_id.starts_with("req_"));
    assert!(envelope["message"].is_string());
    envelope
}

/// The `field`s of an envelope's details.
fn bad_fields(envelope: &Value) -> Vec<&str> {
    let details = envelope["details"].as_array().unwrap();
    details
        .iter()
        .map(|detail| detail["field"].as_str().unwrap())
        .collect()
}
