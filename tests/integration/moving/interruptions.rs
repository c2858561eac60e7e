//! An import that did not come to its end is never taken for a log.

use std::{fs, time::Duration};

use kora_gateway::store::{EventLog, jetstream::OpenError};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use super::{Named, done, new_file, refused};
use crate::{
    event_log,
    log_laws::{NatsPlace, Place, TENANT, all_after, append, event},
    tcp_link::TcpLink,
};

/// No file may get larger, in KiB. The log that is imported is.
const FILE_LIMIT: &str = "6144";

/// How many events of how many bytes that is.
const EVENTS: usize = 160;
const EVENT_BYTES: usize = 64 << 10;

/// How long each message to NATS takes: an import of so many events takes some seconds.
const SLOW: Duration = Duration::from_millis(10);

/// How long to wait before another look, and for anything at most.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_import_into_a_directory_is_no_log_until_it_is_removed() {
    let from = event_log::Place::new();
    let log = from.open();
    let body = "x".repeat(EVENT_BYTES);
    for number in 0..EVENTS {
        let id = kora_gateway::event::Identity::Vendor(format!("evt_{number}"));
        log.append(event(id, &body)).await.unwrap();
    }
    log.close().await;
    let (_files, file) = new_file();
    done("export", &file, &from.setting(), TENANT).await;

    let place = event_log::Place::new();
    let status = Command::new("bash")
        .args([
            "-c",
            "ulimit -c 0; ulimit -f \"$1\"; shift; exec \"$@\"",
            "bash",
        ])
        .args([
            FILE_LIMIT,
            env!("CARGO_BIN_EXE_kora-gateway"),
            "store",
            "import",
        ])
        .arg(&file)
        .args(["--event-log", &place.setting(), "--kora-tenant-id", TENANT])
        .status()
        .await
        .unwrap();
    assert!(!status.success());
    let database = rusqlite::Connection::open(place.file()).unwrap();
    let count = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let imported = database.query_row("SELECT count(*) FROM events", [], count);
    assert!((1..EVENTS as i64).contains(&imported.unwrap()));
    drop(database);
    let refusal = place.try_open().unwrap_err().to_string();
    assert!(refusal.contains("begun and not finished"), "{refusal}");
    for verb in ["import", "export"] {
        let (_files, other) = new_file();
        let file = if verb == "import" { &file } else { &other };
        let complaint = refused(verb, file, &place.setting(), TENANT).await;
        assert!(complaint.contains("begun and not finished"), "{complaint}");
    }
    let path = place.file();
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    done("import", &file, &place.setting(), TENANT).await;
    assert_eq!(all_after(&place.open(), 0).await.len(), EVENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_import_into_nats_is_no_log_until_it_is_removed() {
    let from = event_log::Place::new();
    let log = from.open();
    for number in 0..EVENTS {
        append(&log, &format!("evt_{number}")).await;
    }
    log.close().await;
    let (_files, file) = new_file();
    done("export", &file, &from.setting(), TENANT).await;

    let place = NatsPlace::new().await;
    let client = place.server.client().await;
    let link = TcpLink::start(place.server.addr(), SLOW).await;
    let mut import = Command::new(env!("CARGO_BIN_EXE_kora-gateway"))
        .args(["store", "import"])
        .arg(&file)
        .args(["--event-log", &format!("nats://{}", link.addr())])
        .args(["--kora-tenant-id", TENANT])
        .spawn()
        .unwrap();
    let begun = async {
        loop {
            match client
                .get_stream(format!("kora-gateway-{TENANT}-events"))
                .await
            {
                Ok(stream) if stream.cached_info().state.messages > 0 => break,
                _ => sleep(LOOK_AGAIN).await,
            }
        }
    };
    timeout(PATIENCE, begun).await.unwrap();
    import.kill().await.unwrap();
    let opened = place.try_open().await;
    assert!(
        matches!(&opened, Err(OpenError::Refused(what)) if what.contains("begun and not finished"))
    );
    for verb in ["import", "export"] {
        let (_files, other) = new_file();
        let file = if verb == "import" { &file } else { &other };
        let complaint = refused(verb, file, &place.setting(), TENANT).await;
        assert!(complaint.contains("begun and not finished"), "{complaint}");
    }
    for stream in ["-events", "-records", "-requests"] {
        let bucket = if stream == "-events" { "" } else { "KV_" };
        let name = format!("{bucket}kora-gateway-{TENANT}{stream}");
        client.delete_stream(name).await.unwrap();
    }
    done("import", &file, &place.setting(), TENANT).await;
    assert_eq!(all_after(&place.open().await, 0).await.len(), EVENTS);
}
