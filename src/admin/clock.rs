//! Gateway time for operators: what it is, and accepting a step of the wall clock.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Status};

/// Where the report is.
pub const CLOCK_PATH: &str = "/clock";

/// Where a step is accepted, by POST.
pub const ACCEPT_PATH: &str = "/clock/accept";

/// The header that names the step to accept, in whole seconds. No web page can send it from a browser without being asked
/// first, and a step that changed meanwhile is not accepted.
pub const STEP_HEADER: &str = "x-kora-gateway-clock-step";

/// Gateway time and the wall clock, as JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockReport {
    /// Gateway time.
    pub gateway_time: Timestamp,
    /// The wall clock.
    pub wall_clock: Timestamp,
    /// By how many seconds the wall clock differs, while that step is not followed; negative where it is behind.
    pub pending_step_seconds: Option<i64>,
    /// After how many seconds it is followed if it stands for so long.
    pub follows_in_seconds: Option<i64>,
}

pub(super) fn routes(clock: Clock) -> Router {
    Router::new()
        .route(CLOCK_PATH, get(report))
        .route(ACCEPT_PATH, post(accept))
        .with_state(clock)
}

async fn report(State(clock): State<Clock>) -> Result<String, StatusCode> {
    let report = ClockReport::from(clock.status());
    serde_json::to_string(&report).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn accept(State(clock): State<Clock>, headers: HeaderMap) -> (StatusCode, &'static str) {
    let seconds = headers
        .get(STEP_HEADER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    let Some(seconds) = seconds else {
        return (
            StatusCode::BAD_REQUEST,
            "the header x-kora-gateway-clock-step is missing, or is no whole number of seconds\n",
        );
    };
    match clock.accept(SignedDuration::from_secs(seconds)) {
        Ok(()) => (StatusCode::OK, "accepted\n"),
        Err(_) => (
            StatusCode::CONFLICT,
            "no such step of the wall clock is pending\n",
        ),
    }
}

impl From<Status> for ClockReport {
    fn from(status: Status) -> Self {
        ClockReport {
            gateway_time: status.time,
            wall_clock: status.wall,
            pending_step_seconds: status.pending.map(|pending| pending.step.as_secs()),
            follows_in_seconds: status.pending.map(|pending| pending.follows_in.as_secs()),
        }
    }
}
