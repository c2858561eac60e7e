//! Who is told of what (Kora docs: webhooks).

use std::fmt;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::target::{NOT_A_TARGET, Target};
use crate::emulator::envelope::{Detail, Refusal};
use crate::emulator::ledger::now;
use crate::emulator::subject::text;

/// The rate limit of a subscription that names none: the number of Kora's example. Kora documents no
/// default.
const RATE_LIMIT_PER_MINUTE: u32 = 1000;

/// A receiver of webhooks.
pub(in crate::emulator) struct Subscription {
    pub(super) id: String,
    name: String,
    url: String,
    pub(super) target: Target,
    /// The events that are delivered. `None`: all of them.
    events: Option<Vec<String>>,
    pub(super) secret: String,
    /// Shown as it was given. The emulator delivers as fast as it can.
    rate_limit_per_minute: u32,
    created_at: String,
}

impl Subscription {
    /// Reads the body of `POST /webhooks/subscriptions`, or refuses it with every bad field. Unknown
    /// fields are ignored, and events may have any name: Kora's list of them is not known in full.
    pub(in crate::emulator) fn read(fields: &Map<String, Value>) -> Result<Self, Refusal> {
        let mut bad = Vec::new();
        let name = note(&mut bad, read_name(fields));
        let url = note(&mut bad, read_url(fields));
        let events = note(&mut bad, read_events(fields.get("events")));
        let rate = fields.get("rate_limit_per_minute");
        let rate_limit_per_minute = note(&mut bad, read_rate_limit(rate));
        match (name, url, events, rate_limit_per_minute) {
            (Some(name), Some((url, target)), Some(events), Some(rate_limit_per_minute)) => {
                Ok(Self {
                    id: new_id(),
                    name,
                    url,
                    target,
                    events: Some(events),
                    secret: new_secret(),
                    rate_limit_per_minute,
                    created_at: now(),
                })
            }
            _ => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "VALIDATION_ERROR",
                "Request validation failed",
            )
            .details(bad)),
        }
    }

    /// The subscription to all events that an emulator can have from its start.
    pub(super) fn preset(url: String, target: Target, secret: String) -> Self {
        Self {
            id: new_id(),
            name: "Preset".to_owned(),
            url,
            target,
            events: None,
            secret,
            rate_limit_per_minute: RATE_LIMIT_PER_MINUTE,
            created_at: now(),
        }
    }

    /// Whether events of this name are delivered.
    pub(super) fn wants(&self, event: &str) -> bool {
        let events = self.events.as_ref();
        events.is_none_or(|events| events.iter().any(|wanted| wanted == event))
    }

    /// The answer to whoever created it: the only one that ever has the secret.
    pub(in crate::emulator) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "url": self.url,
            "events": self.events,
            "status": "ACTIVE",
            "secret": self.secret,
            "rate_limit_per_minute": self.rate_limit_per_minute,
            "created_at": self.created_at,
        })
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn new_id() -> String {
    format!("wh_{}", Uuid::new_v4().simple())
}

/// A secret like Kora's, of 244 random bits.
fn new_secret() -> String {
    let (first, second) = (Uuid::new_v4().simple(), Uuid::new_v4().simple());
    format!("whsec_live_{first}{second}")
}

/// Keeps the field that was read, or the fault that was found.
fn note<T>(bad: &mut Vec<Detail>, read: Result<T, Detail>) -> Option<T> {
    read.map_err(|detail| bad.push(detail)).ok()
}

fn read_name(fields: &Map<String, Value>) -> Result<String, Detail> {
    text(fields, "name")
        .map(str::to_owned)
        .ok_or_else(|| Detail::new("name", "is required"))
}

fn read_url(fields: &Map<String, Value>) -> Result<(String, Target), Detail> {
    let url = text(fields, "url").ok_or_else(|| Detail::new("url", "is required"))?;
    let target = Target::read(url).ok_or_else(|| Detail::new("url", NOT_A_TARGET))?;
    Ok((url.to_owned(), target))
}

fn read_events(events: Option<&Value>) -> Result<Vec<String>, Detail> {
    let bad = || Detail::new("events", "must be a list of at least one event name");
    let events = events.and_then(Value::as_array).ok_or_else(bad)?;
    if events.is_empty() {
        return Err(bad());
    }
    events
        .iter()
        .map(|event| event.as_str().filter(|event| !event.is_empty()))
        .map(|event| event.map(str::to_owned).ok_or_else(bad))
        .collect()
}

fn read_rate_limit(rate: Option<&Value>) -> Result<u32, Detail> {
    let Some(rate) = rate else {
        return Ok(RATE_LIMIT_PER_MINUTE);
    };
    rate.as_u64()
        .and_then(|rate| u32::try_from(rate).ok())
        .filter(|rate| *rate > 0)
        .ok_or_else(|| Detail::new("rate_limit_per_minute", "must be a whole number above 0"))
}
