//! Events with markers: in by webhook, out by stream.

use kora_gateway::pb::{
    self, compliance_service_client::ComplianceServiceClient, watch_events_request::Start,
};
use tonic::transport::Endpoint;

use super::{NAME, Running, WEBHOOK_SECRET, answer_with_markers};
use crate::webhooks::client::sign_with;

/// Webhooks of every kind, and streams that carry them, with markers wherever there can be any.
pub async fn take_and_stream(gateway: &Running, seen: &mut Vec<u8>) {
    let event = |name: &str| {
        let data = answer_with_markers();
        serde_json::json!({"event": name, "id": format!("evt_{name}"), "data": data}).to_string()
    };
    for (path, body, is_signed, status) in [
        ("", event("screening.completed"), true, 200),
        ("", event(NAME), true, 200),
        ("", NAME.to_owned(), true, 200),
        ("", event("screening.completed"), false, 401),
        ("/MARKER-NAME", event("screening.completed"), true, 404),
        ("", format!("\"{}\"", NAME.repeat(10_000)), true, 413),
    ] {
        let url = format!("http://{}/webhooks/compliance{path}", gateway.webhook);
        let secret = if is_signed { WEBHOOK_SECRET } else { NAME };
        let header = sign_with(secret, &body);
        let (name, value) = header.split_once(": ").unwrap();
        let request = reqwest::Client::new().post(url).header(name, value);
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), status);
        seen.extend_from_slice(&answer.bytes().await.unwrap());
    }
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.grpc)).unwrap();
    let mut client = ComplianceServiceClient::new(endpoint.connect().await.unwrap());
    let everything = pb::WatchEventsRequest {
        start: Some(Start::Position(pb::StartPosition::Earliest.into())),
        until_caught_up: true,
        include_raw_json: true,
        ..Default::default()
    };
    let stream = client.watch_events(everything).await.unwrap();
    let mut stream = stream.into_inner();
    let mut events = 0;
    while let Some(message) = stream.message().await.unwrap() {
        events += message.events.len();
    }
    assert_eq!(events, 3);
    let bad = pb::WatchEventsRequest {
        filter: Some(pb::EventFilter {
            types: vec![format!("*{NAME}")],
            subject_ids: vec![NAME.to_owned()],
            ..Default::default()
        }),
        start: Some(Start::ResumeToken(NAME.to_owned())),
        ..Default::default()
    };
    let no_token = pb::WatchEventsRequest {
        filter: None,
        ..bad.clone()
    };
    for request in [bad, no_token] {
        let status = client.watch_events(request).await.unwrap_err();
        seen.extend_from_slice(status.message().as_bytes());
        seen.extend_from_slice(status.details());
    }
}
