//! The vendor's own integration examples, line by line: what they would send, the gateway sends; what they
//! act on comes back typed.
//!
//! Each file in `tests/fixtures/vendor_guide` is one example with the sample data that it names.

use std::{fs, path::Path};

use kora_gateway::pb;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::{
    call::{Answer, Call, Rpc},
    harness::{API_KEY, Gateway, TENANT_ID},
    scripted_kora::{Act, Received, ScriptedKora},
    situations::attempts,
};

#[tokio::test]
async fn the_guides_requests_are_sent_and_its_answers_come_back_typed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vendor_guide");
    let mut examples = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let fixture: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        play(&fixture, &path.file_stem().unwrap().to_string_lossy()).await;
        examples += 1;
    }
    assert_eq!(
        examples, 6,
        "the guide has three programs and three curl lines"
    );
}

async fn play(fixture: &Value, name: &str) {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let (rpc, message_name) = match fixture["call"]["rpc"].as_str().unwrap() {
        "Screen" => (Rpc::Screen, "Screen"),
        "CreateSubject" => (Rpc::CreateSubject, "CreateSubject"),
        "GetSubject" => (Rpc::GetSubject, "GetSubject"),
        other => panic!("{name}: no such RPC: {other}"),
    };
    for answer in fixture["answers"].as_array().unwrap() {
        kora.act(act(answer));
        let message = request(
            &format!("{message_name}Request"),
            &fixture["call"]["message"],
        );
        let came = Call::raw(rpc.path(), &message).send(gateway.grpc).await;
        let sent = kora.take_received();
        let reason = answer.get("reason").and_then(Value::as_str);
        assert_eq!(sent.len(), attempts(rpc, reason.unwrap_or("OK")), "{name}");
        check_request(&fixture["request"], &sent[0], name);
        match answer.get("reason") {
            Some(reason) => check_error(&came, reason, answer, name),
            None => {
                let typed = typed(&format!("{message_name}Response"), &came);
                assert_contains(&typed, &answer["typed"], name);
            }
        }
    }
    gateway.stop().await;
}

fn check_request(expected: &Value, sent: &Received, name: &str) {
    assert_eq!(expected["method"], sent.method, "{name}");
    assert_eq!(expected["path"], sent.path, "{name}");
    for (header, value) in expected["headers"].as_object().unwrap() {
        let value = value
            .as_str()
            .unwrap()
            .replace("YOUR_API_KEY", API_KEY)
            .replace("YOUR_TENANT_ID", TENANT_ID);
        assert_eq!(
            sent.header(header),
            Some(value.as_str()),
            "{name}: {header}"
        );
    }
    match expected.get("body") {
        Some(body) => assert_eq!(&sent.json(), body, "{name}"),
        None => assert!(sent.body.is_empty(), "{name}"),
    }
    assert_eq!(sent.header("accept"), Some("application/json"), "{name}");
    let agent = sent.header("user-agent").unwrap_or_default();
    assert!(agent.starts_with("kora-gateway/"), "{name}: {agent}");
    assert_eq!(
        sent.header("transfer-encoding"),
        None,
        "{name}: the length is known"
    );
}

fn check_error(came: &Answer, reason: &Value, answer: &Value, name: &str) {
    assert_eq!(*reason, came.reason(), "{name}");
    if let Some(seconds) = answer.get("retry_after_seconds") {
        let wait = came.details().retry_info().unwrap().retry_delay.unwrap();
        assert_eq!(*seconds, wait.as_secs(), "{name}");
    }
    if let Some(fields) = answer.get("fields") {
        let bad = came.details().bad_request().unwrap().clone();
        let named: Vec<_> = bad.field_violations.into_iter().map(|v| v.field).collect();
        assert_eq!(*fields, serde_json::json!(named), "{name}");
    }
}

fn act(answer: &Value) -> Act {
    let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
    let act = Act::json(status, &answer["body"]);
    match answer.get("retry_after") {
        Some(header) => act.with_header("retry-after", header.as_str().unwrap()),
        None => act,
    }
}

/// A request message out of protobuf's JSON form, as grpcurl would make it.
fn request(message_name: &str, json: &Value) -> Vec<u8> {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let descriptor = pool
        .get_message_by_name(&format!("kora.compliance.v1.{message_name}"))
        .unwrap();
    let message = DynamicMessage::deserialize(descriptor, json).unwrap();
    prost::Message::encode_to_vec(&message)
}

fn typed(message_name: &str, answer: &Answer) -> Value {
    assert_eq!(answer.status.code(), tonic::Code::Ok, "{:?}", answer.status);
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let descriptor = pool
        .get_message_by_name(&format!("kora.compliance.v1.{message_name}"))
        .unwrap();
    let message = DynamicMessage::decode(descriptor, answer.message.clone()).unwrap();
    let options = SerializeOptions::new().use_proto_field_name(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap()
}

/// Everything that is expected is there; more may be.
fn assert_contains(found: &Value, expected: &Value, name: &str) {
    match expected {
        Value::Object(fields) => {
            for (field, value) in fields {
                assert_contains(&found[field], value, &format!("{name}.{field}"));
            }
        }
        _ => assert_eq!(found, expected, "{name}"),
    }
}
