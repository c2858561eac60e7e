//! Records outlive the process, not their retention, and a store that cannot keep them stops what needs them.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use kora_gateway::{
    clock::Clock,
    pb::{self, RequestState},
    store::{self, Begun, Intent, RequestKey, RequestLog, Sqlite},
};
use prometheus_client::registry::Registry;
use rusqlite::Connection;
use tokio::time::timeout;
use tonic::Code;
use uuid::Uuid;

use super::{ask, completed, is_replay, record, request, screen, start_screen};
use crate::{
    call::SCREENING_ID,
    harness::{Gateway, TENANT_ID},
    scripted_kora::{Act, ScriptedKora},
};

async fn gateway_on(directory: &Path, kora: &ScriptedKora) -> Gateway {
    let log = format!("file:{}", directory.display());
    Gateway::start(&kora.base_url(), &[("event-log", &log)]).await
}

fn open(directory: &Path) -> Sqlite {
    let config = store::Config {
        directory: directory.to_owned(),
        retention_age: Duration::from_secs(86_400),
        retention_bytes: 1 << 30,
        dedup_window: Duration::from_secs(60),
        request_retention: Duration::from_secs(7 * 86_400),
        request_bytes: 2 << 30,
    };
    let metrics = store::Metrics::register(&mut Registry::default());
    Sqlite::open(&config, TENANT_ID, Clock::system(), metrics).unwrap()
}

pub(super) fn key(request_id: Uuid) -> RequestKey {
    RequestKey {
        caller: "anonymous".to_owned(),
        request_id,
    }
}

fn connect(directory: &Path) -> Connection {
    Connection::open(directory.join(format!("{TENANT_ID}.events.db"))).unwrap()
}

#[tokio::test]
async fn a_record_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(completed()).await;
    let id = Uuid::new_v4();
    let gateway = gateway_on(directory.path(), &kora).await;
    let first = screen(&gateway, &request(id)).await.screening();
    let before = record(&gateway, id).await;
    gateway.stop().await;

    let gateway = gateway_on(directory.path(), &kora).await;
    let again = screen(&gateway, &request(id)).await;
    assert!(is_replay(&again));
    assert_eq!(again.screening(), first);
    assert_eq!(record(&gateway, id).await, before);
    assert!(before.finish_time.is_some());
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_that_an_earlier_process_left_open_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(completed()).await;
    let gateway = gateway_on(directory.path(), &kora).await;
    let known = Uuid::new_v4();
    screen(&gateway, &request(known)).await.screening();
    gateway.stop().await;

    // Its content is that of a request that was answered; only the process died in between.
    let log = open(directory.path());
    let answered = log.request(key(known)).await.unwrap().unwrap();
    let id = Uuid::new_v4();
    let intent = Intent {
        key: key(id),
        content: answered.content,
        attempt: Uuid::new_v4(),
    };
    assert_eq!(log.begin(intent).await.unwrap(), Begun::New);
    log.close().await;
    kora.take_received();

    let gateway = gateway_on(directory.path(), &kora).await;
    assert_eq!(record(&gateway, id).await.state(), RequestState::Unknown);
    for _ in 0..2 {
        let answer = screen(&gateway, &request(id)).await;
        assert_eq!(answer.reason(), "KORA_OUTCOME_UNKNOWN");
        assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    }
    assert!(kora.take_received().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn nobody_else_wrote_this_record() {
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(completed()).await;
    let id = Uuid::new_v4();
    let gateway = gateway_on(directory.path(), &kora).await;
    screen(&gateway, &request(id)).await.screening();
    // An approval for a request that was never answered so.
    connect(directory.path())
        .execute("UPDATE request_ends SET answer = x'0a057363725f39'", [])
        .unwrap();
    let answer = screen(&gateway, &request(id)).await;
    assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"));
    let asked = ask(&gateway, &id.to_string()).await;
    assert_eq!(asked.reason(), "STORE_CORRUPT");
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_never_seen_is_not_found() {
    let kora = ScriptedKora::start(completed()).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let answer = ask(&gateway, &Uuid::new_v4().to_string()).await;
    assert_eq!(answer.status.code(), Code::NotFound);
    assert_eq!(answer.reason(), "REQUEST_NOT_FOUND");
    for odd in ["", "1", "67e5504410b1426f9247bb680e5fe0c8"] {
        assert_eq!(
            ask(&gateway, odd).await.reason(),
            "INVALID_REQUEST",
            "{odd}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_record_is_kept_for_its_time() {
    let kora = ScriptedKora::start(completed()).await;
    let now = Arc::new(AtomicI64::new(1_700_000_000));
    let clock = {
        let now = Arc::clone(&now);
        Clock::from_fn(move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap())
    };
    let flags = [("request-retention", "1h")];
    let gateway = Gateway::start_on(&kora.base_url(), &flags, clock).await;
    let (old, young) = (Uuid::new_v4(), Uuid::new_v4());
    screen(&gateway, &request(old)).await.screening();
    now.fetch_add(3600, Ordering::SeqCst);
    screen(&gateway, &request(young)).await.screening();
    assert_eq!(record(&gateway, old).await.state(), RequestState::Succeeded);
    now.fetch_add(2, Ordering::SeqCst);
    let forgotten =
        async { while ask(&gateway, &old.to_string()).await.reason() != "REQUEST_NOT_FOUND" {} };
    timeout(Duration::from_secs(20), forgotten).await.unwrap();
    assert_eq!(
        record(&gateway, young).await.state(),
        RequestState::Succeeded
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_sent() {
    let directory = tempfile::tempdir().unwrap();
    let kora = ScriptedKora::start(completed()).await;
    let gateway = gateway_on(directory.path(), &kora).await;
    let other = connect(directory.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let id = Uuid::new_v4();
    let refused = screen(&gateway, &request(id)).await;
    assert_eq!(refused.status.code(), Code::Unavailable);
    assert_eq!(refused.reason(), "STORE_UNAVAILABLE");
    assert_eq!(refused.outcome().as_deref(), Some("NOT_SENT"));
    assert!(refused.details().retry_info().is_some());
    // Without an id there is nothing to record.
    screen(&gateway, &crate::call::screen_request())
        .await
        .screening();
    assert_eq!(kora.take_received().len(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    let again = screen(&gateway, &request(id)).await;
    assert_eq!(again.screening().screening_id, SCREENING_ID);
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_recorded_yet_is_given_and_recorded_later() {
    let directory = tempfile::tempdir().unwrap();
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = gateway_on(directory.path(), &kora).await;
    let id = Uuid::new_v4();
    let call = start_screen(&gateway, request(id));
    kora.wait_for_requests(1).await;
    let other = connect(directory.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    told.notify_one();
    assert_eq!(call.await.unwrap().screening().screening_id, SCREENING_ID);
    gateway
        .wait_for_metric("requests_pending_records 1\n")
        .await;
    kora.act(completed());
    let joined = screen(&gateway, &request(id)).await.screening();
    other.execute_batch("ROLLBACK").unwrap();
    gateway
        .wait_for_metric("requests_pending_records 0\n")
        .await;
    let again = screen(&gateway, &request(id)).await;
    assert!(is_replay(&again));
    assert_eq!(again.screening(), joined);
    let record: pb::RequestRecord = record(&gateway, id).await;
    assert_eq!(record.state(), RequestState::Succeeded);
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn an_answer_whose_record_is_damaged_meanwhile_is_given_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = gateway_on(directory.path(), &kora).await;
    let call = start_screen(&gateway, request(Uuid::new_v4()));
    kora.wait_for_requests(1).await;
    connect(directory.path())
        .execute("UPDATE requests SET rpc = 'CreateSubject'", [])
        .unwrap();
    told.notify_one();
    assert_eq!(call.await.unwrap().screening().screening_id, SCREENING_ID);
    gateway.wait_for_metric("requests_unrecorded_total 1").await;
    gateway.stop().await;
}
