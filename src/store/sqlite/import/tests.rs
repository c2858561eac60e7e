//! A log that is being filled, from inside.

use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::store::record::tests::event;

fn config(directory: &Path) -> Config {
    Config {
        directory: directory.to_owned(),
        retention_age: Duration::from_secs(1),
        retention_bytes: 1,
        dedup_window: Duration::from_secs(1),
        request_retention: Duration::from_secs(1),
        request_bytes: 2 << 30,
    }
}

fn begin(config: &Config) -> Result<Import, TransferError> {
    let beginning = Beginning {
        trimmed_time: None,
        largest_item: 0,
    };
    Import::begin(config, "tenant", beginning)
}

fn moved(id: &str, kind: &str, second: i64) -> Item {
    let mut event = event(id);
    event.keys.kind = kind.to_owned();
    event.raw = pb::Event {
        raw_json: format!("{{\"event\":\"{kind}\"}}").into(),
        ..Default::default()
    }
    .encode_to_vec()
    .into();
    let time = Timestamp::from_second(second).unwrap();
    let record = Record::seal(LogId([1; 16]), (0, 0), time, event);
    Item::Event(MovedEvent::from(&record))
}

fn fill(import: Import, items: Vec<Item>) -> Import {
    let (sender, received) = mpsc::channel(items.len());
    for item in items {
        sender.try_send(item).unwrap();
    }
    drop(sender);
    import.fill(received).unwrap()
}

#[test]
fn a_log_is_opened_by_nobody_until_it_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let import = begin(&config).unwrap();
    let path = import.path.clone();
    drop(fill(import, vec![moved("a", "case.closed", 1)]));
    for _ in 0..2 {
        let refused = schema::open(&path);
        assert!(matches!(refused, Err(OpenError::NotALog { .. })));
        assert!(begin(&config).is_err());
    }
    std::fs::remove_file(&path).unwrap();
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    let import = fill(begin(&config).unwrap(), vec![moved("a", "case.closed", 1)]);
    assert_eq!(import.finish().unwrap().events, 1);
    assert!(schema::open(&path).is_ok());
}

#[test]
fn an_event_that_is_there_twice_is_kept_once_and_an_id_of_two_bodies_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(directory.path());
    let items = vec![
        moved("a", "case.closed", 1),
        moved("a", "case.closed", 2),
        moved("a", "case.opened", 3),
        moved("a", "case.opened", 3),
        moved("b", "case.closed", 4),
    ];
    let import = fill(begin(&config).unwrap(), items);
    let found: Vec<(i64, String, Vec<u8>)> = import
        .connection
        .prepare("SELECT sequence, event_id, event FROM events ORDER BY sequence")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let ids: Vec<_> = found.iter().map(|(_, id, _)| id.as_str()).collect();
    assert_eq!(ids, ["a", "a~22e9ab4c2d1207e7", "b"]);
    for (at, (sequence, id, event)) in found.iter().enumerate() {
        assert_eq!(*sequence, at as i64 + 1);
        assert_eq!(pb::Event::decode(&event[..]).unwrap().event_id, *id);
    }
    assert_eq!(import.finish().unwrap().events, 3);
}
