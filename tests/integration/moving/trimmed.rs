//! Events that the old log did not keep any more are missing in the new one, and it says so.

use kora_gateway::store::{EventLog, ReadError};

use super::{Named, done, new_file, targets};
use crate::{
    event_log,
    log_laws::{Place, TENANT, all_after, append},
};

targets! {
    a_time_before_the_oldest_event_is_a_gap,
    an_emptied_log_knows_that_it_was_not_always_empty,
}

/// A stopped log that has lost `gone`, and keeps `kept`. Returns the time of the last one that is gone.
async fn trimmed_log(gone: &[&str], kept: &[&str]) -> (event_log::Place, jiff::Timestamp) {
    let mut place = event_log::Place::brief().await;
    let log = place.open();
    for id in gone {
        append(&log, id).await;
    }
    let time = log.tail().bounds().head_time;
    place.outlast();
    for id in kept {
        append(&log, id).await;
    }
    let read = async {
        while !matches!(log.read(0).await, Err(ReadError::Trimmed(_))) {
            // The writer looks after the log from time to time, by itself.
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::subscriber::PATIENCE, read)
        .await
        .unwrap();
    log.close().await;
    place.config.retention_age *= 1000;
    (place, time)
}

/// A stopped log that has lost its only event, as one of an earlier version can have. Returns the time of that event.
async fn emptied_log() -> (event_log::Place, jiff::Timestamp) {
    let place = event_log::Place::new();
    let log = place.open();
    append(&log, "a").await;
    let (id, bounds) = (log.id(), log.tail().bounds());
    log.close().await;
    let file = rusqlite::Connection::open(place.file()).unwrap();
    let end_offset: i64 = file
        .query_row("SELECT end_offset FROM events", [], |row| row.get(0))
        .unwrap();
    let trimmed = [
        bounds.head.sequence as i64,
        bounds.head.checksum as i64,
        bounds.head_time.as_millisecond(),
        end_offset,
    ];
    let numbers = trimmed.iter().flat_map(|number| number.to_le_bytes());
    let row: Vec<u8> = id.0.into_iter().chain(numbers).collect();
    let [sequence, checksum, time, end_offset] = trimmed;
    file.execute("DELETE FROM events", []).unwrap();
    file.execute(
        "UPDATE log SET trimmed_sequence = ?, trimmed_checksum = ?, trimmed_time = ?, trimmed_offset = ?, checksum = ?",
        (sequence, checksum, time, end_offset, xxhash_rust::xxh3::xxh3_64(&row) as i64),
    )
    .unwrap();
    (place, bounds.head_time)
}

async fn moved<P: Named>(from: &event_log::Place) -> P {
    let (_files, file) = new_file();
    done("export", &file, &from.setting(), TENANT).await;
    let place = P::new().await;
    done("import", &file, &place.setting(), TENANT).await;
    place
}

async fn a_time_before_the_oldest_event_is_a_gap<P: Named>() {
    let (from, gone) = trimmed_log(&["a", "b"], &["c", "d"]).await;
    let place = moved::<P>(&from).await;
    let log = place.open().await;
    let trimmed = log.tail().bounds().trimmed;
    assert!(trimmed.sequence > 0);
    let found = all_after(&log, trimmed.sequence).await;
    let ids: Vec<_> = found.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, ["c", "d"]);
    assert!(matches!(
        log.position_before(gone).await,
        Err(ReadError::Trimmed(oldest)) if oldest == trimmed
    ));
    let just_after = gone + jiff::SignedDuration::from_millis(1);
    assert_eq!(log.position_before(just_after).await.unwrap(), trimmed);
    place.hands().set(from.hands.milliseconds());
    append(&log, "e").await;
    assert_eq!(all_after(&log, found[1].0).await.len(), 1);
}

async fn an_emptied_log_knows_that_it_was_not_always_empty<P: Named>() {
    let (from, gone) = emptied_log().await;
    let place = moved::<P>(&from).await;
    let log = place.open().await;
    let bounds = log.tail().bounds();
    assert_eq!(bounds.trimmed, bounds.head);
    assert_eq!(bounds.head_time, gone);
    let position = log.position_before(gone).await;
    assert!(matches!(position, Err(ReadError::Trimmed(_))));
    append(&log, "b").await;
    let found = all_after(&log, bounds.head.sequence).await;
    assert_eq!(found, [(bounds.head.sequence + 1, "b".to_owned())]);
}
