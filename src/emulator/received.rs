//! What arrived at the REST API, in order.

use std::collections::VecDeque;

use axum::http::request::Parts;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::admission::{Authorization, X_TENANT_ID};

/// Requests kept, with bodies of up to 1 MiB each. Older ones are counted as dropped.
pub(super) const MAX_REQUESTS: usize = 1_000;

/// The headers that are listed, where a request has them. Never the key.
const LISTED_HEADERS: [&str; 6] = [
    "content-type",
    "idempotency-key",
    X_TENANT_ID,
    "user-agent",
    "content-length",
    "transfer-encoding",
];

/// One request as it arrived.
pub(super) struct Arrival {
    method: String,
    path: String,
    headers: Vec<(&'static str, String)>,
    authorization: Authorization,
    body: Option<Bytes>,
}

impl Arrival {
    /// A request whose body was not read, or not to its end.
    pub(super) fn new(head: &Parts, authorization: Authorization) -> Self {
        let listed = |name: &'static str| {
            let value = head.headers.get(name)?;
            Some((name, String::from_utf8_lossy(value.as_bytes()).into_owned()))
        };
        let path = head.uri.path_and_query();
        Self {
            method: head.method.to_string(),
            path: path.map_or_else(String::new, ToString::to_string),
            headers: LISTED_HEADERS.into_iter().filter_map(listed).collect(),
            authorization,
            body: None,
        }
    }

    /// The same, with the whole body.
    pub(super) fn with_body(self, body: Bytes) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    fn json(&self) -> Value {
        let headers: Map<String, Value> = self
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
            .collect();
        json!({
            "method": self.method,
            "path": self.path,
            "headers": headers,
            "authorization": self.authorization,
            "body": self.body.as_deref().map_or(Value::Null, readable),
        })
    }
}

/// A body as JSON where it is JSON, `null` where it is empty, else as a string.
fn readable(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into())
}

/// The newest requests.
#[derive(Default)]
pub(super) struct Received {
    requests: VecDeque<Arrival>,
    dropped: u64,
}

impl Received {
    pub(super) fn push(&mut self, arrival: Arrival) {
        if self.requests.len() == MAX_REQUESTS {
            self.requests.pop_front();
            self.dropped += 1;
        }
        self.requests.push_back(arrival);
    }

    /// The list, oldest first, and how many older ones it lost.
    pub(super) fn json(&self) -> Value {
        let requests: Vec<Value> = self.requests.iter().map(Arrival::json).collect();
        json!({ "requests": requests, "dropped": self.dropped })
    }
}
