//! Two real gateways on one NATS server: one log, whichever of them is asked.

use std::{net::TcpListener, time::Duration};

use kora_gateway::pb::{self, RequestState};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tonic::Code;
use uuid::Uuid;

use crate::{
    call::{Call, Rpc, SCREENING_ID, screen_request},
    deliveries::Webhooks,
    harness::{Gateway, of_tenant},
    nats_server::NatsServer,
    requests::{ask, completed, is_replay, record, request, screen, start_screen},
    scripted_kora::{Act, ScriptedKora},
    subscriber::{EventStream, PATIENCE, Subscriber, after, from_earliest},
};

/// How long a test waits for NATS to be found again.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Nothing asks Kora here.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

async fn gateway(kora: &str, nats: &NatsServer) -> Gateway {
    Gateway::start(kora, &[("event-log", &nats.url())]).await
}

pub async fn pair(kora: &str, nats: &NatsServer) -> [Gateway; 2] {
    [gateway(kora, nats).await, gateway(kora, nats).await]
}

pub(super) async fn open(gateway: &Gateway, request: pb::WatchEventsRequest) -> EventStream {
    let subscriber = Subscriber::connect(gateway.grpc).await;
    subscriber.watch(request).await.unwrap()
}

/// Reads up to so many events, and returns their ids and the token after them.
async fn take(stream: &mut EventStream, count: usize) -> (Vec<String>, String) {
    let (mut ids, mut token) = (Vec::new(), String::new());
    while ids.len() < count {
        let message = stream.message().await;
        ids.extend(message.events.into_iter().map(|event| event.event_id));
        token = message.resume_token;
    }
    (ids, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_posted_to_either_reaches_the_subscribers_of_both() {
    let nats = NatsServer::start();
    let [one, other] = pair(NO_KORA, &nats).await;
    let mut streams = [
        open(&one, from_earliest()).await,
        open(&other, from_earliest()).await,
    ];
    let mut expected = Vec::new();
    for number in 0..20 {
        let posted_to = if number % 2 == 0 { &one } else { &other };
        let id = format!("evt_{number}");
        let webhooks = Webhooks::to(posted_to.webhook);
        webhooks.deliver_event(&id, "case.closed").await;
        expected.push(id);
    }
    // Again, to the other one each: it is known there.
    for number in 0..20 {
        let posted_to = if number % 2 == 0 { &other } else { &one };
        let webhooks = Webhooks::to(posted_to.webhook);
        webhooks
            .deliver_event(&format!("evt_{number}"), "case.closed")
            .await;
    }
    Webhooks::to(one.webhook)
        .deliver_event("last", "case.closed")
        .await;
    expected.push("last".to_owned());
    let mut tokens = Vec::new();
    for stream in &mut streams {
        let (ids, token) = take(stream, expected.len()).await;
        assert_eq!(ids, expected);
        tokens.push(token);
    }
    assert_eq!(tokens[0], tokens[1]);
    for gateway in [one, other] {
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_goes_on_at_the_other() {
    let nats = NatsServer::start();
    let [one, other] = pair(NO_KORA, &nats).await;
    let webhooks = Webhooks::to(one.webhook);
    webhooks.deliver_event("a", "case.closed").await;
    let (ids, token) = take(&mut open(&one, from_earliest()).await, 1).await;
    assert_eq!(ids, ["a"]);
    // The other one has it too.
    take(&mut open(&other, from_earliest()).await, 1).await;
    one.stop().await;
    let mut stream = open(&other, after(&token)).await;
    Webhooks::to(other.webhook)
        .deliver_event("b", "case.closed")
        .await;
    assert_eq!(take(&mut stream, 1).await.0, ["b"]);
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_at_one_is_waited_for_at_the_other_and_sent_once() {
    let nats = NatsServer::start();
    let (told, late) = Act::once_told(&json!({
        "screening_id": SCREENING_ID,
        "status": "COMPLETED",
        "decision": {"outcome": "APPROVE", "triggered_rules": [], "explanation": "none"},
    }));
    let kora = ScriptedKora::start(late).await;
    let [one, other] = pair(&kora.base_url(), &nats).await;
    let id = Uuid::new_v4();
    let first = start_screen(&one, request(id));
    kora.wait_for_requests(1).await;
    for gateway in [&one, &other] {
        assert_eq!(record(gateway, id).await.state(), RequestState::InFlight);
    }
    // One that has no time waits in vain, and knows nothing.
    let impatient = Call::new(Rpc::Screen, &request(id))
        .header("grpc-timeout", "1S")
        .send(other.grpc)
        .await;
    assert_eq!(impatient.status.code(), Code::DeadlineExceeded);
    assert_eq!(impatient.outcome().as_deref(), Some("UNKNOWN"));
    let mut different = request(id);
    different.purpose = pb::ScreeningPurpose::Periodic.into();
    assert_eq!(
        screen(&other, &different).await.reason(),
        "REQUEST_ID_REUSED"
    );
    let second = start_screen(&other, request(id));
    told.notify_one();
    let first = first.await.unwrap();
    let second = second.await.unwrap();
    assert_eq!(first.screening().screening_id, SCREENING_ID);
    assert_eq!(first.screening(), second.screening());
    assert!(is_replay(&second) && !is_replay(&first));
    assert_eq!(kora.take_received().len(), 1);
    for gateway in [one, other] {
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nats_is_away_nothing_is_lost_and_nothing_is_sent_that_needs_it() {
    let mut nats = NatsServer::start();
    let kora = ScriptedKora::start(completed()).await;
    let gateway = gateway(&kora.base_url(), &nats).await;
    let webhooks = Webhooks::to(gateway.webhook);
    webhooks.deliver_event("a", "case.closed").await;
    let mut stream = open(&gateway, from_earliest()).await;
    take(&mut stream, 1).await;

    nats.kill();
    let unwritable = format!("{} 0", of_tenant("store_writable"));
    gateway.wait_for_metric(&unwritable).await;
    let (status, retry_after) = webhooks.offer_event("b", "case.closed").await;
    assert_eq!((status, retry_after), (503, true));
    let id = Uuid::new_v4();
    // At once: NATS is known to be away, and the caller has less time than NATS is given to answer.
    let refused = Call::new(Rpc::Screen, &request(id)).header("grpc-timeout", "4S");
    let refused = refused.send(gateway.grpc).await;
    assert_eq!(refused.status.code(), Code::Unavailable);
    assert_eq!(refused.reason(), "STORE_UNAVAILABLE");
    assert_eq!(refused.outcome().as_deref(), Some("NOT_SENT"));
    assert_eq!(
        ask(&gateway, &id.to_string()).await.reason(),
        "STORE_UNAVAILABLE"
    );
    assert!(kora.take_received().is_empty());
    // Without an id there is nothing to record.
    screen(&gateway, &screen_request()).await.screening();
    assert_eq!(kora.take_received().len(), 1);
    assert_eq!(ready(&gateway.admin.to_string()).await, Some(200));

    nats.resume();
    let back = async {
        while webhooks.offer_event("b", "case.closed").await.0 != 200 {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(LONG_PATIENCE, back).await.unwrap();
    // The stream was open all the while.
    assert_eq!(take(&mut stream, 1).await.0, ["b"]);
    let sent = screen(&gateway, &request(id)).await;
    assert_eq!(sent.screening().screening_id, SCREENING_ID);
    gateway.stop().await;
}

/// What `/readyz` says; `None` if nobody answers.
pub(super) async fn ready(admin: &str) -> Option<u16> {
    let answer = reqwest::get(format!("http://{admin}/readyz")).await;
    answer.ok().map(|answer| answer.status().as_u16())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_ready_when_nats_is_there_and_answers_its_orchestrator_before() {
    let mut nats = NatsServer::start();
    nats.kill();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = free.local_addr().unwrap().to_string();
    drop(free);
    let flags = [("event-log", nats.url()), ("admin-addr", admin.clone())];
    let starting = tokio::spawn(async move {
        let flags = flags
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        Gateway::start(NO_KORA, &flags).await
    });
    let answers = async {
        while ready(&admin).await != Some(503) {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, answers).await.unwrap();
    assert!(!starting.is_finished());
    nats.resume();
    let gateway = timeout(LONG_PATIENCE, starting).await.unwrap().unwrap();
    assert_eq!(ready(&admin).await, Some(200));
    gateway.stop().await;
}
