//! What goes wrong next, by command.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::rest::{SCREENING, SCREENINGS, SUBJECT, SUBJECTS, SUBSCRIPTIONS};

/// The longest delay that a scenario may ask for, in milliseconds.
const MAX_DELAY_MILLISECONDS: u64 = 600_000;

/// The highest status that a scenario may fail with. The lowest is 300: redirects are failures too.
const MAX_STATUS: u16 = 599;

/// An endpoint of the REST API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Endpoint {
    #[serde(rename = "POST /screenings")]
    CreateScreening,
    #[serde(rename = "GET /screenings/{id}")]
    GetScreening,
    #[serde(rename = "POST /subjects")]
    CreateSubject,
    #[serde(rename = "GET /subjects/{id}")]
    GetSubject,
    #[serde(rename = "POST /webhooks/subscriptions")]
    CreateSubscription,
}

impl Endpoint {
    /// The endpoint that serves this method on this route.
    pub(super) fn of(method: &Method, route: &str) -> Option<Self> {
        match (method.as_str(), route) {
            ("POST", SCREENINGS) => Some(Self::CreateScreening),
            ("GET", SCREENING) => Some(Self::GetScreening),
            ("POST", SUBJECTS) => Some(Self::CreateSubject),
            ("GET", SUBJECT) => Some(Self::GetSubject),
            ("POST", SUBSCRIPTIONS) => Some(Self::CreateSubscription),
            _ => None,
        }
    }
}

/// How an answer goes wrong. "The work" is what the request asks for: whatever it stores stays
/// stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    /// The work is done at once. Its answer comes later.
    Delay {
        #[serde(rename = "milliseconds", deserialize_with = "read_delay")]
        delay: Duration,
    },
    /// The work is not done. With a `code`: Kora's envelope. Without: the HTML page of a proxy.
    Fail(Failure),
    /// The work is done. No answer, until the client leaves or the emulator stops.
    Hang {},
    /// The connection is dropped before the body is read. The work is not done.
    CutBeforeReading {},
    /// The work is done. The connection is dropped before the first byte of the answer.
    CutAfterReading {},
    /// The work is done. The connection is dropped after half of the answer's body.
    CutMidAnswer {},
    /// The work is done. The answer is 200 with this body, or one that is not JSON.
    Junk { body: Option<String> },
}

/// The answer of a `fail`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    #[serde(deserialize_with = "read_status")]
    pub(super) status: StatusCode,
    pub(super) code: Option<String>,
    /// Value of the header `Retry-After`.
    pub(super) retry_after_seconds: Option<u64>,
}

/// A fault, and the requests that it meets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    left: u32,
    endpoint: Option<Endpoint>,
    fault: Fault,
}

/// A scenario as it is set. Without `endpoint` it meets every request, those to unknown routes too.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    next: u32,
    endpoint: Option<Endpoint>,
    fault: Option<Fault>,
}

impl Scenario {
    /// Reads a document. `None` when it clears the scenario (`next` is 0). The error is a sentence
    /// for people.
    pub(super) fn read(document: &[u8]) -> Result<Option<Self>, String> {
        let document: Document = serde_json::from_slice(document)
            .map_err(|error| format!("The scenario cannot be read: {error}."))?;
        match document {
            Document { next: 0, .. } => Ok(None),
            Document { fault: None, .. } => Err("A scenario needs a fault.".to_owned()),
            Document {
                next,
                endpoint,
                fault: Some(fault),
            } => Ok(Some(Self {
                left: next,
                endpoint,
                fault,
            })),
        }
    }

    /// The fault that a request to this endpoint meets. The scenario is over after the last of
    /// them.
    pub(super) fn meet(scenario: &mut Option<Self>, endpoint: Option<Endpoint>) -> Option<Fault> {
        let current = scenario.as_mut()?;
        if current.endpoint.is_some() && current.endpoint != endpoint {
            return None;
        }
        current.left -= 1;
        if current.left > 0 {
            return Some(current.fault.clone());
        }
        scenario.take().map(|last| last.fault)
    }
}

/// Reads a number of milliseconds.
pub(super) fn read_delay<'de, D: Deserializer<'de>>(number: D) -> Result<Duration, D::Error> {
    let milliseconds = u64::deserialize(number)?;
    if milliseconds > MAX_DELAY_MILLISECONDS {
        let sentence = format!("a delay is at most {MAX_DELAY_MILLISECONDS} milliseconds");
        return Err(D::Error::custom(sentence));
    }
    Ok(Duration::from_millis(milliseconds))
}

fn read_status<'de, D: Deserializer<'de>>(number: D) -> Result<StatusCode, D::Error> {
    StatusCode::from_u16(u16::deserialize(number)?)
        .ok()
        .filter(|status| !status.is_informational() && !status.is_success())
        .filter(|status| status.as_u16() <= MAX_STATUS)
        .ok_or_else(|| {
            D::Error::custom(format!("a status to fail with is from 300 to {MAX_STATUS}"))
        })
}
