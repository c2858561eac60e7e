//! What callers see once the answers of their requests were evicted: never a second screening.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use kora_gateway::{
    clock::Clock,
    pb::{self, RequestState, request_record},
    store::{self, Begun, Intent, RequestContent, RequestLog, Sqlite},
};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::time::timeout;
use tonic::Code;
use uuid::Uuid;

use super::{is_replay, record, records::key, request, screen};
use crate::{
    call::{Call, Rpc, profile},
    harness::{Gateway, TENANT_ID, of_tenant},
    scripted_kora::{Act, Received, ScriptedKora},
};

/// The smallest bound there is.
const TIGHT: (&str, &str) = ("request-size", "1MiB");

/// How many large answers do not fit into it.
const MORE_THAN_FIT: usize = 120;

/// A screening that takes some 14 KB.
fn large(screening_id: &str) -> Act {
    let explanation = "x".repeat(14 << 10);
    let decision = json!({"outcome": "BLOCK", "triggered_rules": [], "explanation": explanation});
    let screening =
        json!({"screening_id": screening_id, "status": "COMPLETED", "decision": decision});
    Act::json(200, &screening)
}

/// Kora: each POST makes another screening, which can be read.
fn large_screenings() -> Act {
    let made = AtomicUsize::new(0);
    Act::scripted(
        move |received: &Received| match received.path.rsplit_once("/screenings/") {
            Some((_, id)) => large(id),
            None => large(&format!("scr_{}", made.fetch_add(1, Ordering::SeqCst))),
        },
    )
}

/// Screens until answers do not fit any more. Returns the first screening with its id, and the id of the last one.
async fn overfill(gateway: &Gateway) -> (Uuid, pb::Screening, Uuid) {
    let first_id = Uuid::new_v4();
    let first = screen(gateway, &request(first_id)).await.screening();
    let mut last_id = first_id;
    for _ in 0..MORE_THAN_FIT {
        last_id = Uuid::new_v4();
        screen(gateway, &request(last_id)).await.screening();
    }
    until_evicted(gateway, first_id).await;
    (first_id, first, last_id)
}

async fn until_evicted(gateway: &Gateway, id: Uuid) {
    let evicted = async { while !record(gateway, id).await.result_evicted {} };
    timeout(Duration::from_secs(20), evicted).await.unwrap();
}

fn methods(kora: &ScriptedKora) -> Vec<String> {
    let received = kora.take_received().into_iter();
    received
        .map(|received| format!("{} {}", received.method, received.path))
        .collect()
}

async fn gateway_on(kora: &ScriptedKora) -> Gateway {
    Gateway::start(&kora.base_url(), &[TIGHT]).await
}

#[tokio::test]
async fn a_repeat_reads_the_screening_from_kora_and_posts_nothing() {
    let kora = ScriptedKora::start(large_screenings()).await;
    let gateway = gateway_on(&kora).await;
    let (id, first, last) = overfill(&gateway).await;
    let posts = methods(&kora);
    assert!(posts.iter().all(|made| made.starts_with("POST ")));
    assert_eq!(posts.len(), MORE_THAN_FIT + 1);

    let found = record(&gateway, id).await;
    assert_eq!(found.state(), RequestState::Succeeded);
    let alone = pb::Screening {
        screening_id: first.screening_id.clone(),
        ..pb::Screening::default()
    };
    assert!(
        found.result == Some(request_record::Result::Screening(alone)),
        "nothing that could be taken for a result"
    );
    assert!(found.error.is_none() && found.finish_time.is_some());
    assert!(methods(&kora).is_empty(), "GetRequest asks nobody");

    let again = screen(&gateway, &request(id)).await;
    assert!(is_replay(&again));
    let again = again.screening();
    assert_eq!(again.screening_id, first.screening_id);
    assert_eq!(again.decision, first.decision);
    assert_eq!(methods(&kora), ["GET /api/v1/screenings/scr_0"]);

    let newest = screen(&gateway, &request(last)).await;
    assert!(is_replay(&newest));
    assert!(!record(&gateway, last).await.result_evicted);
    let other = pb::ScreenRequest {
        checks: vec![pb::CheckType::Pep.into()],
        ..request(id)
    };
    assert_eq!(screen(&gateway, &other).await.reason(), "REQUEST_ID_REUSED");
    assert!(methods(&kora).is_empty());
    let metrics = gateway.metrics().await;
    assert!(!metrics.contains("store_request_answers_evicted_total 0\n"));
    let limit = of_tenant("kora_gateway_store_request_bytes_limit");
    assert!(metrics.contains(&format!("{limit} 1048576\n")), "{metrics}");
    let records = of_tenant("kora_gateway_store_request_records");
    let records = format!("{records} {}\n", MORE_THAN_FIT + 1);
    assert!(metrics.contains(&records), "{metrics}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_repeat_about_one_subject_never_gets_the_approval_of_another() {
    let kora = ScriptedKora::start(large_screenings()).await;
    let gateway = gateway_on(&kora).await;
    let id = Uuid::new_v4();
    let known = pb::ScreenRequest {
        party: Some(pb::screen_request::Party::SubjectId("subj_A".to_owned())),
        ..request(id)
    };
    assert_eq!(
        screen(&gateway, &known).await.screening().subject_id,
        "subj_A"
    );
    overfill(&gateway).await;
    until_evicted(&gateway, id).await;
    kora.take_received();
    let of = |subject_id: &str| {
        let decision = json!({"outcome": "APPROVE"});
        Act::json(
            200,
            &json!({"screening_id": "scr_0", "status": "COMPLETED", "subject_id": subject_id, "decision": decision}),
        )
    };
    kora.act(of("subj_B"));
    let other = screen(&gateway, &known).await;
    assert_eq!(other.reason(), "KORA_RESPONSE_INVALID");
    assert_eq!(other.outcome().as_deref(), Some("UNKNOWN"));
    kora.act(of("subj_A"));
    assert_eq!(
        screen(&gateway, &known).await.screening().subject_id,
        "subj_A"
    );
    let made = methods(&kora);
    assert!(made.iter().all(|made| made.starts_with("GET ")), "{made:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_repeat_whose_reading_fails_never_permits_to_send_it_again() {
    let kora = ScriptedKora::start(large_screenings()).await;
    let gateway = gateway_on(&kora).await;
    let (id, ..) = overfill(&gateway).await;
    kora.take_received();
    for act in [
        Act::error(503, "SERVICE_UNAVAILABLE"),
        Act::error(404, "NOT_FOUND"),
        Act::error(401, "UNAUTHORIZED"),
        Act::error(429, "RATE_LIMITED"),
        Act::error(500, "INTERNAL_ERROR"),
        Act::CloseAfterRequest,
        Act::json(200, &json!([])),
        large("scr_other"),
    ] {
        let name = format!("{act:?}");
        let name = &name[..name.len().min(60)];
        kora.act(act);
        let call = Call::new(Rpc::Screen, &request(id)).header("grpc-timeout", "3S");
        let answer = call.send(gateway.grpc).await;
        assert_eq!(answer.outcome().as_deref(), Some("UNKNOWN"), "{name}");
        let code = answer.status.code();
        assert!(
            ![Code::Ok, Code::Unavailable, Code::Cancelled].contains(&code),
            "{name}: {code}"
        );
        assert!(
            methods(&kora).iter().all(|made| made.starts_with("GET ")),
            "{name}"
        );
    }
    kora.act(Act::json(
        200,
        &json!({"screening_id": "scr_0", "status": "FAILED"}),
    ));
    let failed = screen(&gateway, &request(id)).await;
    assert_eq!(failed.reason(), "SCREENING_FAILED");
    assert_eq!(failed.outcome().as_deref(), Some("ACCEPTED"));
    assert!(methods(&kora).iter().all(|made| made.starts_with("GET ")));
    gateway.stop().await;
}

#[tokio::test]
async fn a_subject_is_read_and_an_error_keeps_its_reason() {
    let kora = ScriptedKora::start(Act::json(201, &json!({"subject_id": "subj_1"}))).await;
    let gateway = gateway_on(&kora).await;
    let created = Uuid::new_v4();
    let create = pb::CreateSubjectRequest {
        subject: Some(profile()),
        request_id: created.to_string(),
    };
    let create = async || {
        Call::new(Rpc::CreateSubject, &create)
            .send(gateway.grpc)
            .await
    };
    create().await.ok::<pb::CreateSubjectResponse>();
    let refusal = json!({
        "code": "VALIDATION_ERROR", "message": "m", "request_id": "req_body",
        "details": [{"field": "checks", "message": "m"}],
    });
    kora.act(Act::json(422, &refusal));
    let refused = Uuid::new_v4();
    let first = screen(&gateway, &request(refused)).await;
    assert_eq!(first.reason(), "KORA_VALIDATION");
    kora.act(large_screenings());
    overfill(&gateway).await;
    until_evicted(&gateway, created).await;
    kora.take_received();

    kora.act(Act::json(200, &json!({"subject_id": "subj_1"})));
    let again = create().await;
    assert!(is_replay(&again));
    let subject = again.ok::<pb::CreateSubjectResponse>().subject.unwrap();
    assert_eq!(subject.subject_id, "subj_1");
    assert_eq!(methods(&kora), ["GET /api/v1/subjects/subj_1"]);
    let found = record(&gateway, created).await;
    let Some(request_record::Result::Subject(subject)) = found.result else {
        panic!("a subject was created");
    };
    assert_eq!(subject.subject_id, "subj_1");

    let again = screen(&gateway, &request(refused)).await;
    assert!(is_replay(&again));
    assert_eq!(again.reason(), "KORA_VALIDATION");
    assert_eq!(again.outcome().as_deref(), Some("REJECTED"));
    assert!(
        !first
            .details()
            .bad_request()
            .unwrap()
            .field_violations
            .is_empty()
    );
    assert!(
        again.details().bad_request().is_none(),
        "its details are gone"
    );
    let found = record(&gateway, refused).await;
    assert_eq!(found.state(), RequestState::Rejected);
    assert!(!found.result_evicted, "there was no result");
    assert!(methods(&kora).is_empty());
    gateway.stop().await;
}

#[tokio::test]
async fn ids_that_fill_the_bound_have_new_requests_refused_unsent() {
    let directory = tempfile::tempdir().unwrap();
    let config = store::Config {
        directory: directory.path().to_owned(),
        retention_age: Duration::from_secs(86_400),
        retention_bytes: 1 << 30,
        dedup_window: Duration::from_secs(60),
        request_retention: Duration::from_secs(86_400),
        request_bytes: 1 << 20,
    };
    let metrics = store::Metrics::register(&mut Registry::default());
    let log = Sqlite::open(&config, TENANT_ID, Clock::system(), metrics).unwrap();
    let begin = |id| {
        log.begin(Intent {
            key: key(id),
            content: RequestContent {
                rpc: "Screen".to_owned(),
                fingerprint: [7; 32],
            },
            attempt: Uuid::new_v4(),
        })
    };
    let known = Uuid::new_v4();
    assert_eq!(begin(known).await, Ok(Begun::New));
    while join_all((0..64).map(|_| begin(Uuid::new_v4())))
        .await
        .iter()
        .all(|begun| *begun == Ok(Begun::New))
    {}
    log.close().await;

    let kora = ScriptedKora::start(super::completed()).await;
    let flag = format!("file:{}", directory.path().display());
    let gateway = Gateway::start(&kora.base_url(), &[TIGHT, ("event-log", &flag)]).await;
    let refused = screen(&gateway, &request(Uuid::new_v4())).await;
    assert_eq!(refused.status.code(), Code::Unavailable);
    assert_eq!(refused.reason(), "STORE_UNAVAILABLE");
    assert_eq!(refused.outcome().as_deref(), Some("NOT_SENT"));
    assert!(refused.details().retry_info().is_some());
    assert!(kora.take_received().is_empty());
    assert_eq!(record(&gateway, known).await.state(), RequestState::Unknown);
    // Without an id there is nothing to record.
    screen(&gateway, &crate::call::screen_request())
        .await
        .screening();
    gateway.stop().await;
    // With a larger bound they are accepted again.
    let gateway = Gateway::start(
        &kora.base_url(),
        &[("request-size", "2MiB"), ("event-log", &flag)],
    )
    .await;
    screen(&gateway, &request(Uuid::new_v4())).await.screening();
    gateway.stop().await;
}
