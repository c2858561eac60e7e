//! A column that is damaged so far that it does not even have its type: it harms its own row, and nothing else. The
//! gateway starts, other rows are what they were, and a damaged request is never taken for one that was not sent.

use kora_gateway::store::{
    Begun, Ending, Intent, PollLog, RequestContent, RequestKey, RequestLog, StoredState, Summary,
};
use uuid::Uuid;

use super::{versions::older, *};

/// What a number, a text and bytes can turn into.
const NO_NUMBER: &[&str] = &["'x'", "x'00'", "NULL", "1.5"];
const NO_TEXT: &[&str] = &["CAST(x'ff' AS TEXT)", "7", "x'00ff'", "NULL"];
const NO_BYTES: &[&str] = &["'x'", "7", "x'00'", "NULL"];

/// Changes the file past the gateway, and past what its tables allow.
fn damage(place: &Place, change: &str) {
    let connect = || rusqlite::Connection::open(place.file()).unwrap();
    let write_schema = |sql: &str| {
        let connection = connect();
        connection
            .pragma_update(None, "writable_schema", true)
            .unwrap();
        connection.execute_batch(sql).unwrap();
    };
    write_schema(
        "CREATE TABLE kept_schema AS SELECT name, sql FROM sqlite_schema; \
         UPDATE sqlite_schema SET sql = replace(replace(replace(sql, \
         ') STRICT, WITHOUT', ') WITHOUT'), ') STRICT', ')'), 'NOT NULL', '') WHERE type = 'table'",
    );
    let connection = connect();
    assert!(connection.execute(change, []).unwrap() > 0, "{change}");
    drop(connection);
    write_schema(
        "UPDATE sqlite_schema SET sql = (SELECT kept.sql FROM kept_schema AS kept WHERE kept.name = sqlite_schema.name) \
         WHERE type = 'table' AND name IN (SELECT name FROM kept_schema)",
    );
    connect().execute_batch("DROP TABLE kept_schema").unwrap();
}

fn intent(number: u128) -> Intent {
    Intent {
        key: RequestKey {
            caller: "c".to_owned(),
            request_id: Uuid::from_u128(number),
        },
        content: RequestContent {
            rpc: "Screen".to_owned(),
            fingerprint: [1; 32],
        },
        attempt: Uuid::from_u128(1000 + number),
    }
}

fn ending(number: u128, size: usize) -> Ending {
    let Intent { key, attempt, .. } = intent(number);
    Ending {
        key,
        attempt,
        state: StoredState::Succeeded,
        answer: vec![7; size].into(),
        summary: Summary {
            result_id: format!("scr_{number}"),
            reason: String::new(),
        },
    }
}

async fn begin_and_end(log: &Sqlite, number: u128, size: usize) {
    assert_eq!(log.begin(intent(number)).await, Ok(Begun::New), "{number}");
    assert_eq!(log.finish(ending(number, size)).await, Ok(true));
}

/// Requests 1 and 2 have ended, and 3 is open.
async fn with_requests(place: &Place) {
    let log = place.open();
    for number in [1, 2] {
        begin_and_end(&log, number, 10).await;
    }
    assert_eq!(log.begin(intent(3)).await, Ok(Begun::New));
    log.close().await;
}

/// Each column, with what it can turn into.
fn each(columns: &[(&'static str, &'static [&'static str])]) -> Vec<String> {
    let turned = columns.iter().flat_map(|(column, values)| {
        values
            .iter()
            .map(move |value| format!("{column} = {value}"))
    });
    turned.collect()
}

/// A log with a damaged request, which is the second or the third, works; and so it does after a restart.
async fn check_requests(place: &Place, damaged: u128, change: &str) {
    for round in 0..2 {
        let log = place.open();
        append(&log, &format!("e{round}")).await;
        let again = log.begin(intent(damaged)).await;
        assert_eq!(again, Ok(Begun::Damaged), "{change}");
        let found = log.request(intent(damaged).key).await;
        assert!(matches!(found, Err(ReadError::Corrupt { .. })), "{change}");
        let sound = log.request(intent(1).key).await.unwrap().unwrap();
        assert_eq!(sound.state, StoredState::Succeeded, "{change}");
        assert_eq!(sound.answer.len(), 10);
        if damaged != 3 {
            let open = log.request(intent(3).key).await.unwrap().unwrap();
            assert_eq!(open.state, StoredState::Abandoned, "{change}");
        }
        assert_eq!(log.finish(ending(damaged, 10)).await, Ok(false), "{change}");
        begin_and_end(&log, 10 + round, 10).await;
        log.close().await;
    }
}

#[tokio::test]
async fn a_damaged_request_harms_no_other_and_is_never_new() {
    let columns = [
        ("rpc", NO_TEXT),
        ("fingerprint", NO_BYTES),
        ("attempt", NO_BYTES),
        ("create_time", NO_NUMBER),
    ];
    for change in each(&columns) {
        // The checksum of a request is void once it has an end, which has one over both.
        for number in [2, 3] {
            let place = Place::new();
            with_requests(&place).await;
            damage(
                &place,
                &format!("UPDATE requests SET {change} WHERE number = {number}"),
            );
            check_requests(&place, number, &change).await;
        }
    }
    for change in each(&[("checksum", NO_NUMBER)]) {
        let place = Place::new();
        with_requests(&place).await;
        damage(
            &place,
            &format!("UPDATE requests SET {change} WHERE number = 3"),
        );
        check_requests(&place, 3, &change).await;
    }
}

#[tokio::test]
async fn a_damaged_end_of_a_request_harms_no_other_and_its_request_is_never_new() {
    let columns = [
        ("state", NO_NUMBER),
        ("finish_time", NO_NUMBER),
        ("has_answer", NO_NUMBER),
        ("result_id", NO_TEXT),
        // Nothing at all is the same as no reason.
        ("reason", &NO_TEXT[..3]),
        ("checksum", NO_NUMBER),
        ("answer", NO_BYTES),
    ];
    for change in each(&columns) {
        let place = Place::new();
        with_requests(&place).await;
        damage(
            &place,
            &format!("UPDATE request_ends SET {change} WHERE number = 2"),
        );
        check_requests(&place, 2, &change).await;
    }
}

/// A request's age is no part of what it says: the request is what it was, and is not forgotten early.
#[tokio::test]
async fn a_damaged_age_of_a_request_harms_no_other() {
    for value in NO_NUMBER {
        let place = Place::new();
        with_requests(&place).await;
        damage(
            &place,
            &format!("UPDATE request_ends SET log_time = {value} WHERE number = 2"),
        );
        let log = place.open();
        append(&log, "a").await;
        for number in [1, 2] {
            let found = log.request(intent(number).key).await.unwrap().unwrap();
            assert_eq!(found.state, StoredState::Succeeded, "{value}");
        }
        log.close().await;
    }
}

#[tokio::test]
async fn eviction_passes_damaged_rows_by() {
    let columns = [
        ("state", NO_NUMBER),
        ("log_time", NO_NUMBER),
        ("has_answer", NO_NUMBER),
        ("result_id", NO_TEXT),
        ("checksum", NO_NUMBER),
        ("answer", NO_BYTES),
    ];
    for change in each(&columns) {
        let mut place = Place::new();
        place.config.request_bytes = 64 << 10;
        let log = place.open();
        for number in 1..=4 {
            begin_and_end(&log, number, 8 << 10).await;
        }
        log.close().await;
        damage(
            &place,
            &format!("UPDATE request_ends SET {change} WHERE number = 1"),
        );
        let log = place.open();
        for number in 10..30 {
            begin_and_end(&log, number, 8 << 10).await;
        }
        append(&log, "a").await;
        let evicted = log.request(intent(2).key).await.unwrap().unwrap();
        assert!(evicted.is_evicted, "{change}");
        assert_eq!(evicted.summary.result_id, "scr_2");
        assert!(
            !matches!(log.begin(intent(1)).await, Ok(Begun::New)),
            "{change}"
        );
        log.close().await;
    }
}

#[tokio::test]
async fn a_damaged_event_harms_no_other_wherever_it_stands() {
    let columns = [
        ("receive_time", NO_NUMBER),
        ("end_offset", NO_NUMBER),
        ("event_id", NO_TEXT),
        ("type", NO_TEXT),
        ("screening_id", NO_TEXT),
        ("subject_id", NO_TEXT),
        ("format", NO_NUMBER),
        ("event", NO_BYTES),
        ("raw", NO_BYTES),
        ("checksum", NO_NUMBER),
    ];
    for change in each(&columns) {
        for damaged in [2, 3_u64] {
            let place = Place::new();
            let log = place.open();
            for id in ["a", "b", "c"] {
                append(&log, id).await;
            }
            log.close().await;
            damage(
                &place,
                &format!("UPDATE events SET {change} WHERE sequence = {damaged}"),
            );
            for round in 0..2 {
                let log = place.open();
                append(&log, &format!("later{round}")).await;
                let head = log.tail().bounds().head.sequence;
                assert_eq!(head, 4 + round, "{change}");
                for sequence in 1..=head {
                    let page = log.read(sequence - 1).await;
                    if sequence == damaged {
                        assert!(matches!(page, Err(ReadError::Corrupt { .. })), "{change}");
                    } else {
                        assert_eq!(page.unwrap()[0].sequence, sequence, "{change}");
                    }
                }
                log.close().await;
            }
            // It does not stay for ever either.
            place.pass(Duration::from_secs(3601));
            let log = place.open();
            append(&log, "last").await;
            assert_eq!(log.tail().bounds().trimmed.sequence, 5, "{change}");
            log.close().await;
        }
    }
}

#[tokio::test]
async fn a_damaged_poll_harms_no_other_and_can_be_removed() {
    let columns = [
        ("screening_id", &["CAST(x'ff' AS TEXT)", "7", "x'00ff'"][..]),
        // Nothing at all is the same as no subject.
        ("subject_id", &NO_TEXT[..3]),
        ("next_poll", NO_NUMBER),
        ("attempts", NO_NUMBER),
        ("create_time", NO_NUMBER),
        ("checksum", NO_NUMBER),
    ];
    for change in each(&columns) {
        let place = Place::new();
        let log = place.open();
        for id in ["a", "b"] {
            let added = log.add_poll(id.to_owned(), String::new(), Timestamp::UNIX_EPOCH);
            assert!(added.await.unwrap());
        }
        // No number that stands for nothing.
        let due = Timestamp::from_millisecond(5).unwrap();
        for poll in log.polls(10, Timestamp::MAX).await.unwrap().sound {
            assert!(log.postpone(poll, due).await.unwrap());
        }
        log.close().await;
        damage(
            &place,
            &format!("UPDATE polls SET {change} WHERE screening_id = 'a'"),
        );
        let log = place.open();
        append(&log, "e").await;
        let polls = log.polls(10, Timestamp::MAX).await.unwrap();
        assert_eq!(polls.sound.len(), 1, "{change}");
        assert_eq!(polls.sound[0].screening_id, "b");
        let [damaged] = &polls.damaged[..] else {
            panic!("{change}: {:?}", polls.damaged);
        };
        assert_eq!(log.remove_poll(damaged.clone()).await, Ok(true), "{change}");
        let left = log.polls(10, Timestamp::MAX).await.unwrap();
        assert!(left.damaged.is_empty() && left.sound.len() == 1, "{change}");
        log.close().await;
    }
}

#[tokio::test]
async fn a_damaged_row_of_an_older_version_does_not_stop_the_start() {
    let columns = [
        ("rpc", NO_TEXT),
        ("fingerprint", NO_BYTES),
        ("attempt", NO_BYTES),
        ("state", NO_NUMBER),
        ("answer", NO_BYTES),
        ("create_time", NO_NUMBER),
        ("finish_time", NO_NUMBER),
        ("checksum", NO_NUMBER),
        ("caller", NO_TEXT),
        ("request_id", NO_BYTES),
    ];
    let (third, fourth) = (super::versions::VERSION_3, super::versions::VERSION_4);
    let ends = ["state", "answer", "finish_time", "checksum"];
    for (column, values) in columns {
        for value in values {
            let is_key = matches!(column, "caller" | "request_id");
            if is_key && *value == "NULL" {
                // No table of version 3 can have it.
                continue;
            }
            for (schema, table, row) in [
                (third, "requests", "substr(request_id, 16) = x'01'"),
                (
                    fourth,
                    if ends.contains(&column) {
                        "request_ends"
                    } else {
                        "requests"
                    },
                    "number = 1",
                ),
            ] {
                let place = older(&[schema]);
                let change = format!("UPDATE {table} SET {column} = {value} WHERE {row}");
                damage(&place, &change);
                let log = place.open();
                append(&log, "a").await;
                for number in 1..=4 {
                    let key = super::versions::key(number);
                    let found = log.request(key).await;
                    match number {
                        1 if is_key => {}
                        1 => assert!(matches!(found, Err(ReadError::Corrupt { .. })), "{change}"),
                        _ => assert!(found.unwrap().is_some(), "{change}"),
                    }
                }
                log.close().await;
            }
        }
    }
}
