//! What is larger than NATS takes is cut and kept, not lost; what can never fit is refused once and harms nothing else.

mod limits;

use kora_gateway::pb::{self, event::Payload};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    call::SCREENING_ID,
    deliveries::Webhooks,
    harness::{Gateway, of_tenant},
    nats_server::NatsServer,
    reconciler::{SOON, events, screen as screen_without_id, wait_for_waiting},
    requests::{is_replay, request, screen},
    scripted_kora::{Act, ScriptedKora},
};

/// The largest webhook with the default `max_payload` of 1 MiB.
const WEBHOOK_LIMIT: usize = ((1 << 20) - (64 << 10)) / 2;

/// A gateway on this server that polls soon.
async fn gateway_on(nats: &NatsServer, kora: &ScriptedKora) -> Gateway {
    let url = nats.url();
    let flags = [("event-log", url.as_str())];
    Gateway::start_with(&kora.base_url(), &flags, |config| {
        config.reconciler.first_pause = SOON;
        config.reconciler.max_pause = SOON;
    })
    .await
}

async fn assert_writable(gateway: &Gateway) {
    let metric = format!("{} 1\n", of_tenant("store_writable"));
    assert!(gateway.metrics().await.contains(&metric));
}

/// A finished screening with these matches.
fn screening(matches: Vec<Value>) -> Value {
    json!({
        "screening_id": SCREENING_ID, "subject_id": "subj_1", "status": "COMPLETED",
        "decision": {"outcome": "BLOCK"}, "matches": matches,
    })
}

/// One of 300 KB as JSON, and of more than a MiB as protobuf: more than NATS takes by default.
fn swelling() -> Value {
    let found = |place: u32| json!({ "id": format!("m{place}"), "n": vec![1; 5_000] });
    screening((0..30).map(found).collect())
}

fn webhook(id: &str, kind: &str, data: &Value) -> String {
    json!({"id": id, "event": kind, "data": data}).to_string()
}

/// Blanks between two tokens, which JSON allows, up to this size.
fn padded(body: &str, size: usize) -> String {
    let blanks = " ".repeat(size - body.len());
    body.replacen('{', &format!("{{{blanks}"), 1)
}

fn check(screening: &pb::Screening) {
    assert_eq!(screening.matches.len(), 30);
    assert!(screening.matches[0].fields.is_some());
    assert!(screening.matches[29].fields_omitted);
    assert_eq!(
        screening.decision.as_ref().unwrap().outcome(),
        pb::Outcome::Block
    );
}

fn screening_of(event: &pb::Event) -> &pb::Screening {
    let Some(Payload::ScreeningUpdate(update)) = &event.payload else {
        panic!("no payload");
    };
    update.screening.as_ref().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_and_an_answer_that_nats_would_refuse_are_kept_without_some_fields() {
    let nats = NatsServer::start();
    let kora = ScriptedKora::start(Act::json(200, &swelling())).await;
    let gateway = gateway_on(&nats, &kora).await;
    let body = webhook("evt_1", "screening.completed", &swelling());
    Webhooks::to(gateway.webhook).deliver(body.as_bytes()).await;
    let [event] = &events(&gateway).await[..] else {
        panic!("not one event");
    };
    assert_eq!(event.raw_json, body.as_bytes(), "Kora signed it");
    check(screening_of(event));

    let id = Uuid::new_v4();
    let first = screen(&gateway, &request(id)).await.screening();
    assert!(
        first.matches[29].fields.is_some(),
        "clients can take it all"
    );
    let again = screen(&gateway, &request(id)).await;
    assert!(is_replay(&again));
    check(&again.screening());
    assert_eq!(kora.take_received().len(), 1);
    let metrics = gateway.metrics().await;
    for name in ["store_events_cut", "requests_answers_cut"] {
        let metric = format!("{name}_total{{part=\"match_fields\"}} 1\n");
        assert!(metrics.contains(&metric), "{name}");
    }
    gateway.stop().await;
}

/// Numbers take up to 5.5 times as much as protobuf, and matches have names that JSON has once for all of them.
#[tokio::test(flavor = "multi_thread")]
async fn every_signed_webhook_within_the_limit_is_kept_with_its_body() {
    let nats = NatsServer::start();
    let kora = ScriptedKora::start(Act::json(500, &json!({}))).await;
    let gateway = gateway_on(&nats, &kora).await;
    let webhooks = Webhooks::to(gateway.webhook);
    let ones = |bytes: usize| {
        let ones = json!({"id": "m", "n": vec![1; bytes / 2]});
        json!({"screening_id": "scr_9", "subject_id": "s", "status": "COMPLETED", "match": ones})
    };
    let many = (0..2_500).map(|place| json!({"id": format!("m{place}"), "text": "x".repeat(150)}));
    let many = screening(many.collect());
    let mut bodies = vec![
        webhook("completed", "screening.completed", &many),
        "[".to_owned() + &"1,".repeat(100_000) + "1]",
        "no JSON ".repeat(WEBHOOK_LIMIT / 8),
    ];
    for (number, kind) in [
        "screening.match_found",
        "risk.threshold_breached",
        "screening.completed",
        "case.updated",
        "some.other",
    ]
    .into_iter()
    .enumerate()
    {
        let swelling = webhook(&format!("200KB-{number}"), kind, &ones(200_000));
        let largest = webhook(
            &format!("limit-{number}"),
            kind,
            &ones(WEBHOOK_LIMIT - 1_000),
        );
        bodies.extend([swelling, padded(&largest, WEBHOOK_LIMIT)]);
    }
    for body in &bodies {
        assert!(
            body.len() > 190_000 && body.len() <= WEBHOOK_LIMIT,
            "{}",
            body.len()
        );
        webhooks.deliver(body.as_bytes()).await;
    }
    assert_writable(&gateway).await;
    let events = events(&gateway).await;
    assert_eq!(events.len(), bodies.len());
    for (event, body) in events.iter().zip(&bodies) {
        assert!(event.raw_json == body.as_bytes(), "{}", event.event_id);
    }
    assert!(screening_of(&events[0]).matches.len() > 1_000);
    let too_large = padded(&bodies[0], WEBHOOK_LIMIT + 1);
    assert_eq!(webhooks.offer(too_large.as_bytes()).await.status(), 413);
    gateway.stop().await;
}

/// What Kora answers to a poll is as large as it likes.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_screening_is_recorded_however_large_the_answer_is() {
    for (size, has_body) in [(200_000, false), (900_000, true), (3_000_000, false)] {
        let nats = NatsServer::start();
        let pending =
            json!({"screening_id": SCREENING_ID, "subject_id": "subj_1", "status": "PENDING"});
        let kora = ScriptedKora::start(Act::json(200, &pending)).await;
        let gateway = gateway_on(&nats, &kora).await;
        screen_without_id(&gateway).await;
        let ones = json!({"id": "m", "n": vec![1; size / 2]});
        kora.act(Act::json(200, &screening(vec![ones])));
        wait_for_waiting(&gateway, 0).await;
        let [event] = &events(&gateway).await[..] else {
            panic!("not one event");
        };
        assert_eq!(event.source(), pb::EventSource::Reconciled);
        let screening = screening_of(event);
        assert_eq!(screening.decision.as_ref().unwrap().outcome_code, "BLOCK");
        assert_eq!(event.raw_json_omitted, !has_body, "{size}");
        assert_writable(&gateway).await;
        gateway.stop().await;
    }
}
