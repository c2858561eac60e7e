//! The emulator's own log: who plays with it may use the data of real people.

use serde_json::{Value, json};

use super::{
    deliveries::status_of,
    launch::Launch,
    marked::{self, KEY, NAME, WEBHOOK_SECRET},
    outputs::Outputs,
    process::Running,
    strangers::exchange,
};
use crate::harness::TENANT_ID;

/// Nothing listens there.
const NOBODY: &str = "http://127.0.0.1:9/MARKER-PATH";

/// A request to the emulator by this method.
async fn ask(
    emulator: &Running,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> (u16, String) {
    let (addr, length) = (emulator.emulator(), body.len());
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nx-tenant-id: {TENANT_ID}\r\nx-marker: MARKER\r\ncontent-type: application/json\r\nconnection: close\r\n\
         {headers}content-length: {length}\r\n\r\n{body}"
    );
    let answer = exchange(addr, request.as_bytes()).await;
    let status = status_of(&answer).unwrap_or_else(|| panic!("{method} {path} has no answer"));
    let text = String::from_utf8_lossy(&answer);
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

async fn start() -> Running {
    Launch::verb(&["emulator"])
        .flag("emulator-addr", "127.0.0.1:0")
        .flag("webhook-url", NOBODY)
        .variable("KORA_API_KEY", KEY)
        .variable("KORA_TENANT_ID", TENANT_ID)
        .variable("KORA_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .start()
        .await
}

fn somebody() -> Value {
    json!({
        "type": "INDIVIDUAL", "name": NAME, "date_of_birth": marked::BIRTH, "external_id": "MARKER-EXTERNAL",
        "identifiers": [{"type": "MARKER", "value": "MARKER-DOCUMENT", "country": "GB"}], "MARKER-FIELD": "MARKER",
    })
}

fn screening(mode: &str, name: &str) -> String {
    let subject = json!({"type": "INDIVIDUAL", "name": name, "external_id": "MARKER-EXTERNAL"});
    json!({"mode": mode, "purpose": "ONBOARDING", "checks": ["PEP"], "subject": subject, "MARKER": "MARKER"}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_emulator_does_not_repeat_what_it_is_told() {
    let mut emulator = start().await;
    let mut outputs = Outputs::default();
    let key = format!("authorization: Bearer {KEY}");
    let wrong = "authorization: Bearer MARKER-WRONG";
    let faults = |fault: Value| json!({"next": 1, "fault": fault}).to_string();
    let own = &[&*key][..];
    let mut asked = 0;
    for (method, path, headers, body, status) in [
        ("POST", "/api/v1/subjects", own, somebody().to_string(), 201),
        ("POST", "/api/v1/subjects", own, somebody().to_string(), 409),
        (
            "POST",
            "/api/v1/screenings",
            own,
            screening("SYNC", NAME),
            200,
        ),
        (
            "POST",
            "/api/v1/screenings",
            own,
            screening("ASYNC", NAME),
            202,
        ),
        (
            "POST",
            "/api/v1/screenings",
            own,
            json!({"mode": NAME, "subject": NAME}).to_string(),
            400,
        ),
        ("POST", "/api/v1/screenings", own, "MARKER".to_owned(), 400),
        (
            "POST",
            "/api/v1/screenings",
            &[wrong],
            screening("SYNC", NAME),
            401,
        ),
        (
            "GET",
            "/api/v1/screenings/MARKER?MARKER",
            own,
            String::new(),
            404,
        ),
        ("GET", "/api/v1/subjects/MARKER", own, String::new(), 404),
        ("GET", "/MARKER", own, String::new(), 404),
        ("MARKER", "/api/v1/screenings", own, String::new(), 404),
        (
            "POST",
            "/api/v1/webhooks/subscriptions",
            own,
            json!({"name": NAME, "url": NOBODY, "events": ["MARKER.event"]}).to_string(),
            201,
        ),
        (
            "POST",
            "/api/v1/webhooks/subscriptions",
            own,
            json!({"name": NAME, "url": NAME}).to_string(),
            400,
        ),
        (
            "PUT",
            "/__emulator/scenario",
            own,
            faults(json!({"kind": "junk", "body": NAME})),
            204,
        ),
        ("GET", "/api/v1/subjects/MARKER", own, String::new(), 200),
        (
            "PUT",
            "/__emulator/scenario",
            own,
            faults(json!({"kind": "fail", "status": 500, "code": NAME})),
            204,
        ),
        ("GET", "/api/v1/subjects/MARKER", own, String::new(), 500),
        (
            "PUT",
            "/__emulator/scenario",
            own,
            faults(json!({"kind": NAME})),
            400,
        ),
        (
            "PUT",
            "/__emulator/webhooks",
            own,
            json!({NAME: NAME}).to_string(),
            400,
        ),
        (
            "POST",
            "/__emulator/webhooks",
            own,
            json!({"event": "MARKER.event", "id": "evt_1", "data": somebody()}).to_string(),
            202,
        ),
        (
            "POST",
            "/__emulator/webhooks",
            own,
            json!({"event": NAME, "raw": NAME}).to_string(),
            202,
        ),
    ] {
        let (answered, text) = ask(&emulator, method, path, headers, &body).await;
        assert_eq!(answered, status, "{method} {path} {body}: {text}");
        asked += usize::from(path.starts_with("/api"));
    }
    // Two by hand, and one for the screening that ends by itself.
    emulator
        .wait_for_logs("emulator webhook got no answer", 3)
        .await;
    let log = emulator.stop(&mut outputs).await;
    assert!(log.matches("emulator answered").count() >= asked);
    outputs.look();
}

/// The story is on stdout, for people; the log has nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_the_demo_has_nothing_of_its_story() {
    let ended = Launch::verb(&["demo", "--once"]).end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for told in ["Test Clean User", "Test Sanctioned Entity"] {
        assert!(ended.stdout.contains(told), "{}", ended.stdout);
    }
    assert!(ended.stderr.contains("emulator answered"));
    for secret in [
        "Test ",
        "emulator-api-key",
        "emulator-webhook-secret",
        "Bearer",
    ] {
        let found = ended.stderr.lines().find(|line| line.contains(secret));
        assert_eq!(found, None);
    }
}
