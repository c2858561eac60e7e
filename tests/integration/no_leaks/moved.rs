//! Logs that are moved: `store export` and `store import` tell how much, and not what.

use std::fs;

use serde_json::json;
use uuid::Uuid;

use super::{
    deliveries::event,
    launch::Launch,
    marked::{self, NAME, WEBHOOK_SECRET},
    outputs::Outputs,
};
use crate::{
    call::{Call, Rpc, SCREENING_ID},
    deliveries::{Webhooks, signature_by},
    harness::TENANT_ID,
    scripted_kora::{Act, ScriptedKora},
};

#[tokio::test(flavor = "multi_thread")]
async fn moving_a_log_tells_nothing_of_what_is_in_it() {
    let kora = ScriptedKora::start(Act::json(200, &marked::completed(SCREENING_ID))).await;
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| format!("file:{}", directory.path().join(name).display());
    let launch = Launch::gateway(&kora.base_url()).flag("event-log", &place("old"));
    let gateway = launch.start().await;
    let mut outputs = Outputs::default();
    let body = event("evt_1", NAME, json!({"name": NAME}));
    let signature = signature_by(WEBHOOK_SECRET, &body);
    let answer = Webhooks::to(gateway.webhook())
        .offer_signed(&body, signature)
        .await;
    assert_eq!(answer.status(), 200);
    let request = marked::screening_once(Uuid::new_v4());
    Call::new(Rpc::Screen, &request)
        .send(gateway.grpc())
        .await
        .screening();
    gateway.end(&mut outputs).await;

    let file = directory.path().join("log.export");
    let run = |verb: &str, log: &str| {
        Launch::verb(&["store", verb, file.to_str().unwrap()])
            .flag("kora-tenant-id", TENANT_ID)
            .flag("event-log", &place(log))
    };
    let moved = async |verb: &str, log: &str, code: i32| {
        let ended = run(verb, log).end().await;
        assert_eq!(ended.code, Some(code), "{verb}: {}", ended.stderr);
        ended.stdout + &ended.stderr
    };
    let exported = moved("export", "old", 0).await;
    assert!(exported.contains("1 event"), "{exported}");
    outputs.add("export", exported);
    outputs.add("import", moved("import", "new", 0).await);
    outputs.add("a full log", moved("import", "new", 1).await);
    outputs.add("a file that is there", moved("export", "new", 1).await);
    assert!(String::from_utf8_lossy(&fs::read(&file).unwrap()).contains(NAME));
    // A byte of somebody's name is another one.
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes
        .windows(NAME.len())
        .position(|part| part == NAME.as_bytes())
        .unwrap();
    bytes[at + NAME.len() - 1] ^= 1;
    fs::write(&file, bytes).unwrap();
    outputs.add("a damaged file", moved("import", "third", 1).await);
    outputs.look();
}
