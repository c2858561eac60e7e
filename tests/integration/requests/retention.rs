//! How long records are kept: from the end of the request on, and never less.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kora_gateway::{
    pb::RequestState,
    store::{self, Begun, Intent, RequestLog, Sqlite},
};
use prometheus_client::registry::Registry;
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

use super::{ask, completed, is_replay, record, records::key, request, screen, start_screen};
use crate::{
    harness::{Gateway, TENANT_ID},
    log_laws::Hands,
    scripted_kora::{Act, ScriptedKora},
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// The shortest retention.
const RETENTION: (&str, &str) = ("request-retention", "1h");

/// A Kora that holds its answer to the first request until it is told, and answers the others at once.
async fn first_is_late() -> (Arc<Notify>, ScriptedKora) {
    let told = Arc::new(Notify::new());
    let late = Act::AnswerOnceTold(Arc::clone(&told), Box::new(completed()));
    let requests = AtomicUsize::new(0);
    let script = move |_: &_| match requests.fetch_add(1, Ordering::SeqCst) {
        0 => late.clone(),
        _ => completed(),
    };
    (told, ScriptedKora::start(Act::scripted(script)).await)
}

/// Has the log written once more, with what it removes by then. What is there is not waited for, so more than once.
async fn write(gateway: &Gateway) {
    for _ in 0..3 {
        screen(gateway, &request(Uuid::new_v4())).await.screening();
    }
}

async fn until_forgotten(gateway: &Gateway, id: Uuid) {
    let id = id.to_string();
    let forgotten = async { while ask(gateway, &id).await.reason() != "REQUEST_NOT_FOUND" {} };
    timeout(Duration::from_secs(20), forgotten).await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_open_is_kept_however_long_it_takes() {
    let (told, kora) = first_is_late().await;
    let hands = Hands::default();
    let gateway = Gateway::start_on(&kora.base_url(), &[RETENTION], hands.clock()).await;
    let id = Uuid::new_v4();
    let first = start_screen(&gateway, request(id));
    kora.wait_for_requests(1).await;
    hands.turn(100 * HOUR);
    write(&gateway).await;
    assert_eq!(record(&gateway, id).await.state(), RequestState::InFlight);
    kora.take_received();

    told.notify_one();
    let first = first.await.unwrap().screening();
    let again = screen(&gateway, &request(id)).await;
    assert!(is_replay(&again));
    assert_eq!(again.screening(), first);
    assert_eq!(record(&gateway, id).await.state(), RequestState::Succeeded);
    assert!(kora.take_received().is_empty(), "sent again");
    gateway.stop().await;
}

#[tokio::test]
async fn the_age_of_a_record_counts_from_the_end_of_its_request() {
    let (told, kora) = first_is_late().await;
    let hands = Hands::default();
    let gateway = Gateway::start_on(&kora.base_url(), &[RETENTION], hands.clock()).await;
    let id = Uuid::new_v4();
    let first = start_screen(&gateway, request(id));
    kora.wait_for_requests(1).await;
    hands.turn(50 * MINUTE);
    told.notify_one();
    first.await.unwrap().screening();
    hands.turn(59 * MINUTE);
    write(&gateway).await;
    assert_eq!(record(&gateway, id).await.state(), RequestState::Succeeded);
    hands.turn(2 * MINUTE);
    until_forgotten(&gateway, id).await;
    gateway.stop().await;
}

fn open(directory: &Path, hands: &Hands) -> Sqlite {
    let config = store::Config {
        directory: directory.to_owned(),
        retention_age: Duration::from_secs(86_400),
        retention_bytes: 1 << 30,
        dedup_window: Duration::from_secs(60),
        request_retention: Duration::from_secs(3600),
        request_bytes: 2 << 30,
    };
    let metrics = store::Metrics::register(&mut Registry::default());
    Sqlite::open(&config, TENANT_ID, hands.clock(), metrics).unwrap()
}

#[tokio::test]
async fn what_an_earlier_process_left_open_ages_from_the_restart() {
    let directory = tempfile::tempdir().unwrap();
    let flag = format!("file:{}", directory.path().display());
    let flags = [RETENTION, ("event-log", flag.as_str())];
    let kora = ScriptedKora::start(completed()).await;
    let hands = Hands::default();
    let gateway = Gateway::start_on(&kora.base_url(), &flags, hands.clock()).await;
    let known = Uuid::new_v4();
    screen(&gateway, &request(known)).await.screening();
    gateway.stop().await;

    // Its content is that of a request that was answered; only the process died in between.
    let log = open(directory.path(), &hands);
    let answered = log.request(key(known)).await.unwrap().unwrap();
    let id = Uuid::new_v4();
    let intent = Intent {
        key: key(id),
        content: answered.content,
        attempt: Uuid::new_v4(),
    };
    assert_eq!(log.begin(intent).await, Ok(Begun::New));
    log.close().await;

    hands.turn(100 * HOUR);
    let gateway = Gateway::start_on(&kora.base_url(), &flags, hands.clock()).await;
    write(&gateway).await;
    for _ in 0..2 {
        kora.take_received();
        assert_eq!(record(&gateway, id).await.state(), RequestState::Unknown);
        let answer = screen(&gateway, &request(id)).await;
        assert_eq!(answer.reason(), "KORA_OUTCOME_UNKNOWN");
        assert!(kora.take_received().is_empty(), "sent again");
        hands.turn(59 * MINUTE);
        write(&gateway).await;
        hands.turn(-MINUTE);
    }
    hands.turn(HOUR);
    until_forgotten(&gateway, id).await;
    gateway.stop().await;
}
