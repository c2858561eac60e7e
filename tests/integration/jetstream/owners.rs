//! A request that another process works on, one that nobody works on any more, and answers that come late.

use jiff::Timestamp;
use std::time::Duration;

use futures_util::StreamExt;
use kora_gateway::store::{Begun, JetStream, PollLog, RequestLog, StoredRequest, StoredState};
use tokio::{
    runtime,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::log_laws::{
    NatsPlace, Place,
    requests::{ending, intent, key},
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(90);

/// The stream of the bucket of requests.
const REQUESTS: &str = "KV_kora-gateway-tenant-requests";

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

async fn record(log: &JetStream, id: Uuid) -> StoredRequest {
    log.request(key(id)).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_held_by_its_process_until_that_is_gone() {
    let place = NatsPlace::new().await;
    let [first, second] = [place.open().await, place.open().await];
    let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
    assert_eq!(first.begin(intent(id, attempt)).await.unwrap(), Begun::New);
    assert!(!record(&first, id).await.is_held_elsewhere, "it is its own");
    assert!(record(&second, id).await.is_held_elsewhere);
    let begun = second.begin(intent(id, Uuid::new_v4())).await.unwrap();
    assert!(matches!(begun, Begun::Found(found) if found.is_held_elsewhere));
    first.close().await;
    assert!(!record(&second, id).await.is_held_elsewhere);
    // Nobody takes it over.
    let begun = second.begin(intent(id, Uuid::new_v4())).await.unwrap();
    assert!(matches!(begun, Begun::Found(found) if found.attempt == attempt));
}

/// Its age counts from the mark, as the server renews it with each write; so a second mark would keep it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_process_is_gone_is_marked_once() {
    let place = NatsPlace::new().await;
    let [first, second, third] = [place.open().await, place.open().await, place.open().await];
    let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
    first.begin(intent(id, attempt)).await.unwrap();
    let client = place.server.client().await;
    let requests = client.get_stream(REQUESTS).await.unwrap();
    let changes = async || {
        let subject = "$KV.kora-gateway-tenant-requests.request.>";
        let consumer = requests
            .create_consumer(async_nats::jetstream::consumer::pull::OrderedConfig {
                filter_subject: subject.to_owned(),
                ..Default::default()
            })
            .await
            .unwrap();
        let mut messages = consumer.messages().await.unwrap();
        let message = messages.next().await.unwrap().unwrap();
        message.info().unwrap().stream_sequence
    };
    assert!(record(&second, id).await.is_held_elsewhere);
    let open = changes().await;
    first.close().await;
    let marked = record(&second, id).await;
    assert_eq!(marked.state, StoredState::Abandoned);
    let at = changes().await;
    assert!(at > open, "the mark is stored");
    for log in [&second, &third] {
        for _ in 0..3 {
            assert!(record(log, id).await == marked);
            let begun = log.begin(intent(id, Uuid::new_v4())).await.unwrap();
            assert_eq!(begun, Begun::Found(marked.clone()));
        }
    }
    assert_eq!(changes().await, at, "and only once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_lands() {
    let place = NatsPlace::new().await;
    let [slow, other] = [place.open().await, place.open().await];
    let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
    slow.begin(intent(id, attempt)).await.unwrap();
    // As if the process had not come to say that it lives.
    let client = place.server.client().await;
    let requests = client.get_stream(REQUESTS).await.unwrap();
    let owners = "$KV.kora-gateway-tenant-requests.owner.>";
    let silent = async {
        while record(&other, id).await.is_held_elsewhere {
            requests.purge().filter(owners).await.unwrap();
        }
    };
    timeout(PATIENCE, silent).await.unwrap();
    assert_eq!(record(&other, id).await.state, StoredState::Abandoned);
    let late = ending(id, attempt, StoredState::Succeeded, "late");
    assert!(slow.finish(late).await.unwrap());
    let found = record(&other, id).await;
    assert_eq!(
        (found.state, &found.answer[..]),
        (StoredState::Succeeded, &b"late"[..])
    );
}

/// A process that is killed says nothing.
#[test]
fn a_killed_process_is_gone_after_a_while_and_so_is_its_lease() {
    let test = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let killed = runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
    let place = test.block_on(NatsPlace::new());
    let first = killed.block_on(place.open());
    killed.block_on(first.begin(intent(id, attempt))).unwrap();
    let time = jiff::Timestamp::UNIX_EPOCH;
    let added = killed.block_on(first.add_poll("scr_1".to_owned(), String::new(), time));
    assert_eq!(added, Ok(true));
    let second = test.block_on(place.open());
    let polls = |log| {
        test.block_on(PollLog::polls(log, 10, Timestamp::MAX))
            .unwrap()
            .sound
    };
    assert_eq!(
        killed
            .block_on(first.polls(10, Timestamp::MAX))
            .unwrap()
            .sound
            .len(),
        1
    );
    assert!(polls(&second).is_empty(), "another one polls");
    killed.shutdown_background();
    test.block_on(async {
        assert!(
            record(&second, id).await.is_held_elsewhere,
            "it was here just now"
        );
        let gone = async {
            while record(&second, id).await.is_held_elsewhere {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, gone).await.unwrap();
        let taken = async {
            while second
                .polls(10, Timestamp::MAX)
                .await
                .unwrap()
                .sound
                .is_empty()
            {
                sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, taken).await.unwrap();
    });
}
