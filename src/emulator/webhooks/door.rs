//! The control door of webhooks: faults, webhooks fired by hand, and what became of each.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::event::Event;
use super::faults::Faults;
use super::{To, send};
use crate::emulator::Twin;
use crate::emulator::rest::json as answer;

/// A webhook to fire.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByHand {
    event: String,
    /// An empty object where it is not given.
    #[serde(default)]
    data: Map<String, Value>,
    /// Made up where it is not given, unless ids are to be omitted.
    id: Option<String>,
    /// The body itself, in place of one made of the others.
    raw: Option<String>,
}

type Sentence = (StatusCode, String);

/// The routes of the door, to be merged into the emulator's.
pub(in crate::emulator) fn routes() -> Router<Arc<Twin>> {
    let methods = get(list_deliveries).put(set_faults).post(fire);
    Router::new().route("/webhooks", methods)
}

/// The newest deliveries, those under way too.
async fn list_deliveries(State(twin): State<Arc<Twin>>) -> Response {
    let list = twin.state().webhooks.deliveries();
    answer(StatusCode::OK, &list)
}

/// Replaces the faults. A document that cannot be read leaves the old ones in place.
async fn set_faults(
    State(twin): State<Arc<Twin>>,
    document: Bytes,
) -> Result<StatusCode, Sentence> {
    let faults: Faults = read(&document)?;
    tracing::debug!("emulator webhook faults set");
    twin.state().webhooks.set_faults(faults);
    Ok(StatusCode::NO_CONTENT)
}

/// Fires one webhook at every subscription, whatever events it is for. The answer has the numbers of
/// the deliveries in the list.
async fn fire(State(twin): State<Arc<Twin>>, document: Bytes) -> Result<Response, Sentence> {
    let by_hand: ByHand = read(&document)?;
    if !twin.state().webhooks.has_subscriptions() {
        let sentence = "Nobody has subscribed to webhooks.".to_owned();
        return Err((StatusCode::CONFLICT, sentence));
    }
    let event = match by_hand.raw {
        Some(raw) => Event::raw(&by_hand.event, by_hand.id, raw),
        None => {
            let id = by_hand.id.or_else(|| twin.state().webhooks.new_event_id());
            Event::new(&by_hand.event, id, &Value::Object(by_hand.data))
        }
    };
    let id = event.id.clone();
    let deliveries = send(&twin, event, To::All);
    let fired = json!({ "id": id, "deliveries": deliveries });
    Ok(answer(StatusCode::ACCEPTED, &fired))
}

/// Reads a document. By way of a map, because a struct would be read from a list too.
fn read<T: DeserializeOwned>(document: &[u8]) -> Result<T, Sentence> {
    serde_json::from_slice::<Map<String, Value>>(document)
        .and_then(|fields| serde_json::from_value(Value::Object(fields)))
        .map_err(|error| {
            let sentence = format!("The document cannot be read: {error}.");
            (StatusCode::BAD_REQUEST, sentence)
        })
}
