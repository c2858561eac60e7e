//! A screening that Kora took gets its end on the log, also where no webhook comes, and once.

mod ends;
mod turns;
mod waits;

use std::{path::Path, time::Duration};

use kora_gateway::{
    config::Config,
    pb::{self, EventSource, event::Payload},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    call::{Rpc, SCREENING_ID},
    deliveries::Webhooks,
    harness::{Gateway, of_tenant},
    scripted_kora::{Act, Received, ScriptedKora},
    subscriber::{PATIENCE, Subscriber, from_earliest},
};

pub const COMPLETED: &str = "screening.completed";

/// A time that does not pass in a test.
pub const NEVER: Duration = Duration::from_secs(3600);

/// A pause that does, many times over.
pub const SOON: Duration = Duration::from_millis(20);

/// A gateway that polls with these pauses.
pub async fn gateway_with(kora: &ScriptedKora, first: Duration) -> Gateway {
    Gateway::start_with(&kora.base_url(), &[], pauses(first)).await
}

/// The same on a directory that outlives it.
pub async fn gateway_on(directory: &Path, kora: &ScriptedKora, first: Duration) -> Gateway {
    let log = format!("file:{}", directory.display());
    Gateway::start_with(&kora.base_url(), &[("event-log", &log)], pauses(first)).await
}

fn pauses(first: Duration) -> impl FnOnce(&mut Config) {
    move |config| {
        config.reconciler.first_pause = first;
        config.reconciler.max_pause = first;
    }
}

pub fn pending() -> Act {
    Act::json(
        200,
        &json!({"screening_id": SCREENING_ID, "status": "PENDING"}),
    )
}

/// What Kora says of the screening when it is over.
pub fn ended(status: &str, outcome: &str) -> Value {
    json!({
        "screening_id": SCREENING_ID,
        "subject_id": "subj_1",
        "status": status,
        "decision": {"outcome": outcome, "triggered_rules": [], "explanation": "none"},
        "completed_at": "2026-01-02T03:04:05Z",
    })
}

pub async fn screen(gateway: &Gateway) -> pb::Screening {
    Rpc::Screen.call().send(gateway.grpc).await.screening()
}

pub async fn deliver(gateway: &Gateway, id: &str, kind: &str, data: &Value) {
    let body = json!({"id": id, "event": kind, "data": data});
    let webhooks = Webhooks::to(gateway.webhook);
    webhooks.deliver(body.to_string().as_bytes()).await;
}

/// Everything that is on the log.
pub async fn events(gateway: &Gateway) -> Vec<pb::Event> {
    let request = pb::WatchEventsRequest {
        include_raw_json: true,
        ..from_earliest()
    };
    let subscriber = Subscriber::connect(gateway.grpc).await;
    subscriber.watch(request).await.unwrap().past().await
}

pub fn outcome_of(event: &pb::Event) -> String {
    let Some(Payload::ScreeningUpdate(update)) = &event.payload else {
        panic!("no screening");
    };
    let screening = update.screening.as_ref().unwrap();
    let decision = screening.decision.as_ref();
    decision.map_or_else(String::new, |decision| decision.outcome_code.clone())
}

pub fn polls(received: &[Received]) -> usize {
    let is_poll = |request: &&Received| request.method == "GET";
    received.iter().filter(is_poll).count()
}

/// How many polls ended so.
pub async fn polled(gateway: &Gateway, result: &str) -> u64 {
    let name = format!("kora_gateway_reconciler_polls_total{{result=\"{result}\"}} ");
    let metrics = gateway.metrics().await;
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    count.map_or(0, |count| count.parse().unwrap())
}

/// Waits until at least so many have.
pub async fn wait_for_polls(gateway: &Gateway, result: &str, count: u64) {
    let wait = async { while polled(gateway, result).await < count {} };
    timeout(PATIENCE, wait).await.unwrap();
}

pub async fn wait_for_waiting(gateway: &Gateway, count: usize) {
    let metric = format!("{} {count}\n", of_tenant("store_polls_waiting"));
    gateway.wait_for_metric(&metric).await;
}

pub fn assert_reconciled(event: &pb::Event, kind: &str, outcome: &str) {
    assert_eq!(event.r#type, kind);
    assert_eq!(event.source(), EventSource::Reconciled);
    assert_eq!(outcome_of(event), outcome);
    assert!(event.event_id.starts_with("reconciled-"));
    assert_eq!(event.screening_id, SCREENING_ID);
}
