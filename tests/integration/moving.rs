//! A log moves from one place to another by a file: whole, in its order, or not at all.

mod events;
mod gateways;
mod interruptions;
mod refusals;
mod requests;
mod trimmed;
mod unchanged;

use jiff::Timestamp;
use std::{
    path::{Path, PathBuf},
    process::Output,
};

use kora_gateway::store::{self, PollLog, RequestLog};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    event_log,
    log_laws::{NatsPlace, Place},
};

/// A place that the command line can name.
pub trait Named: Place {
    /// As a value of `--event-log`.
    fn setting(&self) -> String;

    /// As the library names it.
    fn as_store(&self) -> store::Place;
}

impl Named for event_log::Place {
    fn setting(&self) -> String {
        format!("file:{}", self.config.directory.display())
    }

    fn as_store(&self) -> store::Place {
        store::Place::Directory(self.config.clone())
    }
}

impl Named for NatsPlace {
    fn setting(&self) -> String {
        self.server.url()
    }

    fn as_store(&self) -> store::Place {
        store::Place::Nats(self.config.clone())
    }
}

/// Runs each test with both targets.
macro_rules! targets {
    ($($test:ident),* $(,)?) => {
        mod to_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test::<crate::event_log::Place>().await;
            })*
        }
        mod to_jetstream {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test::<crate::log_laws::NatsPlace>().await;
            })*
        }
    };
}
use targets;

/// Runs `store VERB FILE` for a tenant's log.
pub async fn run(verb: &str, file: &Path, event_log: &str, tenant: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kora-gateway"))
        .env_clear()
        .args(["store", verb])
        .arg(file)
        .args(["--event-log", event_log, "--kora-tenant-id", tenant])
        .output()
        .await
        .unwrap()
}

/// The same, which must end well. Returns what it says.
pub async fn done(verb: &str, file: &Path, event_log: &str, tenant: &str) -> String {
    let output = run(verb, file, event_log, tenant).await;
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same, which must be refused. Returns the complaint.
pub async fn refused(verb: &str, file: &Path, event_log: &str, tenant: &str) -> String {
    let output = run(verb, file, event_log, tenant).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// A file's name in a directory of its own.
pub fn new_file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log.export");
    (directory, file)
}

/// A screening that waits, and was polled once.
pub async fn add_postponed_poll(
    log: &impl PollLog,
    screening_id: &str,
    next_poll: jiff::Timestamp,
) {
    let added = log
        .add_poll(
            screening_id.to_owned(),
            "subj_of_poll".to_owned(),
            next_poll,
        )
        .await;
    assert_eq!(added, Ok(true));
    let polls = log.polls(100, Timestamp::MAX).await.unwrap().sound;
    let poll = polls
        .into_iter()
        .find(|poll| poll.screening_id == screening_id);
    assert!(log.postpone(poll.unwrap(), next_poll).await.unwrap());
}

/// Has a request begin, and end where there is an ending.
pub async fn add_request(
    log: &impl RequestLog,
    intent: store::Intent,
    ending: Option<store::Ending>,
) {
    assert_eq!(log.begin(intent).await.unwrap(), store::Begun::New);
    if let Some(ending) = ending {
        assert!(log.finish(ending).await.unwrap());
    }
}
