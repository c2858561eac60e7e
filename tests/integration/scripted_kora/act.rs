//! What an upstream can be told to do.

use std::{fmt, sync::Arc};

use serde_json::Value;
use tokio::sync::Notify;

use super::Received;
use crate::call::SCREENING_ID;

/// What the upstream does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers with this status, these headers and this body, and keeps the connection.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Writes these bytes and closes.
    Write(Vec<u8>),
    /// Closes after the head, the body unread.
    CloseAfterHead,
    /// Closes after the whole request.
    CloseAfterRequest,
    /// Never answers.
    Hang,
    /// Waits for the word, and answers then.
    AnswerOnceTold(Arc<Notify>, Box<Act>),
    /// What the script says of the request.
    AsScripted(Script),
}

/// Decides what to do with each request.
#[derive(Clone)]
pub struct Script(pub(super) Arc<dyn Fn(&Received) -> Act + Send + Sync>);

impl Act {
    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Act {
        Act::Answer(
            status,
            vec![
                ("content-type", "application/json".to_owned()),
                ("x-request-id", "req_header".to_owned()),
            ],
            body.to_string().into_bytes(),
        )
    }

    /// An error answer in Kora's envelope, with a message text that must not get anywhere.
    pub fn error(status: u16, code: &str) -> Act {
        Act::json(
            status,
            &serde_json::json!({
                "code": code, "message": "VENDOR-TEXT about Jane Smith", "request_id": "req_body"
            }),
        )
    }

    /// SCREENING_TIMEOUT for a SYNC screening, and this for an ASYNC one.
    pub fn timeout_then(for_async: Act) -> Act {
        Act::scripted(move |received| match received.is_async() {
            true => for_async.clone(),
            false => Act::error(503, "SCREENING_TIMEOUT"),
        })
    }

    /// What `script` says of each request.
    pub fn scripted(script: impl Fn(&Received) -> Act + Send + Sync + 'static) -> Act {
        Act::AsScripted(Script(Arc::new(script)))
    }

    /// An answer that waits for the word.
    pub fn once_told(body: &Value) -> (Arc<Notify>, Act) {
        let told = Arc::new(Notify::new());
        let late = Act::AnswerOnceTold(Arc::clone(&told), Box::new(Act::json(200, body)));
        (told, late)
    }

    /// A screening that is PENDING, answered when the word is given.
    pub fn pending_once_told() -> (Arc<Notify>, Act) {
        Act::once_told(&serde_json::json!({"screening_id": SCREENING_ID, "status": "PENDING"}))
    }

    /// The same answer with one more header.
    pub fn with_header(self, name: &'static str, value: &str) -> Act {
        match self {
            Act::Answer(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Act::Answer(status, headers, body)
            }
            other => other,
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Script")
    }
}
