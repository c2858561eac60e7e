//! Polls on NATS: each gateway follows them, and none reads all of them again and again.

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use kora_gateway::store::{JetStream, PollLog, Polls};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    log_laws::{NatsPlace, Place},
    nats_server::NatsServer,
    subscriber::PATIENCE,
};

const RECORDS: &str = "$KV.kora-gateway-tenant-records";

/// How many wait, and how many are added beside them.
const WAITING: usize = 500;
const ADDED: usize = 40;

/// How many messages the server may take for one poll that is added and looked at, and send; and for all that the
/// gateways do besides in the meantime.
const MESSAGES_EACH: u64 = 12;
const MESSAGES_BESIDES: u64 = 300;

/// A server that counts its messages, and where it tells them.
fn counting_server() -> (NatsServer, String) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let server = NatsServer::start_with(&["-m", &port.to_string()]);
    (server, format!("http://127.0.0.1:{port}/varz"))
}

/// The messages that a server has taken and sent.
async fn messages(url: &str) -> [u64; 2] {
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let told: Value = serde_json::from_str(&text).unwrap();
    ["in_msgs", "out_msgs"].map(|name| told[name].as_u64().unwrap())
}

/// An hour later than any test's clock.
async fn add(log: &JetStream, id: &str) {
    let due = Timestamp::from_millisecond(1_700_003_600_000).unwrap();
    let added = log.add_poll(id.to_owned(), String::new(), due).await;
    assert!(added.unwrap(), "{id}");
}

async fn polls(log: &JetStream) -> Polls {
    log.polls(10 * WAITING, Timestamp::MAX).await.unwrap()
}

async fn wait_for_polls(log: &JetStream, count: usize) {
    let reached = async { while polls(log).await.sound.len() != count {} };
    timeout(PATIENCE, reached).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_a_poll_reads_none_of_the_others() {
    let (server, url) = counting_server();
    let place = NatsPlace::on(server);
    let log = place.open().await;
    let _another_gateway = place.open().await;
    let ids: Vec<_> = (0..WAITING).map(|number| format!("scr_{number}")).collect();
    for some in ids.chunks(50) {
        join_all(some.iter().map(|id| add(&log, id))).await;
    }
    assert_eq!(polls(&log).await.sound.len(), WAITING);
    let before = messages(&url).await;
    for number in 0..ADDED {
        add(&log, &format!("added_{number}")).await;
        let first = log.polls(64, Timestamp::MAX).await.unwrap();
        assert_eq!(first.sound.len(), 64);
    }
    let after = messages(&url).await;
    let most = ADDED as u64 * MESSAGES_EACH + MESSAGES_BESIDES;
    for (after, before) in after.into_iter().zip(before) {
        assert!(after - before <= most, "{}", after - before);
    }
    assert_eq!(polls(&log).await.sound.len(), WAITING + ADDED);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_see_each_others_polls_also_after_a_reconnect() {
    let mut place = NatsPlace::new().await;
    let log = place.open().await;
    let other = place.open().await;
    add(&log, "own").await;
    add(&other, "others").await;
    wait_for_polls(&log, 2).await;
    assert_eq!(polls(&other).await, Polls::default(), "one of them polls");
    place.server.kill();
    place.server.resume();
    let mut made_again = false;
    while !made_again {
        let due = Timestamp::from_millisecond(1_700_003_600_000).unwrap();
        let added = other.add_poll("later".to_owned(), String::new(), due);
        made_again = added.await.is_ok();
    }
    wait_for_polls(&log, 3).await;
    // Removed by a gateway that had the lease before: the list finds out when the poll is due.
    assert!(other.remove_poll(b"others".to_vec()).await.unwrap());
    let stale = polls(&log).await.sound;
    let stale = stale.into_iter().find(|poll| poll.screening_id == "others");
    if let Some(stale) = stale {
        assert!(!log.postpone(stale, Timestamp::MAX).await.unwrap());
    }
    wait_for_polls(&log, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_of_a_newer_version_is_left_alone_and_a_damaged_one_is_told() {
    let place = NatsPlace::new().await;
    let log = place.open().await;
    add(&log, "sound").await;
    let client = place.server.client().await;
    let put = async |key: &str, value: &'static [u8]| {
        let published = client.publish(format!("{RECORDS}.poll.{key}"), value.into());
        published.await.unwrap().await.unwrap();
    };
    // The field that tells the format, with a number that nobody has used yet.
    put("x6e65776572", b"\x40\x7f").await;
    put("x64616d61676564", b"junk").await;
    let hashed = format!("h{}", "0".repeat(64));
    put(&hashed, b"junk").await;
    let told = async { while polls(&log).await.damaged != [b"damaged".to_vec()] {} };
    timeout(PATIENCE, told).await.unwrap();
    assert!(log.remove_poll(b"damaged".to_vec()).await.unwrap());
    let told = polls(&log).await;
    assert!(told.damaged.is_empty());
    assert_eq!(told.sound.len(), 1);
    let bucket = client
        .get_stream("KV_kora-gateway-tenant-records")
        .await
        .unwrap();
    let kept = async |key: &str| {
        let subject = format!("{RECORDS}.poll.{key}");
        bucket
            .get_last_raw_message_by_subject(&subject)
            .await
            .is_ok()
    };
    assert!(kept("x6e65776572").await);
    let gone = async {
        while kept(&hashed).await {
            tokio::time::sleep(Duration::from_millis(5)).await
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}
