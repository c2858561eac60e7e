//! Limits that somebody else sets on NATS: what no longer fits is refused for good, and nothing else is.

use std::time::Duration;

use kora_gateway::{pb::event::Payload, store::jetstream::OpenError};
use reqwest::StatusCode;
use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use super::{assert_writable, gateway_on, screening, swelling, webhook};
use crate::{
    call::SCREENING_ID,
    deliveries::Webhooks,
    harness::{Gateway, TENANT_ID},
    log_laws::NatsPlace,
    nats_server::NatsServer,
    reconciler::{
        SOON, events, polled, screen as screen_without_id, wait_for_polls, wait_for_waiting,
    },
    requests::{request, screen},
    scripted_kora::{Act, ScriptedKora},
    subscriber::PATIENCE,
};

/// The least that the gateway accepts.
const MIN_MAX_PAYLOAD: usize = 256 << 10;

/// How long a webhook is offered again: longer than a write may take, and the client's reconnect with it.
const OFFERED_FOR: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_server_whose_messages_are_too_small_is_refused_by_the_settings_name() {
    for (max_payload, is_enough) in [
        (64 << 10, false),
        (MIN_MAX_PAYLOAD - 1, false),
        (MIN_MAX_PAYLOAD, true),
    ] {
        let server = NatsServer::start_limited(&[], Some(max_payload));
        match NatsPlace::on(server).try_open().await {
            Ok(_) => assert!(is_enough, "{max_payload}"),
            Err(OpenError::Misconfigured(text)) => {
                assert!(!is_enough, "{max_payload}: {text}");
                let needed = MIN_MAX_PAYLOAD.to_string();
                assert!(
                    text.contains("max_payload") && text.contains(&needed),
                    "{text}"
                );
            }
            Err(error) => panic!("{max_payload}: {error}"),
        }
    }
}

/// Offers a webhook until it gets an answer other than "try again".
async fn offer_until_decided(webhooks: &Webhooks, body: &str) -> StatusCode {
    let decided = async {
        loop {
            let status = webhooks.offer(body.as_bytes()).await.status();
            if status != StatusCode::SERVICE_UNAVAILABLE {
                return status;
            }
        }
    };
    timeout(OFFERED_FOR, decided).await.unwrap()
}

/// The server tells its clients only when it refuses a message.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_lowered_while_connected_is_told_and_followed() {
    let mut nats = NatsServer::start();
    let kora = ScriptedKora::start(Act::json(200, &swelling())).await;
    let gateway = gateway_on(&nats, &kora).await;
    let webhooks = Webhooks::to(gateway.webhook);
    nats.reload_max_payload(300 << 10);

    let text = "x".repeat(400_000);
    let too_large = webhook("too-large", "some.kind", &json!({ "text": text }));
    assert_eq!(offer_until_decided(&webhooks, &too_large).await, 413);
    gateway
        .wait_for_metric("store_nats_max_payload_bytes 307200\n")
        .await;
    let found = json!({"screening_id": "scr_9", "match": {"n": vec![1; 100_000]}});
    let ones = webhook("swelling", "screening.match_found", &found);
    assert_eq!(offer_until_decided(&webhooks, &ones).await, 200);
    webhooks.deliver_event("small", "some.kind").await;
    assert_writable(&gateway).await;
    let events = events(&gateway).await;
    assert_eq!(events.len(), 2);
    assert!(events[0].raw_json == ones.as_bytes());
    assert_eq!(events[0].screening_id, "scr_9");
    let Some(Payload::MatchFound(found)) = &events[0].payload else {
        panic!("no payload");
    };
    assert!(found.r#match.as_ref().unwrap().fields_omitted);

    // A paid answer is kept as far as there is room.
    let id = Uuid::new_v4();
    let first = screen(&gateway, &request(id)).await.screening();
    let again = screen(&gateway, &request(id)).await.screening();
    assert_eq!(again.screening_id, first.screening_id);
    assert_eq!(again.decision, first.decision);
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

/// Answers of the server's that concern one message: with `max_msg_size` on the stream.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_can_never_be_stored_harms_no_other_and_is_not_polled_for_ever() {
    let nats = NatsServer::start();
    let pending =
        json!({"screening_id": SCREENING_ID, "subject_id": "subj_1", "status": "PENDING"});
    let kora = ScriptedKora::start(Act::json(200, &pending)).await;
    let url = nats.url();
    let flags = [("event-log", url.as_str())];
    let gateway = Gateway::start_with(&kora.base_url(), &flags, |config| {
        config.reconciler.first_pause = SOON;
        config.reconciler.max_pause = SOON;
        config.reconciler.max_age = 5 * SOON;
    })
    .await;
    let webhooks = Webhooks::to(gateway.webhook);
    let client = nats.client().await;
    let stream = client
        .get_stream(format!("kora-gateway-{TENANT_ID}-events"))
        .await;
    let mut config = stream.unwrap().cached_info().config.clone();
    config.max_message_size = 4_000;
    client.update_stream(config).await.unwrap();

    let large = webhook("large", "some.kind", &json!({ "text": "x".repeat(5_000) }));
    let refused = webhooks.offer(large.as_bytes()).await;
    assert_eq!(refused.status(), 413);
    assert!(!refused.headers().contains_key("retry-after"));
    assert_writable(&gateway).await;
    webhooks.deliver_event("small", "some.kind").await;

    screen_without_id(&gateway).await;
    let found = json!({"id": "m", "text": "x".repeat(5_000)});
    kora.act(Act::json(200, &screening(vec![found])));
    wait_for_polls(&gateway, "failed", 1).await;
    assert_writable(&gateway).await;
    gateway
        .wait_for_metric("reconciler_given_up_total 1\n")
        .await;
    wait_for_waiting(&gateway, 0).await;
    assert_eq!(polled(&gateway, "reconciled").await, 0);
    assert_writable(&gateway).await;
    timeout(PATIENCE, gateway.stop()).await.unwrap();
}
