//! A log on NATS that goes away and comes back.

use uuid::Uuid;

use super::{
    deliveries::event,
    launch::Launch,
    marked::{self, NAME, WEBHOOK_SECRET},
    outputs::Outputs,
    process::{PATIENCE, Running},
};
use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID},
    deliveries::{Webhooks, signature_by},
    harness::TENANT_ID,
    nats_server::NatsServer,
    requests::ask_at,
    scripted_kora::{Act, ScriptedKora},
    subscriber::{Subscriber, from_earliest},
};

async fn screen(gateway: &Running) -> Answer {
    let request = marked::screening_once(Uuid::new_v4());
    marked::with_metadata(Call::new(Rpc::Screen, &request))
        .send(gateway.grpc())
        .await
}

async fn offer(gateway: &Running, id: &str) -> u16 {
    let body = event(id, NAME, marked::completed(SCREENING_ID));
    let signature = signature_by(WEBHOOK_SECRET, &body);
    let answer = Webhooks::to(gateway.webhook())
        .offer_signed(&body, signature)
        .await;
    answer.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_goes_away_is_told_of_and_nothing_that_was_to_be_kept() {
    let kora = ScriptedKora::start(Act::json(200, &marked::completed(SCREENING_ID))).await;
    let mut nats = NatsServer::start();
    let launch = Launch::gateway(&kora.base_url());
    let launch = launch
        .flag("event-log", &nats.url())
        .flag("retention-size", "1MiB");
    let mut gateway = launch.start().await;
    let mut outputs = Outputs::default();
    assert_eq!(offer(&gateway, "evt_1").await, 200);
    screen(&gateway).await.screening();

    nats.kill();
    gateway.wait_for_log("the connection to NATS is lost").await;
    assert_eq!(offer(&gateway, "evt_2").await, 503);
    let not_kept = screen(&gateway).await;
    assert_eq!(not_kept.reason(), "STORE_UNAVAILABLE");
    outputs.add_answer("no store", &not_kept);
    let asked = ask_at(gateway.grpc(), &Uuid::new_v4().to_string()).await;
    assert_eq!(asked.reason(), "STORE_UNAVAILABLE");
    outputs.add_answer("no store", &asked);

    nats.resume();
    let again = async { while offer(&gateway, "evt_2").await != 200 {} };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
    let subscriber = Subscriber::connect(gateway.grpc()).await;
    let events = subscriber
        .watch(from_earliest())
        .await
        .unwrap()
        .past()
        .await;
    assert_eq!(events.len(), 2);
    let log = gateway.end(&mut outputs).await;
    assert!(log.contains("a webhook was not kept") && log.contains("STORE_UNAVAILABLE"));
    // Whose log it is.
    let mut lines = log.lines().filter(|line| line.contains(" the event log "));
    let name = format!("log=\"kora-gateway-{TENANT_ID}-events\"");
    assert!(
        lines.next().is_some_and(|line| line.contains(&name)),
        "{log}"
    );
    assert!(lines.all(|line| line.contains(&name)), "{log}");
    outputs.look();
}
