//! What is not imported or exported, and that nothing happened then.

use jiff::Timestamp;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use kora_gateway::store::{EventLog, PollLog, StoredState, transfer};
use uuid::Uuid;

use super::{Named, add_postponed_poll, add_request, done, new_file, refused, run, targets};
use crate::{
    event_log,
    log_laws::{
        TENANT, all_after, append, by_body,
        requests::{ending, intent},
    },
};

targets! {
    a_log_that_has_anything_is_refused_and_stays_as_it_is,
    a_log_that_was_opened_and_has_nothing_is_filled,
    the_log_of_another_tenant_is_refused,
}

/// A stopped log with some of everything.
async fn log_to_move() -> event_log::Place {
    let place = event_log::Place::new();
    let log = place.open();
    append(&log, "a").await;
    log.append(by_body(7)).await.unwrap();
    let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
    let done = ending(id, attempt, StoredState::Succeeded, "answer");
    add_request(&log, intent(id, attempt), Some(done)).await;
    add_postponed_poll(&log, "scr_1", jiff::Timestamp::UNIX_EPOCH).await;
    log.close().await;
    place
}

async fn exported() -> (tempfile::TempDir, std::path::PathBuf) {
    let (files, file) = new_file();
    done("export", &file, &log_to_move().await.setting(), TENANT).await;
    (files, file)
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    entries.map(|entry| name(entry.unwrap())).collect()
}

/// Sees that these bytes are refused, and that the target was not even created.
async fn assert_not_whole(bytes: &[u8], case: &str) {
    let (_files, file) = new_file();
    fs::write(&file, bytes).unwrap();
    let target = event_log::Place::new();
    let imported = transfer::import(&target.as_store(), TENANT, &file).await;
    assert!(
        matches!(imported, Err(transfer::TransferError::NotWhole { .. })),
        "{case}"
    );
    assert!(!target.config.directory.exists(), "{case}");
}

#[tokio::test]
async fn a_file_that_is_cut_anywhere_is_refused_whole() {
    let (_files, file) = exported().await;
    let whole = fs::read(&file).unwrap();
    for length in 0..whole.len() {
        assert_not_whole(&whole[..length], &format!("cut at {length}")).await;
    }
    assert_not_whole(&[&whole[..], b"\0"].concat(), "one byte more").await;
    assert_not_whole(&[&whole[..], &whole[..]].concat(), "twice").await;
}

#[tokio::test]
async fn a_file_with_a_flipped_bit_anywhere_is_refused_whole() {
    let (_files, file) = exported().await;
    let whole = fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        assert_not_whole(&flipped, &format!("byte {at}")).await;
    }
}

#[tokio::test]
async fn a_file_is_the_owners_alone_and_is_never_replaced() {
    let (files, file) = exported().await;
    let mode = file.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(names_in(files.path()), ["log.export"]);
    let before = fs::read(&file).unwrap();
    let other = log_to_move().await;
    let complaint = refused("export", &file, &other.setting(), TENANT).await;
    assert!(complaint.contains("is there already"), "{complaint}");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(names_in(files.path()), ["log.export"]);
}

#[tokio::test]
async fn a_log_in_use_a_log_that_is_not_there_and_bad_settings_are_told_apart() {
    let (files, file) = new_file();
    let place = log_to_move().await;
    let log = place.open();
    for verb in ["export", "import"] {
        let (_files, whole) = exported().await;
        let file = if verb == "export" { &file } else { &whole };
        let complaint = refused(verb, file, &place.setting(), TENANT).await;
        assert!(
            complaint.contains("in use by another process"),
            "{complaint}"
        );
    }
    log.close().await;
    let complaint = refused("export", &file, &place.setting(), "nobody").await;
    assert!(complaint.contains("there is no event log"), "{complaint}");
    let nowhere = event_log::Place::new();
    refused("export", &file, &nowhere.setting(), TENANT).await;
    assert!(!nowhere.config.directory.exists());
    refused("import", &file, &nowhere.setting(), TENANT).await;
    assert!(!nowhere.config.directory.exists());
    let bad = run("export", &file, "somewhere", TENANT).await;
    assert_eq!(bad.status.code(), Some(64));
    assert!(names_in(files.path()).is_empty());
}

#[tokio::test]
async fn a_damaged_record_is_never_left_out_silently() {
    for damage in [
        "UPDATE events SET raw = x'00' WHERE sequence = 2",
        "UPDATE request_ends SET answer = x'00'",
        "UPDATE polls SET attempts = 9",
    ] {
        let place = log_to_move().await;
        let database = rusqlite::Connection::open(place.file()).unwrap();
        assert_eq!(database.execute(damage, []).unwrap(), 1);
        drop(database);
        let (files, file) = new_file();
        let complaint = refused("export", &file, &place.setting(), TENANT).await;
        assert!(complaint.contains("damaged"), "{complaint}");
        assert!(names_in(files.path()).is_empty(), "{damage}");
    }
}

async fn a_log_that_has_anything_is_refused_and_stays_as_it_is<P: Named>() {
    let (_files, file) = exported().await;
    for what in 0..3 {
        let place = P::new().await;
        let log = place.open().await;
        let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
        match what {
            0 => append(&log, "x").await,
            1 => add_request(&log, intent(id, attempt), None).await,
            _ => add_postponed_poll(&log, "scr_x", jiff::Timestamp::UNIX_EPOCH).await,
        }
        P::close(&log).await;
        drop(log);
        let complaint = refused("import", &file, &place.setting(), TENANT).await;
        assert!(complaint.contains("is not empty"), "{what}: {complaint}");
        let log = place.open().await;
        assert_eq!(all_after(&log, 0).await.len(), usize::from(what == 0));
        let polls = log.polls(10, Timestamp::MAX).await.unwrap().sound;
        assert_eq!(polls.len(), usize::from(what == 2));
    }
}

async fn a_log_that_was_opened_and_has_nothing_is_filled<P: Named>() {
    let (_files, file) = exported().await;
    let place = P::new().await;
    P::close(&place.open().await).await;
    done("import", &file, &place.setting(), TENANT).await;
    assert_eq!(all_after(&place.open().await, 0).await.len(), 2);
    refused("import", &file, &place.setting(), TENANT).await;
}

async fn the_log_of_another_tenant_is_refused<P: Named>() {
    let (_files, file) = exported().await;
    let place = P::new().await;
    let complaint = refused("import", &file, &place.setting(), "other").await;
    assert!(complaint.contains("another tenant: tenant"), "{complaint}");
}
