//! What the gateway refuses by itself: for want of room, time or order, and what is damaged on its disk.

use kora_gateway::pb;
use rusqlite::Connection;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::{
    deliveries::event,
    launch::Launch,
    marked::{self, NAME, WEBHOOK_SECRET},
    outputs::Outputs,
    process::Running,
};
use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID},
    deliveries::{Webhooks, signature_by},
    harness::TENANT_ID,
    requests::ask_at,
    scripted_kora::{Act, ScriptedKora},
    subscriber::{Subscriber, from_earliest},
};

/// Nothing listens there.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// More failures than open a circuit.
const MANY: usize = 20;

async fn screen(gateway: &Running, deadline: &str) -> Answer {
    let call = marked::call(Rpc::Screen).header("grpc-timeout", deadline);
    call.send(gateway.grpc()).await
}

/// Ends it, sees that its log tells of this reason, and looks.
async fn end(gateway: Running, mut outputs: Outputs, reason: &str) {
    let log = gateway.end(&mut outputs).await;
    assert!(log.contains(&format!("reason=\"{reason}\"")), "{log}");
    outputs.look();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_time_or_with_a_kora_that_is_away_are_told_of_by_reason() {
    let gateway = Launch::gateway(NO_KORA).start().await;
    let mut outputs = Outputs::default();
    let late = screen(&gateway, "5m").await;
    assert_eq!(late.reason(), "DEADLINE_BEFORE_SEND");
    outputs.add_answer("no time", &late);
    let mut reasons = Vec::new();
    for _ in 0..MANY {
        let failed = screen(&gateway, "300m").await;
        outputs.add_answer("nobody there", &failed);
        reasons.push(failed.reason());
    }
    assert!(reasons.iter().any(|reason| reason == "KORA_CIRCUIT_OPEN"));
    end(gateway, outputs, "KORA_CIRCUIT_OPEN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_find_no_room_are_told_of_by_reason() {
    let limited = Act::json(429, &marked::refusal("RATE_LIMITED")).with_header("retry-after", "60");
    let kora = ScriptedKora::start(limited).await;
    let gateway = Launch::gateway(&kora.base_url()).start().await;
    let mut outputs = Outputs::default();
    for reason in ["KORA_RATE_LIMITED", "RATE_PACED"] {
        let refused = screen(&gateway, "5S").await;
        assert_eq!(refused.reason(), reason);
        outputs.add_answer(reason, &refused);
    }
    end(gateway, outputs, "RATE_PACED").await;

    let (told, late) = Act::once_told(&marked::completed(SCREENING_ID));
    let kora = ScriptedKora::start(late).await;
    let launch = Launch::gateway(&kora.base_url()).flag("kora-timeout", "20s");
    let gateway = launch
        .flag("max-calls", "1")
        .flag("max-watch-streams", "1")
        .start()
        .await;
    let mut outputs = Outputs::default();
    let first = tokio::spawn(marked::call(Rpc::Screen).send(gateway.grpc()));
    kora.wait_for_requests(1).await;
    let refused = screen(&gateway, "5S").await;
    assert_eq!(refused.reason(), "GATEWAY_OVERLOADED");
    outputs.add_answer("no place", &refused);
    told.notify_one();
    first.await.unwrap().screening();
    let subscriber = Subscriber::connect(gateway.grpc()).await;
    let mut stream = subscriber.watch(from_earliest()).await.unwrap();
    stream.message().await;
    let filter = pb::EventFilter {
        subject_ids: vec![NAME.to_owned()],
        ..Default::default()
    };
    let another = pb::WatchEventsRequest {
        filter: Some(filter),
        ..from_earliest()
    };
    let Err(status) = subscriber.watch(another).await else {
        panic!("there is room for two streams");
    };
    outputs.add_status("no stream", &status);
    drop(stream);
    end(gateway, outputs, "TOO_MANY_STREAMS").await;
}

/// It connects to Kora when the gateway is told to stop, and nothing was sent.
#[tokio::test(flavor = "multi_thread")]
async fn calls_that_a_stop_ends_are_told_of_by_reason() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/MARKER", silent.local_addr().unwrap());
    let launch = Launch::gateway(&url).flag("kora-timeout", "20s");
    let gateway = launch.flag("drain-timeout", "2500ms").start().await;
    let mut outputs = Outputs::default();
    let call = tokio::spawn(marked::call(Rpc::Screen).send(gateway.grpc()));
    let _handshaking = silent.accept().await.unwrap();
    let log = gateway.end(&mut outputs).await;
    let answer = call.await.unwrap();
    assert_eq!(answer.reason(), "GATEWAY_DRAINING");
    outputs.add_answer("a stop", &answer);
    assert!(log.contains("reason=\"GATEWAY_DRAINING\""));
    outputs.look();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_told_of_by_its_place() {
    let kora = ScriptedKora::start(Act::json(200, &marked::completed(SCREENING_ID))).await;
    let directory = tempfile::tempdir().unwrap();
    let log = format!("file:{}", directory.path().display());
    let launch = || Launch::gateway(&kora.base_url()).flag("event-log", &log);
    let gateway = launch().start().await;
    let mut outputs = Outputs::default();
    let body = event("evt_1", NAME, marked::completed(SCREENING_ID));
    let signature = signature_by(WEBHOOK_SECRET, &body);
    let answer = Webhooks::to(gateway.webhook())
        .offer_signed(&body, signature)
        .await;
    assert_eq!(answer.status(), 200);
    let request = marked::screening_once(Uuid::new_v4());
    Call::new(Rpc::Screen, &request)
        .send(gateway.grpc())
        .await
        .screening();
    gateway.end(&mut outputs).await;

    let file = directory.path().join(format!("{TENANT_ID}.events.db"));
    let database = Connection::open(file).unwrap();
    for damage in [
        "UPDATE events SET raw = CAST(raw || x'4d41524b4552' AS BLOB)",
        "UPDATE request_ends SET answer = CAST(answer || x'4d41524b4552' AS BLOB)",
    ] {
        assert_eq!(database.execute(damage, []).unwrap(), 1);
    }
    drop(database);
    let gateway = launch().start().await;
    let asked = ask_at(gateway.grpc(), &request.request_id).await;
    assert_eq!(asked.reason(), "STORE_CORRUPT");
    outputs.add_answer("a damaged record", &asked);
    let again = Call::new(Rpc::Screen, &request).send(gateway.grpc()).await;
    assert_ne!(again.status.code(), tonic::Code::Ok);
    outputs.add_answer("a damaged record", &again);
    let subscriber = Subscriber::connect(gateway.grpc()).await;
    let mut stream = subscriber.watch(from_earliest()).await.unwrap();
    let status = loop {
        if let Err(status) = stream.next().await {
            break status;
        }
    };
    assert_eq!(status.code(), tonic::Code::DataLoss);
    outputs.add_status("a damaged event", &status);
    end(gateway, outputs, "STORE_CORRUPT").await;
}
