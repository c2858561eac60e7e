//! A copy of a log that is in use.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use jiff::Timestamp;
use kora_gateway::store::{
    BackupError, Begun, Copied, Intent, PollLog, RequestContent, RequestKey, RequestLog,
};
use tokio::sync::watch;
use uuid::Uuid;

use super::*;

/// How large each event of a log is that takes many steps to copy.
const LARGE: usize = 256 << 10;

fn intent() -> Intent {
    Intent {
        key: RequestKey {
            caller: "anonymous".to_owned(),
            request_id: Uuid::from_u128(0x4000_8000_0000_0000_0001),
        },
        content: RequestContent {
            rpc: "Screen".to_owned(),
            fingerprint: [7; 32],
        },
        attempt: Uuid::from_u128(1),
    }
}

fn large(id: &str) -> NewEvent {
    let body = format!("{{\"filling\":\"{}\"}}", "x".repeat(LARGE));
    event(Identity::Vendor(id.to_owned()), &body)
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_holds_all_that_was_acknowledged_before_and_appends_go_on_meanwhile() {
    let place = Place::new();
    let log = Arc::new(place.open());
    for number in 0..64 {
        let appended = log.append(large(&format!("old{number}"))).await;
        assert_eq!(appended, Ok(Appended::New));
    }
    assert_eq!(log.begin(intent()).await.unwrap(), Begun::New);
    let added = log.add_poll("scr_1".to_owned(), "subj_1".to_owned(), Timestamp::MIN);
    assert!(added.await.unwrap());
    let target = Place::new();
    let (progress, mut copied) = watch::channel(Copied::default());
    let backup = tokio::spawn({
        let (log, directory) = (Arc::clone(&log), target.config.directory.clone());
        async move { log.back_up(&directory, progress).await }
    });
    // Changes pages that are copied already, and adds others.
    copied.changed().await.unwrap();
    let mut during = 0;
    while !backup.is_finished() {
        let appended = log.append(large(&format!("during{during}"))).await;
        assert_eq!(appended, Ok(Appended::New));
        during += 1;
    }
    assert!(during > 0);
    assert_eq!(backup.await.unwrap().unwrap(), target.file());
    let mode = target.file().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(entries(&target.config.directory), 1);
    let all = all_after(&*log, 0).await;
    log.close().await;
    let restored = target.open();
    let found = all_after(&restored, 0).await;
    assert!(found.len() >= 64);
    assert_eq!(found, all[..found.len()]);
    assert_eq!(restored.id(), log.id());
    assert!(restored.request(intent().key).await.unwrap().is_some());
    let polls = restored.polls(2, Timestamp::MAX).await.unwrap();
    assert_eq!(polls.sound.len(), 1);
    restored.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_cancelled_or_not_allowed_leaves_nothing() {
    let place = Place::new();
    let log = place.open();
    append(&log, "a").await;
    let target = Place::new();
    let directory = &target.config.directory;
    let (progress, copied) = watch::channel(Copied::default());
    drop(copied);
    let cancelled = log.back_up(directory, progress).await;
    assert!(matches!(cancelled, Err(BackupError::Cancelled)));
    assert_eq!(entries(directory), 0);
    let (progress, _copied) = watch::channel(Copied::default());
    log.back_up(directory, progress).await.unwrap();
    let content = fs::read(target.file()).unwrap();
    append(&log, "b").await;
    let (progress, _copied) = watch::channel(Copied::default());
    let again = log.back_up(directory, progress).await;
    assert!(matches!(again, Err(BackupError::File(_))));
    assert_eq!(fs::read(target.file()).unwrap(), content);
    assert_eq!(entries(directory), 1);
    // One of a gateway that was killed is in nobody's way.
    let other = Place::new();
    fs::create_dir(&other.config.directory).unwrap();
    let left_over = other.config.directory.join("tenant.events.db.partial");
    fs::write(&left_over, "x").unwrap();
    let (progress, _copied) = watch::channel(Copied::default());
    log.back_up(&other.config.directory, progress)
        .await
        .unwrap();
    assert!(!left_over.exists());
    log.close().await;
    let (progress, _copied) = watch::channel(Copied::default());
    let closed = log
        .back_up(&place.config.directory.join("c"), progress)
        .await;
    assert!(matches!(closed, Err(BackupError::Closed)));
}
