//! Nothing personal and nothing secret gets out: not into logs at their finest level, not into metrics,
//! not into errors.
//!
//! The real binary runs with `RUST_LOG=trace`. Requests, Kora's answers and the key carry markers that are
//! then looked for everywhere.

mod events;

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use kora_gateway::pb;
use prost_types::{Struct, Value, value::Kind};
use tempfile::TempDir;

use crate::{
    call::{Call, Rpc},
    scripted_kora::{Act, ScriptedKora},
    situations::all_rows,
};

const KEY: &str = "MARKER-KEY";
const WEBHOOK_SECRET: &str = "MARKER-WEBHOOK-SECRET";
const NAME: &str = "MARKER-NAME";
const BIRTH: &str = "1911-11-11";
const DOCUMENT: &str = "MARKER-DOCUMENT";
const EXTERNAL_ID: &str = "MARKER-EXTERNAL";
const FIELD: &str = "MARKER-FIELD";
const METADATA: &str = "MARKER-METADATA";
const EXPLANATION: &str = "MARKER-EXPLANATION";

/// Everything that must not be found, Kora's message texts included.
const MARKERS: [&str; 11] = [
    KEY,
    WEBHOOK_SECRET,
    NAME,
    BIRTH,
    DOCUMENT,
    EXTERNAL_ID,
    FIELD,
    METADATA,
    EXPLANATION,
    "VENDOR-TEXT",
    "Jane",
];

#[tokio::test]
async fn no_marker_is_found_in_logs_metrics_and_errors() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let mut seen = Vec::new();
    for row in all_rows() {
        // One of its own: what fails often opens a circuit.
        let gateway = start(&kora.base_url());
        kora.act(row.act);
        let calls = Rpc::ALL.map(|rpc| {
            let call = call(rpc).header("authorization", METADATA);
            tokio::spawn(call.send(gateway.grpc))
        });
        for call in calls {
            let answer = call.await.unwrap();
            // The status is the caller's, and so is its own call id; nothing else may come back.
            seen.extend_from_slice(answer.status.message().as_bytes());
            seen.extend_from_slice(answer.status.details());
        }
        seen.extend_from_slice(gateway.stop().as_bytes());
    }
    let gateway = start(&kora.base_url());
    for damaged in [vec![0xff; 9], invalid(), NAME.as_bytes().to_vec()] {
        let answer = Call::raw(Rpc::Screen.path(), &damaged)
            .send(gateway.grpc)
            .await;
        seen.extend_from_slice(answer.status.message().as_bytes());
        seen.extend_from_slice(answer.status.details());
    }
    kora.act(Act::json(422, &complaint_with_markers()));
    for rpc in Rpc::ALL {
        let answer = call(rpc).send(gateway.grpc).await;
        seen.extend_from_slice(answer.status.details());
    }
    kora.act(Act::json(201, &subject_with_markers()));
    call(Rpc::CreateSubject)
        .send(gateway.grpc)
        .await
        .ok::<pb::CreateSubjectResponse>();
    call(Rpc::GetSubject)
        .send(gateway.grpc)
        .await
        .ok::<pb::GetSubjectResponse>();
    kora.act(Act::json(200, &answer_with_markers()));
    let screened = call(Rpc::Screen).send(gateway.grpc).await.screening();
    assert_eq!(screened.decision.unwrap().explanation, EXPLANATION);

    events::take_and_stream(&gateway, &mut seen).await;

    let url = format!("http://{}/metrics", gateway.admin);
    let metrics = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    seen.extend_from_slice(&metrics);
    let logs = gateway.stop();
    assert!(logs.contains("call failed"), "there are no logs to look at");
    seen.extend_from_slice(logs.as_bytes());
    let seen = String::from_utf8_lossy(&seen);
    for marker in MARKERS {
        let found = seen.lines().find(|line| line.contains(marker));
        assert_eq!(found, None, "{marker} got out");
    }
}

/// A valid call whose every free field is a marker.
fn call(rpc: Rpc) -> Call {
    match rpc {
        Rpc::Screen => Call::new(
            rpc,
            &pb::ScreenRequest {
                party: Some(pb::screen_request::Party::Subject(profile())),
                purpose: pb::ScreeningPurpose::Onboarding.into(),
                checks: vec![pb::CheckType::Pep.into()],
                additional_fields: fields(),
                ..Default::default()
            },
        ),
        Rpc::CreateSubject => Call::new(
            rpc,
            &pb::CreateSubjectRequest {
                subject: Some(profile()),
                request_id: String::new(),
            },
        ),
        Rpc::GetScreening | Rpc::GetSubject => rpc.call(),
    }
}

/// Bad fields, none of whose values may be repeated.
fn invalid() -> Vec<u8> {
    let subject = pb::SubjectProfile {
        date_of_birth: NAME.to_owned(),
        nationality: NAME.to_owned(),
        country: NAME.to_owned(),
        ..profile()
    };
    let request = pb::ScreenRequest {
        party: Some(pb::screen_request::Party::Subject(subject)),
        request_id: NAME.to_owned(),
        ..Default::default()
    };
    prost::Message::encode_to_vec(&request)
}

fn profile() -> pb::SubjectProfile {
    pb::SubjectProfile {
        r#type: pb::SubjectType::Individual.into(),
        name: NAME.to_owned(),
        date_of_birth: BIRTH.to_owned(),
        identifiers: vec![pb::Identifier {
            r#type: DOCUMENT.to_owned(),
            value: DOCUMENT.to_owned(),
            country: "GB".to_owned(),
        }],
        external_id: EXTERNAL_ID.to_owned(),
        additional_fields: fields(),
        ..Default::default()
    }
}

fn fields() -> Option<Struct> {
    let value = Value {
        kind: Some(Kind::StringValue(FIELD.to_owned())),
    };
    Some(Struct {
        fields: [(FIELD.to_owned(), value)].into(),
    })
}

fn answer_with_markers() -> serde_json::Value {
    serde_json::json!({
        "screening_id": "scr_1", "status": "COMPLETED",
        "decision": {"outcome": "BLOCK", "triggered_rules": [FIELD], "explanation": EXPLANATION},
        "matches": [{"name": NAME, "source": FIELD}]
    })
}

/// Kora can name a field by anything, a caller's words included.
fn complaint_with_markers() -> serde_json::Value {
    serde_json::json!({
        "code": "VALIDATION_ERROR", "message": NAME, "request_id": NAME.to_lowercase() + " " + NAME,
        "details": [{"field": NAME, "message": NAME}, {"field": "subject.name", "message": NAME}]
    })
}

fn subject_with_markers() -> serde_json::Value {
    serde_json::json!({"subject_id": "subj_1", "name": NAME, "tags": [FIELD], "type": "INDIVIDUAL"})
}

/// The binary, and what it writes.
struct Running {
    child: Child,
    grpc: SocketAddr,
    webhook: SocketAddr,
    admin: SocketAddr,
    _data: TempDir,
    stdout: thread::JoinHandle<String>,
    stderr: thread::JoinHandle<String>,
}

fn start(base_url: &str) -> Running {
    let data = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kora-gateway"))
        .args([
            "serve",
            "--grpc-addr",
            "127.0.0.1:0",
            "--webhook-addr",
            "127.0.0.1:0",
            "--admin-addr",
            "127.0.0.1:0",
            "--event-log",
            &format!("file:{}", data.path().display()),
        ])
        .args(["--kora-base-url", base_url, "--kora-tenant-id", "t"])
        .args([
            "--kora-timeout",
            "300ms",
            "--kora-max-response-bytes",
            "100KiB",
            "--webhook-max-bytes",
            "64KiB",
        ])
        .env_clear()
        .env("KORA_API_KEY", KEY)
        .env("KORA_WEBHOOK_SECRET", WEBHOOK_SECRET)
        .env("RUST_LOG", "trace")
        // Nothing listens there: a gateway that took these for its own would reach nobody.
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("http_proxy", "http://127.0.0.1:1")
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let stderr = child.stderr.take().unwrap();
    let mut addresses = [("grpc", None), ("webhook", None), ("admin", None)];
    let mut line = String::new();
    while line.trim() != "ready" {
        line.clear();
        assert!(
            stdout.read_line(&mut line).unwrap() > 0,
            "it ended before it was ready"
        );
        for (name, addr) in &mut addresses {
            if let Some(text) = line.trim().strip_prefix(&format!("listening {name} ")) {
                *addr = Some(text.parse().unwrap());
            }
        }
    }
    Running {
        child,
        grpc: addresses[0].1.unwrap(),
        webhook: addresses[1].1.unwrap(),
        admin: addresses[2].1.unwrap(),
        _data: data,
        stdout: read_to_end(stdout),
        stderr: read_to_end(stderr),
    }
}

/// Reads while the gateway runs, so that a full pipe never stops it.
fn read_to_end(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Running {
    /// Tells it to stop, and returns all that it wrote.
    fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        assert!(self.child.wait().unwrap().success());
        self.stdout.join().unwrap() + &self.stderr.join().unwrap()
    }
}
