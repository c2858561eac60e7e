//! Files of other versions: older ones are brought up to date and lose nothing, the rest is refused.

use jiff::Timestamp;
use std::fs;

use kora_gateway::store::{
    Begun, Intent, PollLog, Polls, RequestContent, RequestKey, RequestLog, StoredState, Summary,
};
use uuid::Uuid;

use super::{disk::damage, *};

/// The version of the tables of this gateway.
const VERSION: i32 = 5;

/// What a gateway of version 3 left when it was killed, with four requests.
pub const VERSION_3: &str = include_str!("../../fixtures/log_of_version_3.sql");

/// The same of version 4, which had a table of ends without summaries.
pub const VERSION_4: &str = include_str!("../../fixtures/log_of_version_4.sql");

/// What version 2 did not have.
const NO_POLLS: &str = "DROP TABLE polls; DROP INDEX ends_by_screening; PRAGMA user_version = 2";

/// What version 1 did not have either.
const NO_REQUESTS: &str = "DROP TABLE requests; PRAGMA user_version = 1";

/// A place with a file of an older version.
pub fn older(statements: &[&str]) -> Place {
    let place = Place::new();
    fs::create_dir_all(&place.config.directory).unwrap();
    let file = rusqlite::Connection::open(place.file()).unwrap();
    for statements in statements {
        file.execute_batch(statements).unwrap();
    }
    place
}

pub fn key(number: u128) -> RequestKey {
    RequestKey {
        caller: "anonymous".to_owned(),
        request_id: Uuid::from_u128(0x4000_8000_0000_0000_0000 + number),
    }
}

#[tokio::test]
async fn a_file_that_is_no_log_is_refused() {
    let place = older(&["CREATE TABLE x (y); PRAGMA application_id = 7"]);
    assert!(matches!(place.try_open(), Err(OpenError::NotALog { .. })));

    let place = Place::new();
    let log = place.open();
    append(&log, "a").await;
    log.close().await;
    drop(log);
    let file = rusqlite::Connection::open(place.file()).unwrap();
    for (version, is_known) in [(VERSION + 1, false), (VERSION, true)] {
        file.pragma_update(None, "user_version", version).unwrap();
        assert_eq!(place.try_open().is_ok(), is_known, "{version}");
    }
    drop(file);
    damage(&place.file(), "UPDATE log SET trimmed_sequence = 1");
    assert!(matches!(place.try_open(), Err(OpenError::NotALog { .. })));
}

#[tokio::test]
async fn the_requests_of_an_older_version_stay_what_they_were() {
    for place in [
        older(&[VERSION_4]),
        older(&[VERSION_3]),
        older(&[VERSION_3, NO_POLLS]),
    ] {
        let log = place.open();
        // Whatever is written first also marks what was left open.
        append(&log, "a").await;
        for (number, state) in [
            (1, StoredState::Succeeded),
            (2, StoredState::Failed),
            (3, StoredState::MayBeRepeated),
            (4, StoredState::Abandoned),
        ] {
            let found = log.request(key(number)).await.unwrap().unwrap();
            assert_eq!(found.state, state);
            assert_eq!(found.answer.is_empty(), state == StoredState::Abandoned);
            assert!(!found.is_evicted && found.summary == Summary::default());
            assert_eq!(
                found.finish_time.is_none(),
                state == StoredState::Abandoned,
                "{number}"
            );
            let again = Intent {
                key: key(number),
                content: found.content.clone(),
                attempt: Uuid::new_v4(),
            };
            let begun = log.begin(again).await.unwrap();
            match state {
                StoredState::MayBeRepeated => assert_eq!(begun, Begun::New),
                _ => assert_eq!(begun, Begun::Found(found)),
            }
        }
        assert!(log.request(key(5)).await.unwrap().is_none());
        assert_eq!(
            log.polls(1, Timestamp::MAX).await.unwrap(),
            Polls::default()
        );
        log.close().await;
    }
}

#[tokio::test]
async fn a_file_from_before_there_were_requests_is_brought_up_to_date() {
    let place = older(&[VERSION_3, NO_POLLS, NO_REQUESTS]);
    let log = place.open();
    assert!(log.request(key(1)).await.unwrap().is_none());
    let first = Intent {
        key: key(1),
        content: RequestContent {
            rpc: "Screen".to_owned(),
            fingerprint: [7; 32],
        },
        attempt: Uuid::new_v4(),
    };
    assert_eq!(log.begin(first).await.unwrap(), Begun::New);
    assert_eq!(
        log.polls(1, Timestamp::MAX).await.unwrap(),
        Polls::default()
    );
    append(&log, "a").await;
    assert_eq!(all_after(&log, 0).await, named(&[(1, "a")]));
    log.close().await;
}

#[tokio::test]
async fn an_end_without_its_request_or_the_other_way_round_is_never_an_answer() {
    let place = older(&[VERSION_3]);
    place.open().close().await;
    damage(&place.file(), "DELETE FROM request_ends");
    let log = place.open();
    for number in 1..=3 {
        assert!(log.request(key(number)).await.is_err(), "{number}");
        let again = Intent {
            key: key(number),
            content: RequestContent {
                rpc: "Screen".to_owned(),
                fingerprint: [7; 32],
            },
            attempt: Uuid::new_v4(),
        };
        // Also when what was left open is marked.
        assert_eq!(log.begin(again).await, Ok(Begun::Damaged), "{number}");
    }
    log.close().await;
    drop(log);
    damage(&place.file(), "DELETE FROM requests WHERE number = 1");
    let log = place.open();
    assert!(log.request(key(1)).await.unwrap().is_none());
    log.close().await;
}

#[tokio::test]
async fn a_damaged_request_of_an_older_version_does_not_stop_the_start() {
    let damage = "UPDATE requests SET state = 3 WHERE state = 1";
    let place = older(&[VERSION_3, damage]);
    let log = place.open();
    let damaged = log.request(key(4)).await;
    assert!(matches!(damaged, Err(ReadError::Corrupt { .. })));
    assert!(log.request(key(1)).await.unwrap().is_some());
    log.close().await;
}
