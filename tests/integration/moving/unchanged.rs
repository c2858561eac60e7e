//! An export changes nothing in the log.

use std::fs;

use kora_gateway::store::EventLog;

use super::{done, new_file};
use crate::{
    event_log::{
        self,
        versions::{VERSION_3, VERSION_4, older},
    },
    log_laws::{TENANT, all_after, append},
    moving::Named,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_an_older_version_is_exported_as_it_is() {
    for (version, statements) in [(3, VERSION_3), (4, VERSION_4)] {
        let place = older(&[statements]);
        let before = fs::read(place.file()).unwrap();
        let (directory, file) = new_file();
        let said = done("export", &file, &place.setting(), TENANT).await;
        assert_eq!(fs::read(place.file()).unwrap(), before, "{version}");
        assert!(said.contains('4'), "{said}");
        // No copy is left either.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let target = event_log::Place::new();
        done("import", &file, &target.setting(), TENANT).await;
        target.open().close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_in_the_write_ahead_log_is_exported_and_stays_there() {
    let from = event_log::Place::new();
    let log = from.open();
    for id in ["a", "b", "c"] {
        append(&log, id).await;
    }
    // What a SIGKILL leaves.
    let killed = event_log::Place::new();
    fs::create_dir(&killed.config.directory).unwrap();
    let write_ahead_log = |place: &event_log::Place| place.file().with_extension("db-wal");
    let content = fs::read(write_ahead_log(&from)).unwrap();
    assert!(!content.is_empty());
    fs::copy(from.file(), killed.file()).unwrap();
    fs::write(write_ahead_log(&killed), &content).unwrap();
    let expected = all_after(&log, 0).await;
    log.close().await;
    let before = fs::read(killed.file()).unwrap();
    let (_directory, file) = new_file();
    done("export", &file, &killed.setting(), TENANT).await;
    assert_eq!(fs::read(killed.file()).unwrap(), before);
    assert_eq!(fs::read(write_ahead_log(&killed)).unwrap(), content);
    let target = event_log::Place::new();
    target.hands.set(from.hands.milliseconds());
    done("import", &file, &target.setting(), TENANT).await;
    let log = target.open();
    assert_eq!(all_after(&log, 0).await, expected);
    assert_eq!(log.tail().bounds().head.sequence, 3);
    log.close().await;
}
