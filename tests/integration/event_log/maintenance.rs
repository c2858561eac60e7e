//! What the writer does beside appends: it trims in steps, writes the write-ahead log back, and waits for no reader.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use kora_gateway::store::{EventLog, Metrics, Sqlite};
use prometheus_client::{encoding::text, registry::Registry};
use tokio::time::{sleep, timeout};

use super::{Place, by_id};
use crate::log_laws::TENANT;

const MIB: u64 = 1 << 20;

/// How large the write-ahead log may be while nobody reads: what one checkpoint writes back, a step of trimming, and as
/// much again.
const WAL_BYTES: u64 = 64 * MIB;

/// The most that a test waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Appends events of this size, several at a time. Returns the longest that some of them took.
async fn fill(log: &Sqlite, name: &str, count: usize, bytes: usize) -> Duration {
    let mut slowest = Duration::ZERO;
    for group in (0..count).collect::<Vec<_>>().chunks(64) {
        let start = Instant::now();
        let appends = group.iter().map(|number| {
            let mut event = by_id(&format!("{name}{number}"));
            event.raw = vec![b'x'; bytes].into();
            log.append(event)
        });
        for appended in join_all(appends).await {
            appended.unwrap();
        }
        slowest = slowest.max(start.elapsed());
    }
    slowest
}

fn wal_bytes(place: &Place) -> u64 {
    let wal = format!("{}-wal", place.file().display());
    fs::metadata(wal).map_or(0, |found| found.len())
}

/// Waits until this holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_served_between_the_steps_of_trimming_much() {
    const EVENTS: usize = 6_000;
    let mut place = Place::new();
    let log = place.open();
    fill(&log, "e", EVENTS, 16_000).await;
    log.close().await;

    // The log is looked after each second.
    place.config.retention_age = Duration::from_secs(1000);
    place.config.retention_bytes = MIB;
    let log = place.open();
    let trimmed = || log.tail().bounds().trimmed.sequence;
    until("it is trimmed", || trimmed() > 0).await;
    log.append(by_id("between")).await.unwrap();
    let left = EVENTS as u64 - trimmed();
    assert!(left > 1_000, "the append waited for the end of it");
    // Whatever wrote it, the write-ahead log is written back.
    let mut largest = 0;
    until("all of it is trimmed", || {
        largest = largest.max(wal_bytes(&place));
        trimmed() > EVENTS as u64 - 100
    })
    .await;
    assert!(largest < WAL_BYTES, "{largest}");
    until("it is small again", || wal_bytes(&place) <= 8 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_the_end_of_trimming() {
    const EVENTS: usize = 6_000;
    let mut place = Place::new();
    let log = place.open();
    fill(&log, "e", EVENTS, 16_000).await;
    log.close().await;

    place.config.retention_age = Duration::from_secs(1000);
    place.config.retention_bytes = MIB;
    let log = place.open();
    let trimmed = || log.tail().bounds().trimmed.sequence;
    until("it is trimmed", || trimmed() > 0).await;
    log.close().await;
    assert!(trimmed() < EVENTS as u64 - 1_000, "{}", trimmed());
    // The rest goes after the next start.
    let log = place.open();
    until("all of it is trimmed", || {
        log.tail().bounds().trimmed.sequence > EVENTS as u64 - 100
    })
    .await;
}

/// The value of one of the log's gauges.
fn gauge(registry: &Registry, name: &str) -> u64 {
    let mut metrics = String::new();
    text::encode(&mut metrics, registry).unwrap();
    let line = metrics.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.unwrap_or("0").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_does_not_wait_for_somebody_who_reads_the_file() {
    let mut place = Place::new();
    place.config.retention_age = Duration::from_secs(1000);
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry).of_tenant(TENANT);
    let log = Sqlite::open(&place.config, TENANT, place.hands.clock(), metrics).unwrap();
    fill(&log, "before", 64, 1000).await;
    let reader = rusqlite::Connection::open(place.file()).unwrap();
    let count = "SELECT count(*) FROM events";
    let transaction = reader.unchecked_transaction().unwrap();
    let seen: i64 = transaction.query_row(count, [], |row| row.get(0)).unwrap();

    let slowest = fill(&log, "during", 2_000, 64_000).await;
    // A wait for the reader takes 2 s, for each 8 MiB.
    assert!(slowest < Duration::from_millis(1500), "{slowest:?}");
    let still: i64 = transaction.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(seen, still);
    until("operators see it", || {
        gauge(&registry, "store_wal_bytes") > 100 * MIB
            && gauge(&registry, "store_wal_held_seconds") > 0
    })
    .await;

    transaction.finish().unwrap();
    until("nobody holds it", || {
        gauge(&registry, "store_wal_held_seconds") == 0
    })
    .await;
    until("it is small again", || {
        wal_bytes(&place) <= 8 * MIB && gauge(&registry, "store_wal_bytes") <= 8 * MIB
    })
    .await;
}
