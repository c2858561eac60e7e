//! Rules for requests do not reach back: what is on record is answered, and nothing that breaks one is sent.

use std::path::Path;

use kora_gateway::{
    clock::Clock,
    pb,
    store::{
        self, Begun, Ending, Intent, RequestContent, RequestKey, RequestLog, Sqlite, StoredState,
    },
};
use prometheus_client::registry::Registry;
use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{ask, completed, is_replay, request, screen};
use crate::{
    call::{Call, Rpc, SCREENING_ID, profile},
    harness::{Gateway, TENANT_ID},
    scripted_kora::ScriptedKora,
};

/// A request with a name that was taken before names had to be seen.
fn blank(id: Uuid) -> pb::ScreenRequest {
    pb::ScreenRequest {
        party: Some(pb::screen_request::Party::Subject(pb::SubjectProfile {
            name: "\u{3164}".to_owned(),
            date_of_birth: "0001-01-01".to_owned(),
            ..profile()
        })),
        ..request(id)
    }
}

/// What that request means, as every gateway has recorded it so far.
fn content_of_blank() -> RequestContent {
    let mut text = Sha256::new();
    let count = |text: &mut Sha256, count: usize| text.update((count as u64).to_le_bytes());
    let parts = |text: &mut Sha256, parts: &[&str]| {
        for part in parts {
            count(text, part.len());
            text.update(part);
        }
    };
    parts(&mut text, &["1", "SYNC", "FAIL", "ONBOARDING"]);
    count(&mut text, 1);
    parts(&mut text, &["SANCTIONS", "subject", "INDIVIDUAL"]);
    parts(&mut text, &["\u{3164}", "0001-01-01", "", "", ""]);
    // No identifiers, and no additional fields of the subject or the request.
    for _ in 0..3 {
        count(&mut text, 0);
    }
    RequestContent {
        rpc: "Screen".to_owned(),
        fingerprint: text.finalize().into(),
    }
}

/// Records that the request was answered like this, as an earlier gateway did.
async fn record(directory: &Path, id: Uuid, state: StoredState) {
    let week = std::time::Duration::from_secs(7 * 86_400);
    let config = store::Config {
        directory: directory.to_owned(),
        retention_age: week,
        retention_bytes: 1 << 30,
        dedup_window: week,
        request_retention: week,
        request_bytes: 1 << 30,
    };
    let metrics = store::Metrics::register(&mut Registry::default());
    let log = Sqlite::open(&config, TENANT_ID, Clock::system(), metrics).unwrap();
    let key = RequestKey {
        caller: "anonymous".to_owned(),
        request_id: id,
    };
    let attempt = Uuid::new_v4();
    let intent = Intent {
        key: key.clone(),
        content: content_of_blank(),
        attempt,
    };
    assert_eq!(log.begin(intent).await.unwrap(), Begun::New);
    let screening = pb::Screening {
        screening_id: SCREENING_ID.to_owned(),
        status: pb::ScreeningStatus::Completed.into(),
        ..pb::Screening::default()
    };
    let answer = match state {
        StoredState::Succeeded => screening.encode_to_vec(),
        _ => br#"{"reason":"KORA_RATE_LIMITED"}"#.to_vec(),
    };
    let ending = Ending {
        key,
        attempt,
        state,
        answer: answer.into(),
        summary: kora_gateway::store::Summary::default(),
    };
    if state != StoredState::InFlight {
        assert!(log.finish(ending).await.unwrap());
    }
    log.close().await;
}

#[tokio::test]
async fn a_repeat_of_what_is_on_record_is_answered_though_it_breaks_a_new_rule() {
    let directory = tempfile::tempdir().unwrap();
    let (done, open, repeatable) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    record(directory.path(), done, StoredState::Succeeded).await;
    record(directory.path(), open, StoredState::InFlight).await;
    record(directory.path(), repeatable, StoredState::MayBeRepeated).await;
    let kora = ScriptedKora::start(completed()).await;
    let log = format!("file:{}", directory.path().display());
    let gateway = Gateway::start(&kora.base_url(), &[("event-log", &log)]).await;

    let again = screen(&gateway, &blank(done)).await;
    assert!(is_replay(&again));
    assert_eq!(again.screening().screening_id, SCREENING_ID);
    let again = screen(&gateway, &blank(open)).await;
    assert_eq!(again.reason(), "KORA_OUTCOME_UNKNOWN");
    // It would be sent.
    let refused = screen(&gateway, &blank(repeatable)).await;
    assert_eq!(refused.reason(), "INVALID_REQUEST");
    assert!(kora.take_received().is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_new_and_breaks_a_rule_leaves_its_id_free() {
    let kora = ScriptedKora::start(completed()).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    let refused = screen(&gateway, &blank(id)).await;
    assert_eq!(refused.reason(), "INVALID_REQUEST");
    assert_eq!(refused.outcome().as_deref(), Some("NOT_SENT"));
    let bad = refused.details().bad_request().unwrap().clone();
    let fields: Vec<_> = bad
        .field_violations
        .iter()
        .map(|it| it.field.as_str())
        .collect();
    assert_eq!(fields, ["subject.name", "subject.date_of_birth"]);
    let asked = ask(&gateway, &id.to_string()).await;
    assert_eq!(asked.reason(), "REQUEST_NOT_FOUND");
    let create = pb::CreateSubjectRequest {
        subject: Some(pb::SubjectProfile {
            name: " ".to_owned(),
            ..profile()
        }),
        request_id: id.to_string(),
    };
    let refused = Call::new(Rpc::CreateSubject, &create)
        .send(gateway.grpc)
        .await;
    assert_eq!(refused.reason(), "INVALID_REQUEST");
    assert!(kora.take_received().is_empty());
    screen(&gateway, &request(id)).await.screening();
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}
