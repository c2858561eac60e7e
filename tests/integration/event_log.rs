//! The law of a log, clause by clause, on the embedded backend.

mod disk;
mod polls;
mod versions;
mod waiting;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kora_gateway::{
    clock::Clock,
    event::{Content, Identity, Keys, NewEvent},
    store::{Appended, Config, EventLog, Metrics, OpenError, ReadError, Sqlite},
};
use prometheus_client::registry::Registry;
use tempfile::TempDir;

const TENANT: &str = "tenant";

/// A clock that tests set, in milliseconds; it shows some nanoseconds more.
#[derive(Clone)]
struct Hands(Arc<AtomicI64>);

const NANOSECONDS_MORE: SignedDuration = SignedDuration::from_nanos(123_456);

/// A directory, and a log in it that can be opened again.
struct Place {
    directory: TempDir,
    hands: Hands,
    config: Config,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Place {
            config: Config {
                directory: directory.path().join("data"),
                retention_age: Duration::from_secs(3600),
                retention_bytes: 1 << 30,
                dedup_window: Duration::from_secs(60),
                request_retention: Duration::from_secs(7 * 86_400),
            },
            hands: Hands(Arc::new(AtomicI64::new(1_700_000_000_000))),
            directory,
        }
    }

    fn open(&self) -> Sqlite {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<Sqlite, OpenError> {
        let hands = self.hands.clone();
        let clock = Clock::from_fn(move || {
            Timestamp::from_millisecond(hands.0.load(Ordering::SeqCst)).unwrap() + NANOSECONDS_MORE
        });
        let metrics = Metrics::register(&mut Registry::default());
        Sqlite::open(&self.config, TENANT, clock, metrics)
    }

    fn pass(&self, time: Duration) {
        let milliseconds = time.as_millis() as i64;
        self.hands.0.fetch_add(milliseconds, Ordering::SeqCst);
    }

    fn file(&self) -> std::path::PathBuf {
        self.config.directory.join("tenant.events.db")
    }
}

fn event(identity: Identity, body: &str) -> NewEvent {
    let content = Content {
        keys: Keys {
            kind: "case.closed".to_owned(),
            ..Keys::default()
        },
        ..Content::default()
    };
    NewEvent::from_webhook(identity, content, body.as_bytes())
}

fn by_id(id: &str) -> NewEvent {
    event(Identity::Vendor(id.to_owned()), "{}")
}

fn by_body(hash: u8) -> NewEvent {
    event(Identity::Body([hash; 32]), "{}")
}

async fn append(log: &Sqlite, id: &str) {
    assert_eq!(log.append(by_id(id)).await, Ok(Appended::New));
}

/// Everything after `sequence`, from memory and disk as it comes.
async fn all_after(log: &Sqlite, mut sequence: u64) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    loop {
        let page = log.read(sequence).await.unwrap();
        let Some(last) = page.last() else {
            return found;
        };
        sequence = last.sequence;
        found.extend(
            page.iter()
                .map(|record| (record.sequence, record.event_id.clone())),
        );
    }
}

fn named(ids: &[(u64, &str)]) -> Vec<(u64, String)> {
    ids.iter()
        .map(|(sequence, id)| (*sequence, (*id).to_owned()))
        .collect()
}

#[tokio::test]
async fn what_was_appended_is_there_in_order_after_a_restart() {
    let place = Place::new();
    let log = place.open();
    for id in ["a", "b", "c"] {
        append(&log, id).await;
    }
    let (id, bounds) = (log.id(), log.tail().bounds());
    let expected = named(&[(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(all_after(&log, 0).await, expected);
    log.close().await;

    let log = place.open();
    assert_eq!((log.id(), log.tail().bounds()), (id, bounds));
    // From disk now: nothing is in memory yet.
    assert_eq!(all_after(&log, 0).await, expected);
    append(&log, "d").await;
    assert_eq!(all_after(&log, 2).await, named(&[(3, "c"), (4, "d")]));
}

#[tokio::test]
async fn memory_and_disk_tell_the_same() {
    let place = Place::new();
    let log = place.open();
    append(&log, "a").await;
    let from_memory = log.read(0).await.unwrap();
    log.close().await;
    let from_disk = place.open().read(0).await.unwrap();
    assert!(from_memory == from_disk, "{from_memory:?} {from_disk:?}");
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
async fn an_id_that_another_type_has_is_no_identity() {
    let place = Place::new();
    let log = place.open();
    let of_type = |kind: &str, body: &str| {
        let mut event = event(Identity::Vendor("cas_1".to_owned()), body);
        event.keys.kind = kind.to_owned();
        event
    };
    for (kind, body, expected) in [
        ("case.created", "1", Appended::New),
        ("case.closed", "2", Appended::New),
        ("case.closed", "2", Appended::Duplicate),
        ("case.created", "1", Appended::Duplicate),
        ("case.created", "other", Appended::Duplicate),
    ] {
        let appended = log.append(of_type(kind, body)).await;
        assert_eq!(appended, Ok(expected), "{kind} {body}");
    }
    let found = all_after(&log, 0).await;
    assert_eq!(found[0].1, "cas_1");
    assert!(found[1].1.starts_with("sha256-"));
}

#[tokio::test]
async fn a_body_is_known_for_the_window_and_then_a_new_event() {
    let place = Place::new();
    let log = place.open();
    assert_eq!(log.append(by_body(1)).await, Ok(Appended::New));
    assert_eq!(log.append(by_body(2)).await, Ok(Appended::New));
    place.pass(Duration::from_millis(59_999));
    assert_eq!(log.append(by_body(1)).await, Ok(Appended::Duplicate));
    place.pass(Duration::from_millis(1));
    assert_eq!(log.append(by_body(1)).await, Ok(Appended::New));
    assert_eq!(log.append(by_body(1)).await, Ok(Appended::Duplicate));
    let ids: BTreeSet<_> = all_after(&log, 0)
        .await
        .into_iter()
        .map(|(_, id)| id)
        .collect();
    assert_eq!(ids.len(), 3, "each has an id of its own: {ids:?}");
}

#[tokio::test]
async fn time_never_goes_back() {
    let place = Place::new();
    let log = place.open();
    append(&log, "a").await;
    place.hands.0.fetch_sub(5000, Ordering::SeqCst);
    append(&log, "b").await;
    let page = log.read(0).await.unwrap();
    assert_eq!(page[0].receive_time, page[1].receive_time);
}

#[tokio::test]
async fn appends_at_once_and_the_same_id_at_once_are_each_kept_once() {
    let place = Place::new();
    let log = Arc::new(place.open());
    let appends = (0..600).map(|number| {
        let log = Arc::clone(&log);
        tokio::spawn(async move { log.append(by_id(&format!("e{}", number % 200))).await })
    });
    let mut new = 0;
    for append in appends.collect::<Vec<_>>() {
        new += usize::from(append.await.unwrap() == Ok(Appended::New));
    }
    let found = all_after(&log, 0).await;
    assert_eq!((new, found.len()), (200, 200));
    assert!(found.iter().map(|(sequence, _)| *sequence).eq(1..=200));
    let ids: BTreeSet<_> = found.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), 200);
}

#[tokio::test]
async fn an_append_that_nobody_waits_for_is_whole_or_not_there() {
    let place = Place::new();
    let log = place.open();
    for number in 0..50 {
        let append = log.append(by_id(&format!("e{number}")));
        // Asked once, and dropped: it may have reached the queue or not.
        let _ = tokio::time::timeout(Duration::ZERO, append).await;
    }
    append(&log, "last").await;
    let found = all_after(&log, 0).await;
    assert!(
        found
            .iter()
            .map(|(sequence, _)| *sequence)
            .eq(1..=found.len() as u64)
    );
    assert_eq!(found.last().unwrap().1, "last");
}

#[tokio::test]
async fn sequences_are_never_used_again_not_even_by_an_emptied_log() {
    let place = Place::new();
    let log = place.open();
    for id in ["a", "b", "c"] {
        append(&log, id).await;
    }
    let head = log.tail().bounds().head;
    place.pass(Duration::from_secs(3601));
    // The log looks after itself when nobody asks for anything.
    while log.tail().bounds().trimmed != head {
        tokio::task::yield_now().await;
    }
    log.close().await;

    let log = place.open();
    let bounds = log.tail().bounds();
    assert_eq!((bounds.trimmed, bounds.head), (head, head));
    assert!(matches!(log.read(2).await, Err(ReadError::Trimmed(_))));
    assert_eq!(all_after(&log, 3).await, vec![]);
    append(&log, "d").await;
    assert_eq!(all_after(&log, 3).await, named(&[(4, "d")]));
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
async fn a_time_is_found_by_its_records() {
    let place = Place::new();
    let log = place.open();
    let start = place.hands.0.load(Ordering::SeqCst);
    let at = |seconds: i64| Timestamp::from_millisecond(start + seconds * 1000).unwrap();
    assert_eq!(log.position_before(at(0)).await.unwrap().sequence, 0);
    // However long ago: a log that nothing was removed from has no gap.
    let long_ago = Timestamp::from_second(-1).unwrap();
    assert_eq!(log.position_before(long_ago).await.unwrap().sequence, 0);
    for number in 0..100 {
        append(&log, &format!("e{number}")).await;
        // Two records for each time.
        if number % 2 == 1 {
            place.pass(Duration::from_secs(10));
        }
    }
    for (seconds, before) in [
        (-5, 0),
        (0, 0),
        (1, 2),
        (10, 2),
        (11, 4),
        (490, 98),
        (491, 100),
    ] {
        let position = log.position_before(at(seconds)).await.unwrap();
        assert_eq!(position.sequence, before, "{seconds}");
        assert_eq!(position.checksum == 0, before == 0);
    }
    // At 4,000 s the records up to 390 s are too old: the first 80.
    place
        .hands
        .0
        .store(start + 4_000_000 - 5_000, Ordering::SeqCst);
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
