//! Webhooks: every answer that there is to one, with markers in whatever its sender chooses.

use serde_json::{Value, json};

use super::{
    launch::Launch,
    marked::{self, NAME, WEBHOOK_SECRET},
    outputs::Outputs,
    process::Running,
    strangers::{exchange_and_leave, exchange_once},
};
use crate::{
    call::SCREENING_ID,
    subscriber::{Subscriber, from_earliest},
    webhooks::client::sign_with,
};

/// Nothing asks Kora here.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// What Kora says of an event.
pub fn event(id: &str, name: &str, data: Value) -> Vec<u8> {
    let event = json!({"event": name, "id": id, "data": data, "MARKER-KEY": NAME});
    event.to_string().into_bytes()
}

/// A request with markers in its head, and this in it besides.
fn request(first: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "{first} HTTP/1.1\r\nhost: MARKER-HOST\r\nauthorization: Bearer MARKER-TOKEN\r\ncookie: MARKER-COOKIE\r\n\
         x-request-id: MARKER-ID\r\nuser-agent: MARKER-AGENT\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A signed POST.
fn signed(path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let (signature, length) = (
        sign_with(WEBHOOK_SECRET, body),
        format!("content-length: {}", body.len()),
    );
    let headers = [headers, &[&signature, &length]].concat();
    request(&format!("POST {path}"), &headers, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_not_told_of_by_their_content() {
    let gateway = Launch::gateway(NO_KORA).start().await;
    let mut outputs = Outputs::default();
    let own = "/webhooks/compliance?MARKER-QUERY";
    let update = event(
        "evt_1",
        "screening.completed",
        marked::completed(SCREENING_ID),
    );
    let changed = event("evt_1", NAME, json!({NAME: NAME}));
    let found = event(
        "evt_2",
        "screening.match_found",
        json!({"screening_id": SCREENING_ID, "match": {"name": NAME}}),
    );
    let breached = event(
        "evt_3",
        "risk.threshold_breached",
        json!({"subject_id": "subj_1", "risk_band": NAME, NAME: NAME}),
    );
    let large = vec![b'M'; 70_000];
    let wrongly = sign_with(NAME, &update);
    for (sent, status) in [
        (signed(own, &[], &update), 200),
        (signed(own, &[], &update), 200),
        (signed(own, &[], &changed), 200),
        (signed(own, &[], &found), 200),
        (signed(own, &[], &breached), 200),
        (signed(own, &[], &event("evt_4", NAME, json!(NAME))), 200),
        (
            signed(own, &["content-type: MARKER/MARKER"], NAME.as_bytes()),
            200,
        ),
        (
            request(
                "POST /webhooks/compliance",
                &["content-length: 6"],
                b"MARKER",
            ),
            401,
        ),
        (
            request(
                "POST /webhooks/compliance",
                &["x-webhook-signature: MARKER", "content-length: 6"],
                b"MARKER",
            ),
            401,
        ),
        (
            request(
                "POST /webhooks/compliance",
                &[&wrongly, &format!("content-length: {}", update.len())],
                &update,
            ),
            401,
        ),
        (signed("/MARKER-PATH", &[], &update), 404),
        (
            signed("/webhooks/compliance/MARKER-TENANT", &[], &update),
            404,
        ),
        (request("GET /webhooks/compliance?MARKER", &[], b""), 405),
        (request("MARKER /webhooks/compliance", &[], b""), 405),
        (signed(own, &["content-encoding: MARKER"], &update), 415),
        (signed(own, &[], &large), 413),
        (
            request(
                "POST /webhooks/compliance",
                &[&sign_with(WEBHOOK_SECRET, b""), "transfer-encoding: MARKER"],
                b"",
            ),
            400,
        ),
        (
            request(
                "POST /webhooks/compliance",
                &[&sign_with(WEBHOOK_SECRET, b""), "content-length: MARKER"],
                b"",
            ),
            400,
        ),
        (b"MARKER\r\n\r\n".to_vec(), 400),
    ] {
        expect(&gateway, &sent, status, &mut outputs).await;
    }
    // Half a body, and then no more.
    let half = signed(own, &[], &update);
    let answer = exchange_and_leave(gateway.webhook(), &half[..half.len() - 9]).await;
    assert_eq!(status_of(&answer), Some(400));
    outputs.add("an answer", answer);

    let everything = kora_gateway::pb::WatchEventsRequest {
        include_raw_json: true,
        ..from_earliest()
    };
    let subscriber = Subscriber::connect(gateway.grpc()).await;
    let events = subscriber.watch(everything).await.unwrap().past().await;
    let ids: Vec<_> = events.iter().map(|event| &event.event_id).collect();
    // What is signed is kept, the known id with another name too.
    assert_eq!(ids.len(), 6, "{ids:?}");
    assert!(events.iter().all(|event| !event.raw_json.is_empty()));
    let log = gateway.end(&mut outputs).await;
    for told in ["is not signed by Kora", "is too large", "cannot be read"] {
        assert!(log.contains(told), "{told}");
    }
    outputs.look();
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_are_late_are_not_told_of_by_their_content() {
    let gateway = Launch::gateway(NO_KORA).start().await;
    let mut outputs = Outputs::default();
    let whole = signed("/webhooks/compliance", &[], NAME.as_bytes());
    let of_head = &whole[..60];
    let of_body = &whole[..whole.len() - 1];
    let late = |part: &[u8]| {
        let (addr, part) = (gateway.webhook(), part.to_vec());
        tokio::spawn(async move { exchange_once(addr, &part).await })
    };
    for answer in [late(of_head), late(of_body)] {
        let answer = answer.await.unwrap();
        assert_eq!(status_of(&answer), Some(408));
        outputs.add("an answer", answer);
    }
    gateway.end(&mut outputs).await;
    outputs.look();
}

/// Sends this and sees this status; the answer says nothing of what was sent.
async fn expect(gateway: &Running, sent: &[u8], status: u16, outputs: &mut Outputs) {
    let answer = exchange_and_leave(gateway.webhook(), sent).await;
    let sent = String::from_utf8_lossy(&sent[..sent.len().min(400)]);
    assert_eq!(status_of(&answer), Some(status), "{sent}");
    outputs.add("an answer", answer);
}

/// The status in an answer of HTTP/1.1.
pub fn status_of(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}
