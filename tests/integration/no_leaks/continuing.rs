//! What goes on after its answer: SYNC screenings as ASYNC ones, and polls for ends that never come.

use jiff::Timestamp;
use kora_gateway::{
    clock::Clock,
    pb::{self, ScreeningStatus},
    store::{self, PollLog, Sqlite},
};
use prometheus_client::registry::Registry;
use serde_json::json;
use uuid::Uuid;

use super::{deliveries::event, launch::Launch, marked, outputs::Outputs};
use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID},
    deliveries::{Webhooks, signature_by},
    harness::TENANT_ID,
    scripted_kora::{Act, ScriptedKora},
    subscriber::{Subscriber, from_earliest},
};

/// Longer than anything is kept here.
const LONG: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

fn going_on() -> pb::ScreenRequest {
    pb::ScreenRequest {
        on_timeout: pb::TimeoutPolicy::ContinueAsync.into(),
        include_raw_json: true,
        ..marked::screening_once(Uuid::new_v4())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn screenings_that_go_on_are_told_to_their_callers_alone() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Launch::gateway(&kora.base_url())
        .flag("kora-timeout", "5s")
        .start()
        .await;
    let grpc = gateway.grpc();
    let mut outputs = Outputs::default();
    let call = |deadline: &str| {
        let call = marked::with_metadata(Call::new(Rpc::Screen, &going_on()));
        tokio::spawn(call.header("grpc-timeout", deadline).send(grpc))
    };
    let timeout = Act::json(503, &marked::refusal("SCREENING_TIMEOUT"));
    // Its event comes in time.
    let pending = Act::json(202, &marked::screened(SCREENING_ID, "PENDING"));
    kora.act(first_then(&timeout, pending));
    let waiting = call("20S");
    kora.wait_for_requests(2).await;
    let body = event(
        "evt_1",
        "screening.completed",
        marked::completed(SCREENING_ID),
    );
    let webhooks = Webhooks::to(gateway.webhook());
    let signature = signature_by(marked::WEBHOOK_SECRET, &body);
    assert_eq!(webhooks.offer_signed(&body, signature).await.status(), 200);
    let finished = waiting.await.unwrap();
    assert_eq!(finished.screening().status(), ScreeningStatus::Completed);
    outputs.add_answer("finished in time", &finished);
    // It does not.
    let late: Answer = {
        let pending = Act::json(202, &marked::screened("scr_2", "IN_PROGRESS"));
        kora.act(first_then(&timeout, pending));
        call("1S").await.unwrap()
    };
    assert_ne!(late.screening().status(), ScreeningStatus::Completed);
    outputs.add_answer("not finished", &late);
    // Something stops it.
    for stops in [
        Act::json(422, &marked::complaint()),
        Act::json(200, &marked::screened("scr_3", "FAILED")),
        Act::Write(b"MARKER of no HTTP\r\n\r\n".to_vec()),
    ] {
        kora.act(first_then(&timeout, stops));
        let stopped = call("10S").await.unwrap();
        assert_eq!(stopped.reason(), "KORA_SCREENING_TIMEOUT");
        outputs.add_answer("stopped", &stopped);
    }
    let log = gateway.end(&mut outputs).await;
    let failed = log.lines().filter(|line| line.contains("call failed"));
    let timeouts = failed.filter(|line| line.contains("KORA_SCREENING_TIMEOUT"));
    assert_eq!(timeouts.count(), 3);
    outputs.look();
}

/// This for a SYNC screening, that for an ASYNC one.
fn first_then(sync: &Act, for_async: Act) -> Act {
    let sync = sync.clone();
    Act::scripted(move |received| match received.is_async() {
        true => for_async.clone(),
        false => sync.clone(),
    })
}

/// The polls are due when the gateway starts: by itself it makes none that is due before 30 s.
#[tokio::test(flavor = "multi_thread")]
async fn what_polls_find_is_told_to_subscribers_alone() {
    let kora = ScriptedKora::start(Act::scripted(|received| {
        match received.path.rsplit('/').next() {
            Some("scr_ends") => Act::json(200, &marked::completed("scr_ends")),
            Some("scr_waits") => Act::json(200, &marked::screened("scr_waits", "PENDING")),
            Some("scr_refused") => Act::json(422, &marked::complaint()),
            Some("scr_gone") => Act::json(404, &marked::refusal("NOT_FOUND")),
            Some("scr_odd") => Act::json(200, &json!({marked::NAME: marked::NAME})),
            _ => Act::Hang,
        }
    }))
    .await;
    let launch = Launch::gateway(&kora.base_url());
    let config = store::Config {
        directory: launch.path("data"),
        retention_age: LONG,
        retention_bytes: 1 << 30,
        dedup_window: LONG,
        request_retention: LONG,
        request_bytes: 2 << 30,
    };
    let metrics = store::Metrics::register(&mut Registry::default());
    let log = Sqlite::open(&config, TENANT_ID, Clock::system(), metrics).unwrap();
    for id in [
        "scr_ends",
        "scr_waits",
        "scr_refused",
        "scr_gone",
        "scr_odd",
    ] {
        assert!(
            log.add_poll(id.to_owned(), String::new(), Timestamp::UNIX_EPOCH)
                .await
                .unwrap()
        );
    }
    log.close().await;
    drop(log);
    let gateway = launch.start().await;
    let mut outputs = Outputs::default();
    for (result, count) in [("reconciled", 1), ("unfinished", 1), ("failed", 3)] {
        let metric = format!("reconciler_polls_total{{result=\"{result}\"}} {count}\n");
        gateway.wait_for_metric(&metric).await;
    }
    let subscriber = Subscriber::connect(gateway.grpc()).await;
    let events = subscriber
        .watch(from_earliest())
        .await
        .unwrap()
        .past()
        .await;
    assert_eq!(events.len(), 1);
    // Kora tells another end by webhook.
    let other = json!({"screening_id": "scr_ends", "status": "FAILED", "reason": marked::NAME});
    let body = event("evt_late", "screening.failed", other);
    let signature = signature_by(marked::WEBHOOK_SECRET, &body);
    let webhooks = Webhooks::to(gateway.webhook());
    let late = webhooks.offer_signed(&body, signature);
    assert_eq!(late.await.status(), 200);
    let log = gateway.end(&mut outputs).await;
    assert_eq!(log.matches("a poll failed").count(), 3);
    let disputed = log.lines().find(|line| line.contains("tells another end"));
    assert!(disputed.unwrap().contains(TENANT_ID), "{disputed:?}");
    outputs.look();
}
