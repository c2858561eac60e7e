//! The start, the stop, and what the configuration shows.

use std::time::Instant;

use super::*;
use crate::emulator::{WEBHOOK_SECRET, Webhook};

/// Stops the emulator and returns how long that took.
async fn stop(emulator: Emulator) -> Duration {
    let asked = Instant::now();
    emulator.stop.send(()).unwrap();
    emulator.served.await.unwrap().unwrap();
    asked.elapsed()
}

#[tokio::test]
async fn a_stop_does_not_wait_for_idle_silent_or_hanging_clients() {
    let emulator = Emulator::start().await;
    let idle = Client::new();
    let url = format!("http://{}/nothing", emulator.address);
    idle.get(&url).send().await.unwrap().bytes().await.unwrap();
    let silent = TcpStream::connect(emulator.address).await.unwrap();
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "hang"}}))
        .await;
    let hanging = emulator.send_raw("/subjects", &subject("a")).await;
    while emulator.received().await.0.len() < 2 {
        tokio::task::yield_now().await;
    }

    assert!(stop(emulator).await < Duration::from_secs(1));
    assert_eq!(read_to_end(hanging).await, b"");
    assert_eq!(read_to_end(silent).await, b"");
}

#[tokio::test]
async fn an_answer_in_progress_is_finished() {
    let emulator = Emulator::start().await;
    emulator
        .set_scenario(json!({"next": 1, "fault": {"kind": "delay", "milliseconds": 50}}))
        .await;
    let answering = emulator.send_raw("/subjects", &subject("a")).await;
    while emulator.received().await.0.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(stop(emulator).await < Duration::from_secs(1));
    assert!(read_to_end(answering).await.starts_with(b"HTTP/1.1 201 "));
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let emulator = Emulator::start().await;
    let mut stream = TcpStream::connect(emulator.address).await.unwrap();
    let request = "GET /nothing HTTP/1.1\r\nhost: emulator\r\n\r\n\
                   GET /nothing HTTP/1.1\r\nhost: emulator\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answers = String::from_utf8(read_to_end(stream).await).unwrap();
    assert_eq!(answers.matches("404 page not found").count(), 2);
}

#[tokio::test]
async fn a_configured_key_and_tenant_are_the_ones_expected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/api/v1/subjects/subj_none",
        listener.local_addr().unwrap()
    );
    let config = Config {
        api_key: "another-key".to_owned(),
        tenant_id: "another-tenant".to_owned(),
        webhook: None,
    };
    tokio::spawn(serve(listener, config, std::future::pending()));
    let get = |key: &str, tenant: &str| {
        Client::new()
            .get(&url)
            .bearer_auth(key)
            .header("X-Tenant-ID", tenant)
            .send()
    };
    assert_eq!(
        get("another-key", "Another-Tenant").await.unwrap().status(),
        404
    );
    assert_eq!(get(API_KEY, "another-tenant").await.unwrap().status(), 401);
    assert_eq!(get("another-key", TENANT_ID).await.unwrap().status(), 403);
}

#[test]
fn the_key_and_the_webhook_secret_are_not_printed() {
    let config = Config {
        webhook: Some(Webhook {
            url: "http://127.0.0.1:1/".to_owned(),
            secret: WEBHOOK_SECRET.to_owned(),
        }),
        ..Config::default()
    };
    let printed = format!("{config:?}");
    assert!(!printed.contains(API_KEY), "{printed}");
    assert!(!printed.contains(WEBHOOK_SECRET), "{printed}");
    assert!(printed.contains(TENANT_ID));
    assert!(printed.contains("http://127.0.0.1:1/"));
}
