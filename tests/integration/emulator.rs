//! The Kora emulator in the test's own process, and its control door.

use std::net::SocketAddr;

use kora_gateway::emulator::{self, Config};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{API_KEY, TENANT_ID};

/// More requests than any test sends.
const ALWAYS: u32 = 1_000_000;

/// An emulator that knows the key and the tenant of test gateways. It ends when it is dropped.
pub struct Emulator {
    pub addr: SocketAddr,
    door: Client,
    _serving: AbortOnDropHandle<()>,
}

impl Emulator {
    pub async fn start() -> Emulator {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Config {
            api_key: API_KEY.to_owned(),
            tenant_id: TENANT_ID.to_owned(),
            webhook: None,
        };
        let serving = tokio::spawn(async move {
            let never = std::future::pending();
            emulator::serve(listener, config, never).await.unwrap();
        });
        Emulator {
            addr,
            door: Client::builder().no_proxy().build().unwrap(),
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// Answers every request for a screening with this status and code from now on.
    pub async fn fail_screenings(&self, status: u16, code: &str) {
        // Nobody waits for that long, so each call is one attempt.
        let fault = json!({
            "kind": "fail", "status": status, "code": code, "retry_after_seconds": 3600,
        });
        let request = self.door.put(self.url("scenario"));
        let endpoint = "POST /screenings";
        let scenario = json!({"next": ALWAYS, "endpoint": endpoint, "fault": fault});
        let answer = request.json(&scenario).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }

    /// The requests that arrived, whole or cut after their heads, oldest first.
    pub async fn requests(&self) -> Vec<Value> {
        let listed = self.door.get(self.url("requests")).send().await.unwrap();
        let mut listed: Value = listed.json().await.unwrap();
        assert_eq!(listed["dropped"], 0, "the list is not whole any more");
        match listed["requests"].take() {
            Value::Array(requests) => requests,
            other => panic!("no list: {other}"),
        }
    }

    fn url(&self, door: &str) -> String {
        format!("http://{}/__emulator/{door}", self.addr)
    }
}
