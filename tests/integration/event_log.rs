//! What the embedded backend does beside the law of a log, and how it keeps it.

mod backup;
mod damaged_columns;
mod disk;
mod maintenance;
mod request_space;
pub mod versions;
mod waiting;
mod windows;

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use kora_gateway::{
    event::{Content, Identity, Keys, NewEvent},
    store::{Appended, Config, EventLog, Metrics, OpenError, ReadError, Sqlite},
};
use prometheus_client::registry::Registry;
use tempfile::TempDir;

use crate::log_laws::{DEDUP_WINDOW, Hands, TENANT, all_after, append, by_id, event, named};

/// A directory, and a log in it that can be opened again.
pub struct Place {
    directory: TempDir,
    pub hands: Hands,
    pub config: Config,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Place {
            config: Config {
                directory: directory.path().join("data"),
                retention_age: Duration::from_secs(3600),
                retention_bytes: 1 << 30,
                dedup_window: DEDUP_WINDOW,
                request_retention: Duration::from_secs(7 * 86_400),
                request_bytes: 2 << 30,
            },
            hands: Hands::default(),
            directory,
        }
    }

    pub fn open(&self) -> Sqlite {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<Sqlite, OpenError> {
        let metrics = Metrics::register(&mut Registry::default());
        Sqlite::open(&self.config, TENANT, self.hands.clock(), metrics)
    }

    fn pass(&self, time: Duration) {
        self.hands.turn(time.as_millis() as i64);
    }

    /// How large the log's file is.
    fn file_bytes(&self) -> u64 {
        let file = rusqlite::Connection::open(self.file()).unwrap();
        let number = |pragma| file.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        (number("page_count").unwrap() * number("page_size").unwrap()) as u64
    }

    pub fn file(&self) -> PathBuf {
        self.config.directory.join("tenant.events.db")
    }
}

#[tokio::test]
async fn one_process_has_the_log() {
    let place = Place::new();
    let log = place.open();
    assert!(matches!(place.try_open(), Err(OpenError::InUse(_))));
    log.close().await;
    assert!(log.append(by_id("late")).await.is_err());
    place.open();
}

#[tokio::test]
async fn an_id_is_known_as_long_as_its_event_is_kept() {
    let place = Place::new();
    let log = place.open();
    append(&log, "a").await;
    place.pass(Duration::from_secs(3000));
    assert_eq!(log.append(by_id("a")).await, Ok(Appended::Duplicate));
    log.close().await;
    let log = place.open();
    assert_eq!(log.append(by_id("a")).await, Ok(Appended::Duplicate));
    // Past its retention it goes, with whatever is appended next.
    place.pass(Duration::from_secs(601));
    append(&log, "b").await;
    append(&log, "a").await;
    assert_eq!(all_after(&log, 1).await, named(&[(2, "b"), (3, "a")]));
}

#[tokio::test]
async fn a_log_keeps_no_more_than_its_size() {
    let mut place = Place::new();
    let log = place.open();
    append(&log, "e0000").await;
    let one = log.read(0).await.unwrap()[0].end_offset;
    log.close().await;
    place.config.retention_bytes = 20 * one;
    let log = place.open();
    for number in 1..100 {
        append(&log, &format!("e{number:04}")).await;
    }
    let bounds = log.tail().bounds();
    let kept = bounds.head.sequence - bounds.trimmed.sequence;
    assert_eq!(kept, 20);
    let found = all_after(&log, bounds.trimmed.sequence).await;
    assert_eq!(found.len() as u64, kept);
}

#[tokio::test]
async fn the_newest_event_is_kept_however_large_it_is() {
    let mut place = Place::new();
    place.config.retention_bytes = 1;
    let log = place.open();
    for (id, sequence) in [("a", 1), ("b", 2)] {
        append(&log, id).await;
        let found = all_after(&log, sequence - 1).await;
        assert_eq!(found, named(&[(sequence, id)]));
        assert_eq!(log.tail().bounds().trimmed.sequence, sequence - 1);
    }
}

#[tokio::test]
async fn a_time_is_found_as_long_as_its_records_are_kept() {
    let place = Place::new();
    let log = place.open();
    let start = place.hands.milliseconds();
    let at = |seconds: i64| Timestamp::from_millisecond(start + seconds * 1000).unwrap();
    for number in 0..100 {
        append(&log, &format!("e{number}")).await;
        // Two records for each time.
        if number % 2 == 1 {
            place.pass(Duration::from_secs(10));
        }
    }
    // At 4,000 s the records up to 390 s are too old: the first 80.
    place.hands.set(start + 4_000_000 - 5_000);
    append(&log, "last").await;
    let gone = log.tail().bounds().trimmed.sequence;
    assert_eq!(gone, 80);
    assert!(matches!(
        log.position_before(at(390)).await,
        Err(ReadError::Trimmed(_))
    ));
    assert_eq!(log.position_before(at(391)).await.unwrap().sequence, gone);
}

/// A position that the log does not tell of yet would be taken for another log's.
#[tokio::test]
async fn a_record_is_not_read_before_it_is_shown() {
    let place = Place::new();
    let log = place.open();
    for id in ["a", "b"] {
        append(&log, id).await;
    }
    log.close().await;
    let copy = place.directory.path().join("copy.db");
    std::fs::copy(place.file(), &copy).unwrap();
    disk::damage(&place.file(), "DELETE FROM events WHERE sequence = 2");
    let log = place.open();
    // As the writer leaves it between its commit and the moment when it shows what it wrote.
    let writer = rusqlite::Connection::open(place.file()).unwrap();
    let attach = format!("ATTACH '{}' AS copy", copy.display());
    writer.execute_batch(&attach).unwrap();
    let insert = "INSERT INTO events SELECT * FROM copy.events WHERE sequence = 2";
    assert_eq!(writer.execute(insert, []).unwrap(), 1);
    let page = log.read(0).await.unwrap();
    assert_eq!(page.last().unwrap().position(), log.tail().bounds().head);
}
