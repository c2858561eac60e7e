//! A log that is broken at one gateway: its streams end and its orchestrator is told, and the others go on.

use std::time::Duration;

use kora_gateway::pb;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::gateways::{open, ready};
use crate::{
    deliveries::Webhooks,
    harness::Gateway,
    nats_server::NatsServer,
    subscriber::{EventStream, assert_failure, from_earliest},
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Nothing asks Kora here.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// Reads to the end of the stream, which sends clients elsewhere.
async fn until_sent_elsewhere(mut stream: EventStream) {
    let failure = loop {
        match stream.next_within(PATIENCE).await {
            Ok(message) => assert!(message.is_some(), "it ends with an error"),
            Err(failure) => break failure,
        }
    };
    assert_failure(&failure, Code::Unavailable, "STORE_UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_log_ends_its_streams_and_takes_its_gateway_alone_out_of_readiness() {
    let mut nats = NatsServer::start();
    let gateway = Gateway::start(NO_KORA, &[("event-log", &nats.url())]).await;
    let webhooks = Webhooks::to(gateway.webhook);
    webhooks.deliver_event("a", "case.closed").await;
    let filtered = pb::WatchEventsRequest {
        filter: Some(pb::EventFilter {
            subject_ids: vec!["nobody".to_owned()],
            ..Default::default()
        }),
        ..from_earliest()
    };
    let mut streams = [
        open(&gateway, from_earliest()).await,
        open(&gateway, filtered).await,
    ];
    for stream in &mut streams {
        stream.past().await;
    }

    nats.lose_everything();
    let other = Gateway::start(NO_KORA, &[("event-log", &nats.url())]).await;
    let out = async {
        while ready(&gateway.admin.to_string()).await != Some(503) {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, out).await.expect("out of readiness");
    for stream in streams {
        until_sent_elsewhere(stream).await;
    }
    until_sent_elsewhere(open(&gateway, from_earliest()).await).await;
    assert_eq!(webhooks.offer_event("b", "case.closed").await, (503, true));

    let webhooks = Webhooks::to(other.webhook);
    webhooks.deliver_event("b", "case.closed").await;
    assert_eq!(ready(&other.admin.to_string()).await, Some(200));
    for gateway in [gateway, other] {
        gateway.stop().await;
    }
}
