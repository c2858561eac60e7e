//! What goes well is told to its caller alone, Kora's own body included; and what Kora refuses in words of its own.

use kora_gateway::pb;
use tonic::Code;

use super::{launch::Launch, marked, outputs::Outputs};
use crate::{
    call::{Call, Rpc, SCREENING_ID},
    scripted_kora::{Act, ScriptedKora},
};

/// What nobody but the caller reads.
const EXPLANATION: &str = "MARKER-EXPLANATION";

#[tokio::test(flavor = "multi_thread")]
async fn what_kora_answers_is_told_to_nobody_else() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Launch::gateway(&kora.base_url()).start().await;
    let mut outputs = Outputs::default();
    kora.act(Act::json(201, &marked::subject()));
    for rpc in [Rpc::CreateSubject, Rpc::GetSubject] {
        let answer = marked::call(rpc).send(gateway.grpc()).await;
        assert_eq!(answer.status.code(), Code::Ok);
        assert!(String::from_utf8_lossy(&answer.message).contains(marked::NAME));
        outputs.add_answer("a subject", &answer);
    }
    for status in ["COMPLETED", "PENDING", "MARKER-STATUS"] {
        kora.act(Act::json(200, &marked::screened(SCREENING_ID, status)));
        for call in with_raw_json() {
            let answer = call.send(gateway.grpc()).await;
            assert_eq!(answer.status.code(), Code::Ok);
            let read = String::from_utf8_lossy(&answer.message);
            assert_eq!(
                read.matches(EXPLANATION).count(),
                1 + usize::from(status == "COMPLETED")
            );
            outputs.add_answer(status, &answer);
        }
    }
    kora.act(Act::json(200, &serde_json::json!({"screening_id": SCREENING_ID, "status": "FAILED", "name": marked::NAME})));
    let failed = marked::call(Rpc::Screen).send(gateway.grpc()).await;
    assert_eq!(failed.reason(), "SCREENING_FAILED");
    outputs.add_answer("a failed screening", &failed);
    let log = gateway.end(&mut outputs).await;
    assert_eq!(log.matches("call failed").count(), 1);
    outputs.look();
}

/// Both RPCs that can be asked for Kora's own body.
fn with_raw_json() -> [Call; 2] {
    let screen = pb::ScreenRequest {
        include_raw_json: true,
        ..marked::screening()
    };
    let get = pb::GetScreeningRequest {
        screening_id: SCREENING_ID.to_owned(),
        include_raw_json: true,
    };
    [
        marked::with_metadata(Call::new(Rpc::Screen, &screen)),
        marked::with_metadata(Call::new(Rpc::GetScreening, &get)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kora_complains_of_is_not_repeated() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Launch::gateway(&kora.base_url()).start().await;
    let mut outputs = Outputs::default();
    for (status, body) in [
        (422, marked::complaint()),
        (409, marked::refusal("CONFLICT")),
        (404, marked::refusal("NOT_FOUND")),
        (400, marked::refusal("MARKER of no code")),
        (400, serde_json::json!([marked::NAME])),
        (400, serde_json::json!(marked::NAME)),
        (
            200,
            serde_json::json!({marked::NAME: {marked::NAME: marked::NAME}}),
        ),
        (
            200,
            // The id itself is told to the caller, as it is with any answer.
            serde_json::json!({"screening_id": "scr_1", "id": marked::NAME, "subject_id": marked::NAME, "status": [marked::NAME]}),
        ),
    ] {
        kora.act(Act::json(status, &body));
        for rpc in [Rpc::Screen, Rpc::CreateSubject, Rpc::GetScreening] {
            let answer = marked::call(rpc).send(gateway.grpc()).await;
            if rpc == Rpc::GetScreening || status != 200 {
                assert_ne!(answer.status.code(), Code::Ok, "{body} {rpc:?}");
            }
            outputs.add_answer("a complaint", &answer);
        }
    }
    let log = gateway.end(&mut outputs).await;
    assert!(log.matches("call failed").count() >= 20);
    outputs.look();
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_callers_read_with_are_not_logged() {
    let kora = ScriptedKora::start(Act::error(404, "NOT_FOUND")).await;
    let gateway = Launch::gateway(&kora.base_url()).start().await;
    let mut outputs = Outputs::default();
    let id = "MARKER-ID of whom/?#%\u{e9}".to_owned();
    let screening = pb::GetScreeningRequest {
        screening_id: id.clone(),
        include_raw_json: false,
    };
    let subject = pb::GetSubjectRequest {
        subject_id: id.clone(),
    };
    let known = pb::ScreenRequest {
        party: Some(pb::screen_request::Party::SubjectId(id)),
        ..marked::screening()
    };
    for (call, reason) in [
        (
            Call::new(Rpc::GetScreening, &screening),
            "SCREENING_NOT_FOUND",
        ),
        (Call::new(Rpc::GetSubject, &subject), "SUBJECT_NOT_FOUND"),
        (Call::new(Rpc::Screen, &known), "SUBJECT_NOT_FOUND"),
    ] {
        let answer = call.send(gateway.grpc()).await;
        assert_eq!(answer.reason(), reason);
        // The caller is told which of its ids there is not.
        assert!(answer.details().resource_info().is_some());
    }
    assert_eq!(kora.take_received().len(), 3);
    let log = gateway.end(&mut outputs).await;
    assert_eq!(log.matches("call failed").count(), 3);
    outputs.look();
}

/// The names that a caller made up come back to it in what is wrong with them, and get nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_additional_fields_are_told_to_their_caller_alone() {
    let complaint = serde_json::json!({
        "code": "VALIDATION_ERROR", "message": marked::NAME,
        "details": [{"field": "subject.MARKER-FIELD", "message": marked::NAME}],
    });
    let kora = ScriptedKora::start(Act::json(422, &complaint)).await;
    let gateway = Launch::gateway(&kora.base_url()).start().await;
    let answer = marked::call(Rpc::Screen).send(gateway.grpc()).await;
    let details = answer.details();
    let [violation] = &details.bad_request().unwrap().field_violations[..] else {
        panic!("not one field: {details:?}");
    };
    assert_eq!(violation.field, "subject.additional_fields.MARKER-FIELD");
    assert!(!violation.description.contains("MARKER"));
    let mut outputs = Outputs::default();
    let log = gateway.end(&mut outputs).await;
    assert!(log.contains("KORA_VALIDATION"));
    outputs.look();
}
