//! What a newer version of the gateway wrote is no damage: this one says that it cannot follow, and touches nothing.

use async_nats::jetstream::{Context, stream::Stream};
use kora_gateway::{pb, store::jetstream::OpenError};
use tokio::time::timeout;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    deliveries::Webhooks,
    harness::{Gateway, TENANT_ID},
    log_laws::{NatsPlace, Place, append},
    nats_server::NatsServer,
    requests::{ask, completed, is_replay, request, screen},
    scripted_kora::ScriptedKora,
    subscriber::{EventStream, PATIENCE, Subscriber, assert_failure, from_earliest},
};

/// The field that tells a format, with one that nobody has used yet. At the end of a message it is the one that counts.
const NEWER: &[u8] = &[0x08, 0x7f];

async fn stream(client: &Context, name: &str) -> Stream {
    client.get_stream(name).await.unwrap()
}

/// Writes what is there under a subject again, in a newer format.
async fn write_newer(client: &Context, stream: &Stream, subject: &str) -> u64 {
    let last = stream.get_last_raw_message_by_subject(subject).await;
    let last = last.unwrap();
    let payload = [&last.payload[..], NEWER].concat();
    let published = client.publish(last.subject, payload.into()).await;
    published.unwrap().await.unwrap().sequence
}

async fn gateway_on(nats: &NatsServer, kora: &ScriptedKora) -> Gateway {
    Gateway::start(&kora.base_url(), &[("event-log", &nats.url())]).await
}

async fn readyz(gateway: &Gateway) -> (u16, String) {
    let url = format!("http://{}/readyz", gateway.admin);
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn wait_until_ready(gateway: &Gateway, is_ready: bool) -> String {
    let reached = async {
        loop {
            let (status, text) = readyz(gateway).await;
            if (status == 200) == is_ready {
                return text;
            }
        }
    };
    timeout(PATIENCE, reached).await.unwrap()
}

async fn failure_of(mut stream: EventStream) -> Status {
    loop {
        match stream.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended well"),
            Err(status) => return status,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_meets_a_newer_event_goes_out_of_service_until_the_event_is_gone() {
    let nats = NatsServer::start();
    let kora = ScriptedKora::start(completed()).await;
    let gateway = gateway_on(&nats, &kora).await;
    let webhooks = Webhooks::to(gateway.webhook);
    webhooks.deliver_event("a", "some.kind").await;
    let subscriber = Subscriber::connect(gateway.grpc).await;
    let everything = subscriber.watch(from_earliest()).await.unwrap();
    let mut filtered = from_earliest();
    filtered.filter = Some(pb::EventFilter {
        types: vec!["another.kind".to_owned()],
        ..Default::default()
    });
    let filtered = subscriber.watch(filtered).await.unwrap();
    assert_eq!(readyz(&gateway).await.0, 200);

    let client = nats.client().await;
    let mut events = stream(&client, &format!("kora-gateway-{TENANT_ID}-events")).await;
    let subject = format!("kora-gateway.{TENANT_ID}.events");
    assert_eq!(write_newer(&client, &events, &subject).await, 2);

    let told = wait_until_ready(&gateway, false).await;
    assert!(
        told.contains("newer version") && told.contains("format 127"),
        "{told}"
    );
    for open in [everything, filtered] {
        let status = failure_of(open).await;
        assert_failure(&status, Code::Unavailable, "STORE_UNAVAILABLE");
    }
    let anew = subscriber.watch(from_earliest()).await.unwrap();
    assert_failure(
        &failure_of(anew).await,
        Code::Unavailable,
        "STORE_UNAVAILABLE",
    );
    let refused = webhooks.offer_event("b", "some.kind").await;
    assert_eq!(refused, (503, true));
    assert_eq!(events.info().await.unwrap().state.last_sequence, 2);

    // Its retention passes.
    events.purge().sequence(3).await.unwrap();
    wait_until_ready(&gateway, true).await;
    webhooks.deliver_event("b", "some.kind").await;
    let mut anew = subscriber.watch(from_earliest()).await.unwrap();
    let past = timeout(PATIENCE, anew.past()).await.unwrap();
    assert_eq!(past.len(), 1);
    assert_eq!(past[0].event_id, "b");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_with_a_newer_event_or_is_of_a_newer_form_is_refused_by_name() {
    for (name, subject) in [
        ("kora-gateway-tenant-events", "kora-gateway.tenant.events"),
        (
            "KV_kora-gateway-tenant-records",
            "$KV.kora-gateway-tenant-records.log",
        ),
    ] {
        let place = NatsPlace::new().await;
        let log = place.open().await;
        append(&log, "a").await;
        log.close().await;
        let client = place.server.client().await;
        let stream = stream(&client, name).await;
        write_newer(&client, &stream, subject).await;
        match place.try_open().await {
            Err(OpenError::Refused(text)) => {
                assert!(
                    text.contains("newer version") && text.contains("127"),
                    "{text}"
                );
            }
            Err(error) => panic!("{name}: {error}"),
            Ok(_) => panic!("{name}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_record_is_newer_is_never_sent_again() {
    let nats = NatsServer::start();
    let kora = ScriptedKora::start(completed()).await;
    let gateway = gateway_on(&nats, &kora).await;
    let id = Uuid::new_v4();
    screen(&gateway, &request(id)).await.screening();
    let client = nats.client().await;
    let bucket = stream(&client, &format!("KV_kora-gateway-{TENANT_ID}-requests")).await;
    let subject = format!("$KV.kora-gateway-{TENANT_ID}-requests.request.*.{id}");
    let revision = write_newer(&client, &bucket, &subject).await;

    for _ in 0..2 {
        let answer = screen(&gateway, &request(id)).await;
        assert_eq!(answer.reason(), "STORE_UNAVAILABLE");
        assert_eq!(answer.outcome().as_deref(), Some("NOT_SENT"));
    }
    assert_eq!(
        ask(&gateway, &id.to_string()).await.reason(),
        "STORE_UNAVAILABLE"
    );
    let kept = bucket
        .get_last_raw_message_by_subject(&subject)
        .await
        .unwrap();
    assert_eq!(kept.sequence, revision, "nobody wrote over it");
    assert_eq!(kora.take_received().len(), 1);
    let other = Uuid::new_v4();
    screen(&gateway, &request(other)).await.screening();
    assert!(is_replay(&screen(&gateway, &request(other)).await));
    gateway.stop().await;
}
