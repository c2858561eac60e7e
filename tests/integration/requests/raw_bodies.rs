//! Kora's body is kept only where the call that was sent asked for it.

use std::{fs, path::Path};

use kora_gateway::pb;
use serde_json::json;
use uuid::Uuid;

use super::{is_replay, request, screen};
use crate::{
    call::SCREENING_ID,
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

/// What only Kora's body has: no field of a message is made of it.
const BODY_ONLY: &str = "MARKER-OF-THE-BODY";

fn answer() -> Act {
    let body = json!({
        "screening_id": SCREENING_ID,
        "status": "COMPLETED",
        "decision": {"outcome": "APPROVE", "triggered_rules": []},
        "later_field": BODY_ONLY,
    });
    Act::json(200, &body)
}

fn with_body(id: Uuid) -> pb::ScreenRequest {
    pb::ScreenRequest {
        include_raw_json: true,
        ..request(id)
    }
}

fn is_body(raw_json: &[u8]) -> bool {
    contains(raw_json, BODY_ONLY)
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// Whether any file of the directory has the body.
fn is_on_disk(directory: &Path) -> bool {
    let files = fs::read_dir(directory).unwrap();
    files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .any(|content| contains(&content, BODY_ONLY))
}

#[tokio::test]
async fn a_body_that_nobody_asked_for_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let log = format!("file:{}", directory.path().display());
    let kora = ScriptedKora::start(answer()).await;
    let gateway = Gateway::start(&kora.base_url(), &[("event-log", &log)]).await;
    let id = Uuid::new_v4();
    let first = screen(&gateway, &request(id)).await;
    assert!(first.screening().raw_json.is_empty());
    let again = screen(&gateway, &with_body(id)).await;
    assert!(is_replay(&again));
    assert_eq!(again.screening(), first.screening());
    assert!(!is_on_disk(directory.path()));

    let id = Uuid::new_v4();
    let first = screen(&gateway, &with_body(id)).await.screening();
    assert!(is_body(&first.raw_json));
    let again = screen(&gateway, &with_body(id)).await;
    assert!(is_replay(&again));
    assert_eq!(again.screening(), first);
    let without = screen(&gateway, &request(id)).await.screening();
    assert!(without.raw_json.is_empty());
    assert!(is_on_disk(directory.path()));
    assert_eq!(kora.take_received().len(), 2);
    gateway.stop().await;
}
