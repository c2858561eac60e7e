//! A webhook's body: what happened.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::emulator::ledger::now;

/// Something to tell the subscribers.
#[derive(Clone)]
pub(super) struct Event {
    /// Such as `screening.completed` (Kora docs: webhooks).
    pub(super) name: String,
    /// As in the body, where it has one.
    pub(super) id: Option<String>,
    /// The exact bytes that are sent and signed.
    pub(super) body: Bytes,
}

/// The body as it is written. Only `event` and `data` are known of Kora Compliance; the other two are
/// those of Kora's other products.
#[derive(Serialize)]
struct Envelope<'a> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    timestamp: String,
    data: &'a Value,
}

impl Event {
    pub(super) fn new(name: &str, id: Option<String>, data: &Value) -> Self {
        let envelope = Envelope {
            event: name,
            id: id.as_deref(),
            timestamp: now(),
            data,
        };
        let body = serde_json::to_vec(&envelope).expect("strings and a JSON value are always JSON");
        Self {
            name: name.to_owned(),
            id,
            body: body.into(),
        }
    }

    /// An event with exactly this body. Name and id are for the list of deliveries.
    pub(super) fn raw(name: &str, id: Option<String>, body: String) -> Self {
        Self {
            name: name.to_owned(),
            id,
            body: body.into(),
        }
    }
}

/// An id that no other event has.
pub(super) fn new_id() -> String {
    format!("evt_{}", Uuid::new_v4().simple())
}

/// The names and data of the events that tell how a screening ended: one for each match, and then the
/// end itself. `screening` is its JSON.
pub(super) fn of_ended(screening: &Value) -> Vec<(&'static str, Value)> {
    let matches = screening.get("matches").and_then(Value::as_array);
    let mut events: Vec<_> = matches
        .into_iter()
        .flatten()
        .map(|found| {
            let mut data = Map::new();
            for name in ["screening_id", "subject_id"] {
                data.insert(name.to_owned(), screening[name].clone());
            }
            data.insert("match".to_owned(), found.clone());
            ("screening.match_found", Value::Object(data))
        })
        .collect();
    let end = match screening["status"] == "COMPLETED" {
        true => "screening.completed",
        false => "screening.failed",
    };
    events.push((end, screening.clone()));
    events
}
