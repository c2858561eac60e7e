//! Messages in which every free field is a marker.

use kora_gateway::pb;
use prost::Message;
use prost_types::{Struct, Value, value::Kind};
use serde_json::json;
use uuid::Uuid;

use crate::call::{Call, Rpc};

/// What every marker begins with.
pub const MARKER: &str = "MARKER";

pub const KEY: &str = "MARKER-KEY";
pub const WEBHOOK_SECRET: &str = "MARKER-WEBHOOK-SECRET";
pub const TOKEN: &str = "MARKER-TOKEN";
pub const NAME: &str = "MARKER-NAME";
pub const BIRTH: &str = "1911-11-11";
pub const METADATA: &str = "MARKER-METADATA";

const DOCUMENT: &str = "MARKER-DOCUMENT";
const EXTERNAL_ID: &str = "MARKER-EXTERNAL";
const FIELD: &str = "MARKER-FIELD";
const EXPLANATION: &str = "MARKER-EXPLANATION";
const MATCH: &str = "MARKER-MATCH";
const CODE: &str = "MARKER-CODE of Kora's";

/// A caller's words of somebody.
pub fn profile() -> pb::SubjectProfile {
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

/// A valid screening of that somebody.
pub fn screening() -> pb::ScreenRequest {
    pb::ScreenRequest {
        party: Some(pb::screen_request::Party::Subject(profile())),
        purpose: pb::ScreeningPurpose::Onboarding.into(),
        checks: vec![pb::CheckType::Pep.into()],
        additional_fields: fields(),
        ..Default::default()
    }
}

/// The same with an id.
pub fn screening_once(id: Uuid) -> pb::ScreenRequest {
    pb::ScreenRequest {
        request_id: id.to_string(),
        ..screening()
    }
}

pub fn subject_once(id: Option<Uuid>) -> pb::CreateSubjectRequest {
    pb::CreateSubjectRequest {
        subject: Some(profile()),
        request_id: id.map_or_else(String::new, |id| id.to_string()),
    }
}

/// A valid call, with metadata that nobody asked for.
pub fn call(rpc: Rpc) -> Call {
    let call = match rpc {
        Rpc::Screen => Call::new(rpc, &screening()),
        Rpc::CreateSubject => Call::new(rpc, &subject_once(None)),
        Rpc::GetScreening | Rpc::GetSubject => rpc.call(),
    };
    with_metadata(call)
}

pub fn with_metadata(call: Call) -> Call {
    call.header("authorization", METADATA)
        .header("x-marker-metadata", METADATA)
        .header("user-agent", METADATA)
}

/// Bad fields, none of whose values may be repeated.
pub fn invalid() -> Vec<u8> {
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
    request.encode_to_vec()
}

/// Kora's words of a screening.
pub fn screened(id: &str, status: &str) -> serde_json::Value {
    json!({
        "screening_id": id, "status": status, "risk_band": CODE, "callback_url": FIELD,
        "decision": {
            "outcome": "BLOCK", "triggered_rules": [FIELD], "explanation": EXPLANATION,
        },
        "matches": [{"name": MATCH, "source": MATCH, "strength": MATCH, "birth_date": BIRTH}],
        "match_summary": {FIELD: 1},
        "subject": {"name": NAME, "date_of_birth": BIRTH},
    })
}

/// The same, finished.
pub fn completed(id: &str) -> serde_json::Value {
    screened(id, "COMPLETED")
}

/// Kora's words of somebody.
pub fn subject() -> serde_json::Value {
    json!({
        "subject_id": "subj_1", "name": NAME, "tags": [FIELD], "type": "INDIVIDUAL",
        "date_of_birth": BIRTH, "external_id": EXTERNAL_ID, "risk_band": CODE,
    })
}

/// A refusal that names a field by anything, a caller's words included.
pub fn complaint() -> serde_json::Value {
    json!({
        "code": "VALIDATION_ERROR", "message": NAME, "request_id": NAME.to_lowercase() + " " + NAME,
        "details": [{"field": NAME, "message": NAME}, {"field": "subject.name", "message": NAME}],
    })
}

/// A refusal of another kind.
pub fn refusal(code: &str) -> serde_json::Value {
    json!({"code": code, "message": NAME, "details": {NAME: BIRTH}})
}
