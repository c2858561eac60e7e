//! What is larger than NATS takes is cut and kept, not lost.

use kora_gateway::pb::{self, event::Payload};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    call::SCREENING_ID,
    deliveries::Webhooks,
    harness::Gateway,
    nats_server::NatsServer,
    requests::{is_replay, request, screen},
    scripted_kora::{Act, ScriptedKora},
    subscriber::{Subscriber, from_earliest},
};

/// A screening of 300 KB as JSON, and of more than a MiB as protobuf: more than NATS takes by default.
fn swelling() -> Value {
    let found = |place: u32| json!({ "id": format!("m{place}"), "n": vec![1; 5_000] });
    json!({
        "screening_id": SCREENING_ID, "subject_id": "subj_1", "status": "COMPLETED",
        "decision": {"outcome": "BLOCK"}, "matches": (0..30).map(found).collect::<Vec<_>>(),
    })
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

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_and_an_answer_that_nats_would_refuse_are_kept_without_some_fields() {
    let nats = NatsServer::start();
    let kora = ScriptedKora::start(Act::json(200, &swelling())).await;
    let flags = [
        ("event-log", nats.url()),
        ("webhook-max-bytes", "400KiB".to_owned()),
    ];
    let flags = flags
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let gateway = Gateway::start(&kora.base_url(), &flags).await;
    let body = json!({"id": "evt_1", "event": "screening.completed", "data": swelling()});
    let body = body.to_string();
    let webhooks = Webhooks::to(gateway.webhook);
    webhooks.deliver(body.as_bytes()).await;

    let subscriber = Subscriber::connect(gateway.grpc).await;
    let request_all = pb::WatchEventsRequest {
        include_raw_json: true,
        ..from_earliest()
    };
    let events = subscriber.watch(request_all).await.unwrap().past().await;
    let [event] = &events[..] else {
        panic!("not one event");
    };
    assert_eq!(event.raw_json, body.as_bytes(), "Kora signed it");
    let Some(Payload::ScreeningUpdate(update)) = &event.payload else {
        panic!("no payload");
    };
    check(update.screening.as_ref().unwrap());

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
