//! What is recorded of a request: its replay, the same id for something else, and what `GetRequest` tells.

use kora_gateway::pb::{self, RequestState, request_record};
use tonic::Code;
use uuid::Uuid;

use super::{launch::Launch, marked, outputs::Outputs, process::Running};
use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID},
    requests::{ask_at, is_replay},
    scripted_kora::{Act, ScriptedKora},
};

async fn send(gateway: &Running, request: &pb::ScreenRequest) -> Answer {
    let call = marked::with_metadata(Call::new(Rpc::Screen, request));
    call.send(gateway.grpc()).await
}

/// What is recorded, and what comes of the same request again.
async fn record_and_replay(
    gateway: &Running,
    request: &pb::ScreenRequest,
    outputs: &mut Outputs,
) -> (pb::RequestRecord, Answer) {
    let asked = ask_at(gateway.grpc(), &request.request_id).await;
    outputs.add_answer("GetRequest", &asked);
    let record = asked.ok::<pb::GetRequestResponse>().record.unwrap();
    if let Some(error) = &record.error {
        outputs.add("a recorded error", &error.message);
        for detail in &error.details {
            outputs.add("a recorded detail", &detail.value);
        }
    }
    let again = send(gateway, request).await;
    outputs.add_answer("a replay", &again);
    (record, again)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_replays_are_told_to_their_caller_alone() {
    let kora = ScriptedKora::start(Act::json(200, &marked::completed(SCREENING_ID))).await;
    let gateway = Launch::gateway(&kora.base_url()).start().await;
    let mut outputs = Outputs::default();

    let done = marked::screening_once(Uuid::new_v4());
    send(&gateway, &done).await.screening();
    let (record, again) = record_and_replay(&gateway, &done, &mut outputs).await;
    assert_eq!(record.state(), RequestState::Succeeded);
    assert!(matches!(
        record.result,
        Some(request_record::Result::Screening(_))
    ));
    assert!(is_replay(&again) && again.screening().decision.is_some());

    let other_body = pb::ScreenRequest {
        checks: vec![pb::CheckType::Sanctions.into()],
        ..done.clone()
    };
    let reused = send(&gateway, &other_body).await;
    assert_eq!(reused.reason(), "REQUEST_ID_REUSED");
    outputs.add_answer("an id used again", &reused);

    for (act, state, reason) in [
        (
            Act::json(422, &marked::complaint()),
            RequestState::Rejected,
            "KORA_VALIDATION",
        ),
        (
            Act::json(500, &marked::refusal("SCREENING_FAILED")),
            RequestState::Failed,
            "SCREENING_FAILED",
        ),
        (
            Act::json(500, &marked::refusal("INTERNAL_ERROR")),
            RequestState::Unknown,
            "KORA_OUTCOME_UNKNOWN",
        ),
        (
            Act::Write(b"MARKER of no HTTP\r\n\r\n".to_vec()),
            RequestState::Unknown,
            "KORA_OUTCOME_UNKNOWN",
        ),
        (Act::Hang, RequestState::Unknown, "DEADLINE_EXCEEDED"),
    ] {
        kora.act(act);
        let request = marked::screening_once(Uuid::new_v4());
        let first = send(&gateway, &request).await;
        assert_eq!(first.reason(), reason);
        outputs.add_answer("a failure", &first);
        let (record, again) = record_and_replay(&gateway, &request, &mut outputs).await;
        assert_eq!((record.state(), &*again.reason()), (state, reason));
        assert!(is_replay(&again));
    }
    kora.act(Act::json(201, &marked::subject()));
    let subject = marked::subject_once(Some(Uuid::new_v4()));
    for _ in 0..2 {
        let created = Call::new(Rpc::CreateSubject, &subject)
            .send(gateway.grpc())
            .await;
        assert_eq!(created.status.code(), Code::Ok);
        outputs.add_answer("a subject", &created);
    }
    let asked = ask_at(gateway.grpc(), &subject.request_id).await;
    assert!(
        asked
            .ok::<pb::GetRequestResponse>()
            .record
            .unwrap()
            .result
            .is_some()
    );
    for (id, reason) in [
        (marked::NAME, "INVALID_REQUEST"),
        (&*Uuid::new_v4().to_string(), "REQUEST_NOT_FOUND"),
    ] {
        let asked = ask_at(gateway.grpc(), id).await;
        assert_eq!(asked.reason(), reason);
        outputs.add_answer("an id that nobody knows", &asked);
    }
    let log = gateway.end(&mut outputs).await;
    assert!(log.contains("REQUEST_ID_REUSED") && log.contains("REQUEST_NOT_FOUND"));
    outputs.look();
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_leave_are_told_of_by_ids_alone() {
    let (told, late) = Act::once_told(&marked::completed(SCREENING_ID));
    let kora = ScriptedKora::start(late).await;
    let launch = Launch::gateway(&kora.base_url()).flag("kora-timeout", "20s");
    let mut gateway = launch.start().await;
    let mut outputs = Outputs::default();
    let hasty = |request: &pb::ScreenRequest| {
        marked::with_metadata(Call::new(Rpc::Screen, request)).header("grpc-timeout", "1S")
    };
    let request = marked::screening_once(Uuid::new_v4());
    let left = hasty(&request).send(gateway.grpc()).await;
    assert_eq!(left.outcome().as_deref(), Some("UNKNOWN"));
    outputs.add_answer("who leaves", &left);
    told.notify_one();
    gateway
        .wait_for_log("Kora answered after the caller had gone")
        .await;
    let (told, late) = refused_once_told();
    kora.act(late);
    let request = marked::screening_once(Uuid::new_v4());
    let left = hasty(&request).send(gateway.grpc()).await;
    outputs.add_answer("who leaves", &left);
    told.notify_one();
    gateway
        .wait_for_log("a request failed after its caller had gone")
        .await;
    gateway.end(&mut outputs).await;
    outputs.look();
}

fn refused_once_told() -> (std::sync::Arc<tokio::sync::Notify>, Act) {
    let told = std::sync::Arc::new(tokio::sync::Notify::new());
    let refusal = Act::json(422, &marked::complaint());
    let late = Act::AnswerOnceTold(std::sync::Arc::clone(&told), Box::new(refusal));
    (told, late)
}
