//! Answers and events that default clients could not read are cut, and tell what is missing.

use std::time::Duration;

use kora_gateway::{
    clock::Clock,
    pb::{self, event::Payload, request_record},
    store::{self, Begun, Ending, Intent, RequestKey, RequestLog, Sqlite, StoredState},
};
use prometheus_client::registry::Registry;
use prost::Message;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID},
    harness::{Gateway, TENANT_ID},
    reconciler::{COMPLETED, SOON, deliver, events, gateway_with, pending, wait_for_polls},
    requests::{ask, is_replay, request, screen},
    scripted_kora::{Act, ScriptedKora},
};

/// What default clients refuse.
const CLIENTS_LIMIT: usize = 4 << 20;

/// Looks at a screening.
type Check = fn(&pb::Screening);

/// Kora's answer with these matches.
fn answer_with(matches: Vec<Value>) -> Value {
    json!({
        "screening_id": SCREENING_ID, "status": "COMPLETED", "matches": matches,
        "decision": {"outcome": "BLOCK", "triggered_rules": ["r"], "explanation": "e"},
    })
}

/// Matches whose numbers are eleven bytes each as protobuf, and two as JSON.
fn swelling() -> Value {
    let found = |place: u32| json!({ "id": format!("m{place}"), "n": vec![1; 10_000] });
    answer_with((0..60).map(found).collect())
}

/// Matches that are too many even without their fields.
fn many() -> Value {
    let found = |place: u32| json!({ "id": format!("{place:044}") });
    answer_with((0..75_000).map(found).collect())
}

fn check_swelling(screening: &pb::Screening) {
    assert_eq!(screening.matches.len(), 60);
    let kept = screening
        .matches
        .iter()
        .filter(|found| found.fields.is_some());
    let kept = kept.count();
    assert!((10..50).contains(&kept), "{kept}");
    assert!(
        screening.matches[..kept]
            .iter()
            .all(|found| !found.fields_omitted)
    );
    assert!(
        screening.matches[kept..]
            .iter()
            .all(|found| found.fields_omitted)
    );
    assert_eq!(screening.matches[59].match_id, "m59");
    check_decision(screening);
}

fn check_many(screening: &pb::Screening) {
    let kept = screening.matches.len();
    assert!((50_000..75_000).contains(&kept), "{kept}");
    assert_eq!(screening.matches_omitted as usize + kept, 75_000);
    assert!(screening.matches.iter().all(|found| found.fields_omitted));
    check_decision(screening);
}

fn check_decision(screening: &pb::Screening) {
    assert_eq!(screening.screening_id, SCREENING_ID);
    let decision = screening.decision.as_ref().unwrap();
    assert_eq!(decision.outcome(), pb::Outcome::Block);
    assert!(!decision.explanation_truncated && !decision.triggered_rules_truncated);
}

fn screening_of(answer: &Answer) -> pb::Screening {
    assert!(
        answer.message.len() < CLIENTS_LIMIT,
        "{}",
        answer.message.len()
    );
    answer.screening()
}

#[tokio::test]
async fn every_way_to_a_screening_tells_no_more_than_clients_take() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let cases: [(Value, Check); 2] = [(swelling(), check_swelling), (many(), check_many)];
    for (body, check) in cases {
        kora.act(Act::json(200, &body));
        let read = Rpc::GetScreening.call().send(gateway.grpc).await;
        assert!(read.message.len() < CLIENTS_LIMIT);
        let read = read.ok::<pb::GetScreeningResponse>();
        check(&read.screening.unwrap());
        let id = Uuid::new_v4();
        for is_again in [false, true] {
            let answer = screen(&gateway, &request(id)).await;
            assert_eq!(is_replay(&answer), is_again);
            check(&screening_of(&answer));
        }
        let asked = ask(&gateway, &id.to_string()).await;
        assert!(asked.message.len() < CLIENTS_LIMIT);
        let record = asked.ok::<pb::GetRequestResponse>().record.unwrap();
        let Some(request_record::Result::Screening(screening)) = record.result else {
            panic!("no screening");
        };
        check(&screening);
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("answers_cut_total{part=\"matches\"}"));
    assert!(metrics.contains("requests_answers_cut_total{part=\"match_fields\"} 2\n"));
    gateway.stop().await;
}

#[tokio::test]
async fn koras_body_goes_first_and_is_told_missing_only_where_it_was_asked_for() {
    let found = |place: u32| json!({ "id": format!("m{place}"), "x": "y".repeat(20_000) });
    let body = answer_with((0..100).map(found).collect());
    let kora = ScriptedKora::start(Act::json(200, &body)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let id = Uuid::new_v4();
    for include_raw_json in [true, false, true] {
        let request = pb::ScreenRequest {
            include_raw_json,
            ..request(id)
        };
        let screening = screening_of(&screen(&gateway, &request).await);
        assert!(screening.raw_json.is_empty());
        assert_eq!(screening.raw_json_omitted, include_raw_json);
        assert_eq!(screening.matches.len(), 100);
        assert!(screening.matches.iter().all(|found| found.fields.is_some()));
    }
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_decisions_texts_have_limits_of_their_own() {
    let mut body = answer_with(Vec::new());
    body["decision"]["explanation"] = json!("€".repeat(10_000));
    body["decision"]["triggered_rules"] = json!(vec!["é".repeat(300); 300]);
    let kora = ScriptedKora::start(Act::json(200, &body)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let screening = Rpc::Screen.call().send(gateway.grpc).await.screening();
    let decision = screening.decision.unwrap();
    assert_eq!(decision.explanation, "€".repeat((16 << 10) / 3));
    assert!(decision.explanation_truncated && decision.triggered_rules_truncated);
    assert_eq!(decision.triggered_rules, vec!["é".repeat(128); 256]);
    assert_eq!(decision.outcome(), pb::Outcome::Block);
    gateway.stop().await;
}

#[tokio::test]
async fn a_record_that_was_stored_before_is_replayed_as_clients_can_take_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = format!("file:{}", directory.path().display());
    let kora = ScriptedKora::start(Act::json(200, &answer_with(Vec::new()))).await;
    let flags = [("event-log", log.as_str())];
    let gateway = Gateway::start(&kora.base_url(), &flags).await;
    let known = Uuid::new_v4();
    let plain = screening_of(&screen(&gateway, &request(known)).await);
    gateway.stop().await;

    let id = Uuid::new_v4();
    store_large(directory.path(), known, id, plain).await;
    let gateway = Gateway::start(&kora.base_url(), &flags).await;
    let again = screen(&gateway, &request(id)).await;
    assert!(is_replay(&again));
    let screening = screening_of(&again);
    assert!(screening.matches.len() > 20 && screening.matches[0].fields.is_none());
    check_decision(&screening);
    assert_eq!(kora.take_received().len(), 1);
    gateway.stop().await;
}

/// Stores an answer of 5 MiB for the request `id`, which has the content of `known`.
async fn store_large(directory: &std::path::Path, known: Uuid, id: Uuid, plain: pb::Screening) {
    let config = store::Config {
        directory: directory.to_owned(),
        retention_age: Duration::from_secs(86_400),
        retention_bytes: 1 << 30,
        dedup_window: Duration::from_secs(60),
        request_retention: Duration::from_secs(7 * 86_400),
        request_bytes: 1 << 30,
    };
    let metrics = store::Metrics::register(&mut Registry::default());
    let log = Sqlite::open(&config, TENANT_ID, Clock::system(), metrics).unwrap();
    let key = |request_id| RequestKey {
        caller: "anonymous".to_owned(),
        request_id,
    };
    let content = log.request(key(known)).await.unwrap().unwrap().content;
    let attempt = Uuid::new_v4();
    let intent = Intent {
        key: key(id),
        content,
        attempt,
    };
    assert_eq!(log.begin(intent).await.unwrap(), Begun::New);
    let found = pb::Match {
        match_id: "x".repeat(100_000),
        fields: Some(prost_types::Struct::default()),
        ..pb::Match::default()
    };
    let large = pb::Screening {
        matches: vec![found; 50],
        ..plain
    };
    let ending = Ending {
        key: key(id),
        attempt,
        state: StoredState::Succeeded,
        answer: large.encode_to_vec().into(),
        summary: kora_gateway::store::Summary::default(),
    };
    assert!(log.finish(ending).await.unwrap());
    log.close().await;
}

fn update_of(event: &pb::Event) -> &pb::Screening {
    let Some(Payload::ScreeningUpdate(update)) = &event.payload else {
        panic!("no payload");
    };
    update.screening.as_ref().unwrap()
}

#[tokio::test]
async fn large_events_keep_their_payload() {
    let kora = ScriptedKora::start(pending()).await;
    let gateway = gateway_with(&kora, SOON).await;
    deliver(&gateway, "evt_1", COMPLETED, &swelling()).await;
    Rpc::Screen.call().send(gateway.grpc).await.screening();
    let mut other = swelling();
    other["screening_id"] = json!("scr_2");
    kora.act(Act::json(
        200,
        &json!({"screening_id": "scr_2", "status": "PENDING"}),
    ));
    Rpc::Screen.call().send(gateway.grpc).await.screening();
    kora.act(Act::json(200, &other));
    wait_for_polls(&gateway, "reconciled", 1).await;
    let events = events(&gateway).await;
    assert_eq!(events.len(), 2);
    check_swelling(update_of(&events[0]));
    // The body is asked for; with it the event would be too large.
    assert!(events[0].raw_json.is_empty() && events[0].raw_json_omitted);
    assert_eq!(events[1].source(), pb::EventSource::Reconciled);
    assert!(update_of(&events[1]).matches[59].fields_omitted);
    let metrics = gateway.metrics().await;
    for name in ["webhook_events_cut", "reconciler_events_cut"] {
        let metric = format!("{name}_total{{part=\"match_fields\"}} 1\n");
        assert!(metrics.contains(&metric), "{name}");
    }
    assert!(metrics.contains("watch_bodies_omitted_total 2\n"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_subject_that_clients_could_not_take_is_its_id() {
    let body = json!({"subject_id": "subj_1", "name": "A", "n": vec![1; 400_000]});
    let kora = ScriptedKora::start(Act::json(200, &body)).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let answer = Rpc::GetSubject.call().send(gateway.grpc).await;
    assert!(answer.message.len() < CLIENTS_LIMIT);
    let subject = answer.ok::<pb::GetSubjectResponse>().subject.unwrap();
    assert_eq!(subject.subject_id, "subj_1");
    assert!(subject.profile.is_none() && subject.profile_omitted);
    let create = Call::new(
        Rpc::CreateSubject,
        &pb::CreateSubjectRequest {
            subject: Some(crate::call::profile()),
            request_id: Uuid::new_v4().to_string(),
        },
    );
    for _ in 0..2 {
        let answer = create.clone().send(gateway.grpc).await;
        let subject = answer.ok::<pb::CreateSubjectResponse>().subject.unwrap();
        assert!(subject.profile_omitted);
    }
    gateway.stop().await;
}
