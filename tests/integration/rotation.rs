//! Secrets that change while the gateway serves.

mod renewals;

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use kora_gateway::{config::Config, kora, secret::Secret, webhook};
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, interval, timeout},
};

use crate::{
    call::{Rpc, SCREENING_ID},
    deliveries::{Webhooks, signature_by},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

/// A hundred a second.
const PAUSE: Duration = Duration::from_millis(10);

/// How long there is load before a secret changes, and after it.
const LOAD: Duration = Duration::from_secs(1);

/// How long the gateway has to notice, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn secret(file: &Path, check: kora_gateway::secret::Check) -> Secret {
    let text = kora_gateway::secret::read(file, check).unwrap().text;
    Secret::in_file(text, file.to_owned(), check)
}

/// Does it a hundred times a second until told to stop, and waits until all is done.
async fn load<F: Future<Output = ()> + Send + 'static>(
    mut stop: watch::Receiver<bool>,
    mut once: impl FnMut(usize) -> F,
) -> usize {
    let (mut turns, mut all) = (interval(PAUSE), JoinSet::new());
    for number in 0.. {
        if *stop.borrow_and_update() {
            break;
        }
        turns.tick().await;
        all.spawn(once(number));
    }
    let count = all.len();
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_under_load_and_no_call_fails() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("api-key");
    fs::write(&file, "old-key").unwrap();
    let accepted = Arc::new(Mutex::new("Bearer old-key"));
    let by = Arc::clone(&accepted);
    let kora = ScriptedKora::start(Act::scripted(move |received| {
        match received.header("authorization") == Some(*by.lock().unwrap()) {
            true => Act::json(
                200,
                &json!({"screening_id": SCREENING_ID, "status": "PENDING"}),
            ),
            false => Act::error(401, "UNAUTHORIZED"),
        }
    }))
    .await;
    let gateway = Gateway::start_with(&kora.base_url(), &[], |config: &mut Config| {
        config.tenants[0].kora.api_key = secret(&file, kora::check_api_key);
    })
    .await;
    let (stop, stopped) = watch::channel(false);
    let grpc = gateway.grpc;
    let calls = tokio::spawn(load(stopped, move |_| async move {
        let answer = Rpc::Screen.call().send(grpc).await;
        assert_eq!(answer.screening().screening_id, SCREENING_ID);
    }));
    for (key, bearer) in [("new-key", "Bearer new-key"), ("newest", "Bearer newest")] {
        tokio::time::sleep(LOAD).await;
        fs::write(&file, key).unwrap();
        *accepted.lock().unwrap() = bearer;
    }
    tokio::time::sleep(LOAD).await;
    stop.send_replace(true);
    let count = calls.await.unwrap();
    let sent = kora.take_received();
    assert!(sent.len() >= count);
    assert_eq!(
        sent.last().unwrap().header("authorization"),
        Some("Bearer newest")
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_key_that_is_refused_and_has_not_changed_is_not_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("api-key");
    fs::write(&file, "a-key").unwrap();
    let kora = ScriptedKora::start(Act::error(401, "UNAUTHORIZED")).await;
    let gateway = Gateway::start_with(&kora.base_url(), &[], |config: &mut Config| {
        config.tenants[0].kora.api_key = secret(&file, kora::check_api_key);
    })
    .await;
    for rpc in [Rpc::Screen, Rpc::GetSubject] {
        let answer = rpc.call().send(gateway.grpc).await;
        assert_eq!(answer.reason(), "KORA_CREDENTIAL_REJECTED");
        assert_eq!(kora.take_received().len(), 1);
    }
    // Nor is it looked for longer than the caller waits.
    let began = Instant::now();
    let hasty = Rpc::Screen.call().header("grpc-timeout", "300m");
    hasty.send(gateway.grpc).await;
    assert!(began.elapsed() < PATIENCE / 2);
    // Another one that is refused as well is tried once.
    fs::write(&file, "another").unwrap();
    let answer = Rpc::Screen.call().send(gateway.grpc).await;
    assert_eq!(answer.reason(), "KORA_CREDENTIAL_REJECTED");
    let tried = kora.take_received();
    let keys: Vec<_> = tried
        .iter()
        .map(|one| one.header("authorization"))
        .collect();
    assert_eq!(
        keys[keys.len() - 2..],
        [Some("Bearer a-key"), Some("Bearer another")]
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_secret_is_rotated_under_load_and_no_webhook_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("webhook-secret");
    fs::write(&file, "old").unwrap();
    let gateway = Gateway::start_with("http://127.0.0.1:1/api/v1", &[], |config: &mut Config| {
        config.tenants[0].webhook_secrets = secret(&file, webhook::check_secrets);
    })
    .await;
    let webhooks = Webhooks::to(gateway.webhook);
    let (kora_signs_with, signs_with) = watch::channel("old");
    let (stop, stopped) = watch::channel(false);
    let sender = webhooks.clone();
    let sent = tokio::spawn(load(stopped, move |number| {
        let (sender, secret) = (sender.clone(), *signs_with.borrow());
        async move {
            let body = json!({"id": format!("e{number}"), "event": "case.closed", "data": {}});
            let body = body.to_string();
            let signature = signature_by(secret, body.as_bytes());
            let answer = sender.offer_signed(body.as_bytes(), signature).await;
            assert_eq!(answer.status(), 200, "by {secret}");
        }
    }));
    let becomes = async |secret: &'static str, status: u16| {
        let body = json!({"id": "probe", "event": "case.closed", "data": {}}).to_string();
        let signature = signature_by(secret, body.as_bytes());
        let offer = || webhooks.offer_signed(body.as_bytes(), signature.clone());
        let wait = async { while offer().await.status() != status {} };
        timeout(PATIENCE, wait).await.unwrap();
    };
    tokio::time::sleep(LOAD).await;
    fs::write(&file, "old\nnew\n").unwrap();
    becomes("new", 200).await;
    kora_signs_with.send_replace("new");
    tokio::time::sleep(LOAD).await;
    fs::write(&file, "new\n").unwrap();
    becomes("old", 401).await;
    tokio::time::sleep(LOAD).await;
    stop.send_replace(true);
    assert!(sent.await.unwrap() > 0);
    gateway.stop().await;
}
