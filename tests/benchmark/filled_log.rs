//! A log with very many events, written by the store itself: webhooks would take minutes.

use std::{path::Path, time::Duration};

use futures_util::future::try_join_all;
use kora_gateway::{
    clock::Clock,
    event::{Content, Identity, Keys, NewEvent},
    store::{Config, EventLog, Metrics, Sqlite},
    telemetry,
};
use tokio::runtime;

use crate::{
    gateway::TENANT,
    webhooks::{body, event_id},
};

/// How many appends wait at a time.
const WAITING: u32 = 512;

/// Appends the events with these numbers to the log in `directory`.
pub fn fill(directory: &Path, numbers: std::ops::Range<u32>) {
    let config = Config {
        directory: directory.to_owned(),
        retention_age: Duration::from_secs(30 * 24 * 3600),
        retention_bytes: u64::MAX,
        dedup_window: Duration::from_secs(3600),
        request_retention: Duration::from_secs(7 * 86_400),
        request_bytes: 2 << 30,
    };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let metrics = Metrics::register(&mut telemetry::Metrics::registry());
        let log = Sqlite::open(&config, TENANT, Clock::system(), metrics).unwrap();
        for first in numbers.clone().step_by(WAITING as usize) {
            let last = numbers.end.min(first + WAITING);
            let appends = (first..last).map(|number| log.append(event(number)));
            try_join_all(appends).await.unwrap();
        }
        log.close().await;
    });
}

fn event(number: u32) -> NewEvent {
    let content = Content {
        keys: Keys {
            kind: "screening.completed".to_owned(),
            screening_id: format!("scr_9f2c41d07a{number:010}"),
            subject_id: format!("subj_4b1e{:08}", number % 5000),
        },
        ..Content::default()
    };
    let identity = Identity::Vendor(event_id(number));
    NewEvent::from_webhook(identity, content, body(number).as_bytes())
}
