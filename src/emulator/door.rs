//! The control door: `/__emulator`, without credentials. It is not a part of Kora.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, put};
use bytes::Bytes;

use super::Twin;
use super::received::Received;
use super::rest::json;
use super::scenario::Scenario;
use super::webhooks;

/// The routes of the door, to be nested under its path.
pub(super) fn routes() -> Router<Arc<Twin>> {
    Router::new()
        .route("/scenario", put(set_scenario))
        .route("/requests", get(list_requests).delete(forget_requests))
        .merge(webhooks::door::routes())
        // Of its own, so that a mistyped path of the door meets no scenario and is not listed.
        .fallback(|| async { (StatusCode::NOT_FOUND, "The emulator has no such door.") })
}

/// Replaces the scenario. A document that cannot be read leaves the old one in place.
async fn set_scenario(
    State(twin): State<Arc<Twin>>,
    document: Bytes,
) -> Result<StatusCode, (StatusCode, String)> {
    let scenario =
        Scenario::read(&document).map_err(|sentence| (StatusCode::BAD_REQUEST, sentence))?;
    tracing::debug!("emulator scenario set");
    twin.state().scenario = scenario;
    Ok(StatusCode::NO_CONTENT)
}

async fn list_requests(State(twin): State<Arc<Twin>>) -> Response {
    let list = twin.state().received.json();
    json(StatusCode::OK, &list)
}

async fn forget_requests(State(twin): State<Arc<Twin>>) -> StatusCode {
    twin.state().received = Received::default();
    StatusCode::NO_CONTENT
}
