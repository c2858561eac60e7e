//! What the disk does to a log: damage, torn writes, leftovers, and who may read it.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use kora_gateway::{
    event::SCREENING_COMPLETED,
    store::{Begun, Intent, PollLog, Polls, RequestContent, RequestKey, RequestLog},
};
use uuid::Uuid;

use super::*;

/// Changes the file as a broken disk would, past the gateway.
pub fn damage(file: &Path, statement: &str) {
    let connection = rusqlite::Connection::open(file).unwrap();
    assert!(connection.execute(statement, []).unwrap() > 0);
}

#[tokio::test]
async fn a_damaged_record_is_never_returned_and_those_before_it_are() {
    for change in [
        "UPDATE events SET raw = CAST(raw || x'00' AS BLOB) WHERE sequence = 3",
        "UPDATE events SET event = x'00' WHERE sequence = 3",
        "UPDATE events SET receive_time = receive_time + 1 WHERE sequence = 3",
        "UPDATE events SET end_offset = end_offset + 1 WHERE sequence = 3",
        "UPDATE events SET type = 'screening.completed' WHERE sequence = 3",
        "UPDATE events SET subject_id = 's' WHERE sequence = 3",
        "UPDATE events SET event_id = 'x' WHERE sequence = 3",
        "UPDATE events SET checksum = checksum + 1 WHERE sequence = 3",
        "UPDATE events SET format = 2 WHERE sequence = 3",
        "UPDATE events SET sequence = 300 WHERE sequence = 3",
        "DELETE FROM events WHERE sequence = 3",
    ] {
        let place = Place::new();
        let log = place.open();
        for id in ["a", "b", "c", "d"] {
            append(&log, id).await;
        }
        log.close().await;
        damage(&place.file(), change);
        let log = place.open();
        let page = log.read(0).await.unwrap();
        assert_eq!(page.len(), 2, "{change}");
        let next = log.read(2).await;
        assert!(
            matches!(next, Err(ReadError::Corrupt { sequence: 3, .. })),
            "{change}: {next:?}"
        );
    }
}

/// Bytes in the place of a text that no text has.
const NO_TEXT: &str = "CAST(x'ff' AS TEXT)";

#[tokio::test]
async fn an_event_that_comes_again_is_kept_although_its_record_is_damaged() {
    let place = Place::new();
    let log = place.open();
    append(&log, "a").await;
    damage(
        &place.file(),
        &format!("UPDATE events SET type = {NO_TEXT}"),
    );
    // Better twice than lost; and what comes at the same time is not its fault.
    for id in ["a", "b"] {
        append(&log, id).await;
    }
}

#[tokio::test]
async fn an_end_is_kept_although_the_record_that_it_replaces_is_damaged() {
    let place = Place::new();
    let log = place.open();
    let end = || Content {
        keys: Keys {
            kind: SCREENING_COMPLETED.to_owned(),
            screening_id: "scr_1".to_owned(),
            ..Keys::default()
        },
        ..Content::default()
    };
    let next_poll = Timestamp::UNIX_EPOCH;
    assert_eq!(
        log.add_poll("scr_1".to_owned(), String::new(), next_poll)
            .await,
        Ok(true)
    );
    let reconciled = log.reconcile(NewEvent::reconciled(end(), b"{}")).await;
    assert_eq!(reconciled, Ok(Appended::New));
    damage(
        &place.file(),
        &format!("UPDATE events SET type = {NO_TEXT}"),
    );
    let webhook = NewEvent::from_webhook(Identity::Vendor("e".to_owned()), end(), b"{}");
    assert_eq!(log.append(webhook).await, Ok(Appended::New));
}

#[tokio::test]
async fn a_damaged_request_stands_in_its_own_way_alone() {
    let place = Place::new();
    let log = place.open();
    let intent = || Intent {
        key: RequestKey {
            caller: "c".to_owned(),
            request_id: Uuid::nil(),
        },
        content: RequestContent {
            rpc: "Screen".to_owned(),
            fingerprint: [1; 32],
        },
        attempt: Uuid::new_v4(),
    };
    assert_eq!(log.begin(intent()).await, Ok(Begun::New));
    for change in [
        format!("rpc = {NO_TEXT}"),
        "rpc = 'CreateSubject'".to_owned(),
        "fingerprint = x'00'".to_owned(),
        "attempt = x'00'".to_owned(),
        "create_time = create_time + 1".to_owned(),
    ] {
        damage(&place.file(), &format!("UPDATE requests SET {change}"));
        assert_eq!(log.begin(intent()).await, Ok(Begun::Damaged), "{change}");
    }
    append(&log, "a").await;
}

#[tokio::test]
async fn a_damaged_poll_does_not_hide_the_others() {
    let place = Place::new();
    let log = place.open();
    for id in ["scr_1", "scr_2"] {
        let next_poll = Timestamp::UNIX_EPOCH;
        assert_eq!(
            log.add_poll(id.to_owned(), String::new(), next_poll).await,
            Ok(true)
        );
    }
    let change = format!("UPDATE polls SET screening_id = {NO_TEXT} WHERE screening_id = 'scr_1'");
    damage(&place.file(), &change);
    let Polls { sound, damaged } = log.polls(10, Timestamp::MAX).await.unwrap();
    let sound: Vec<_> = sound.into_iter().map(|poll| poll.screening_id).collect();
    assert_eq!(sound, ["scr_2"]);
    assert_eq!(damaged.len(), 1);
    for id in damaged {
        assert_eq!(log.remove_poll(id).await, Ok(true));
    }
    assert!(
        log.polls(10, Timestamp::MAX)
            .await
            .unwrap()
            .damaged
            .is_empty()
    );
}

/// The file of 200 events, and where in it the id of the 101st stands.
async fn with_copies_of_one_id(place: &Place) -> (Vec<u8>, Vec<usize>) {
    let log = place.open();
    for number in 0..200 {
        append(&log, &format!("event-{number:04}")).await;
    }
    log.close().await;
    let file = fs::read(place.file()).unwrap();
    let id = b"event-0100";
    let places = (0..file.len() - id.len()).filter(|at| &file[*at..at + id.len()] == id);
    let places = places.collect();
    (file, places)
}

#[tokio::test]
async fn bytes_that_flipped_in_the_file_are_found() {
    let place = Place::new();
    let (sound, places) = with_copies_of_one_id(&place).await;
    assert!(places.len() >= 2, "in the row and in the encoded event");
    for at in places {
        let mut flipped = sound.clone();
        flipped[at + 3] ^= 0x10;
        fs::write(place.file(), flipped).unwrap();
        let log = place.open();
        let mut seen = 0;
        let end = loop {
            match log.read(seen).await {
                Ok(page) if page.is_empty() => break None,
                Ok(page) => seen = page.last().unwrap().sequence,
                Err(error) => break Some(error),
            }
        };
        log.close().await;
        match end {
            Some(ReadError::Corrupt { sequence: 101, .. }) => assert_eq!(seen, 100),
            // The index has a copy of the id, which no reader reads.
            None => assert_eq!(seen, 200),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_torn_last_write_is_recovered() {
    let place = Place::new();
    let log = place.open();
    for number in 0..20 {
        append(&log, &format!("e{number}")).await;
    }
    // What a power cut in the middle of the next write leaves: a copy with half a frame more.
    let copy = place.directory.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let wal = place.file().with_extension("db-wal");
    fs::copy(place.file(), copy.join("tenant.events.db")).unwrap();
    let mut torn = fs::read(&wal).unwrap();
    let frame = torn[torn.len() - 4120..].to_vec();
    torn.extend_from_slice(&frame[..2000]);
    fs::write(copy.join("tenant.events.db-wal"), &torn).unwrap();

    let restored = Place {
        config: Config {
            directory: copy,
            ..place.config.clone()
        },
        hands: place.hands.clone(),
        directory: tempfile::tempdir().unwrap(),
    };
    let log = restored.open();
    assert_eq!(all_after(&log, 0).await.len(), 20);
    append(&log, "next").await;
    assert_eq!(all_after(&log, 20).await, named(&[(21, "next")]));

    // Torn inside the last whole frame: the append that it belonged to is gone, nothing else.
    log.close().await;
    drop(log);
    fs::copy(place.file(), restored.file()).unwrap();
    let whole = torn.len() - 2000;
    fs::write(
        restored.file().with_extension("db-wal"),
        &torn[..whole - 1000],
    )
    .unwrap();
    let log = restored.open();
    assert_eq!(all_after(&log, 0).await.len(), 19);
}

#[tokio::test]
async fn events_are_for_the_gateways_user_alone() {
    let place = Place::new();
    fs::create_dir(&place.config.directory).unwrap();
    fs::set_permissions(&place.config.directory, Permissions::from_mode(0o755)).unwrap();
    let log = place.open();
    append(&log, "a").await;
    log.read(0).await.unwrap();
    let files = || {
        fs::read_dir(&place.config.directory).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            (entry.file_name().into_string().unwrap(), mode & 0o777)
        })
    };
    for (name, mode) in files().filter(|(name, _)| name.contains(".db")) {
        assert_eq!(mode, 0o600, "{name}");
    }
    log.close().await;
    drop(log);
    // As an earlier version, or a restored backup, may have left it.
    fs::set_permissions(place.file(), Permissions::from_mode(0o644)).unwrap();
    place.open();
    assert_eq!(
        place.file().metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn what_is_not_kept_any_longer_is_not_in_the_file_either() {
    let place = Place::new();
    let log = place.open();
    let body = "{\"name\":\"OLGA SECRETOVA\"}".repeat(200);
    let personal = event(Identity::Vendor("p".to_owned()), &body);
    assert_eq!(log.append(personal).await, Ok(Appended::New));
    place.pass(Duration::from_secs(7200));
    append(&log, "x").await;
    assert_eq!(log.tail().bounds().trimmed.sequence, 1);
    log.close().await;
    let bytes = fs::read(place.file()).unwrap();
    let found = bytes
        .windows(14)
        .filter(|window| window == b"OLGA SECRETOVA");
    assert_eq!(found.count(), 0);
}

#[tokio::test]
async fn somebody_who_reads_the_file_does_not_hinder_a_start() {
    let place = Place::new();
    let log = place.open();
    append(&log, "a").await;
    let reader = rusqlite::Connection::open(place.file()).unwrap();
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM events;")
        .unwrap();
    append(&log, "b").await;
    log.close().await;
    drop(log);
    let log = place.open();
    append(&log, "c").await;
    assert_eq!(
        all_after(&log, 0).await,
        named(&[(1, "a"), (2, "b"), (3, "c")])
    );
}

#[tokio::test]
async fn the_write_ahead_log_goes_back_into_the_file_by_the_writers_hand_alone() {
    let place = Place::new();
    let log = place.open();
    let body = "x".repeat(1 << 20);
    let size = || place.file().metadata().unwrap().len();
    let append_large = async |number: usize| {
        let large = event(Identity::Vendor(format!("e{number}")), &body);
        assert_eq!(log.append(large).await, Ok(Appended::New));
    };
    for number in 0..6 {
        append_large(number).await;
    }
    // SQLite by itself would not have waited for so much.
    assert!(size() < 1 << 20, "{}", size());
    for number in 6..9 {
        append_large(number).await;
    }
    let written_back = async {
        while size() < 8 << 20 {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, written_back).await.unwrap();
}

#[tokio::test]
async fn a_page_of_the_file_that_is_no_page_is_damage() {
    let place = Place::new();
    let (sound, places) = with_copies_of_one_id(&place).await;
    let pages: BTreeSet<_> = places.iter().map(|at| at - at % 4096).collect();
    let mut damaged = 0;
    for page in pages {
        let mut torn = sound.clone();
        torn[page..page + 4096].fill(0xff);
        fs::write(place.file(), torn).unwrap();
        let log = place.open();
        for sequence in 0..200 {
            match log.read(sequence).await {
                Ok(_) => {}
                Err(ReadError::Corrupt { .. }) => damaged += 1,
                Err(other) => panic!("{other}"),
            }
        }
        log.close().await;
    }
    assert!(damaged > 0);
}
