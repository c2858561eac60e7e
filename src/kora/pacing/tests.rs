//! The pacer in paused time: alone, and against a simulated Kora.

mod answer_times;
mod budget;
mod lanes;
mod simulated_kora;
mod simulation;
mod turns;
mod waits;

use std::time::Duration;

use http::HeaderMap;

use super::{Kind, Lane};
use crate::kora::Endpoint;

/// Noon of some day in Unix seconds, a full minute: where every test starts.
const START: i64 = 1_717_243_200;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What Kora tells with an answer. The end of the window is in seconds from the start of the test.
fn rate_limit(limit: u32, remaining: u32, reset: i64) -> HeaderMap {
    [
        ("x-ratelimit-limit", limit.to_string()),
        ("x-ratelimit-remaining", remaining.to_string()),
        ("x-ratelimit-reset", (START + reset).to_string()),
    ]
    .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
    .into_iter()
    .collect()
}

/// Screenings in this lane.
fn kind(lane: Lane) -> Kind {
    let endpoint = Endpoint::CreateScreening;
    Kind { endpoint, lane }
}
