//! The record of a request as a message.

use prost::Message;

use super::{rpc::Rpc, status::status_of};
use crate::{
    error::{CallError, Outcome, Reason},
    pb::{self, RequestState, request_record},
    requests::{RecordState, RequestRecord},
    screening::timestamp_to_wire,
};

/// The method that a record is of.
///
/// # Errors
/// `STORE_CORRUPT`, if it is none that has records.
pub(super) fn rpc_of(record: &RequestRecord) -> Result<Rpc, CallError> {
    Rpc::from_name(&record.rpc)
        .filter(|rpc| rpc.is_paid())
        .ok_or_else(|| unreadable("the RPC is not one of this API"))
}

/// Makes the message. The error's details are those that the call got, with the name of the call that asks.
///
/// # Errors
/// `STORE_CORRUPT`, if what was answered cannot be read.
pub(super) fn to_wire(
    record: RequestRecord,
    rpc: Rpc,
    call_id: &str,
) -> Result<pb::RequestRecord, CallError> {
    let outcome = record.outcome();
    let result_evicted = matches!(record.state, RecordState::Evicted(_));
    let (state, result, error) = match record.state {
        RecordState::InFlight => (RequestState::InFlight, None, None),
        RecordState::Succeeded(answer) => {
            (RequestState::Succeeded, Some(result(rpc, &answer)?), None)
        }
        RecordState::Evicted(id) => (RequestState::Succeeded, Some(id_alone(rpc, id)), None),
        RecordState::Failed(error) => {
            let status = status_of(&error, Some(rpc), call_id);
            // The details of a status are the whole google.rpc.Status.
            let status = tonic_types::pb::Status::decode(status.details())
                .map_err(|_| unreadable("the stored error cannot be read"))?;
            (state_of(outcome), None, Some(status))
        }
    };
    Ok(pb::RequestRecord {
        request_id: record.request_id.to_string(),
        method: format!("{}/{}", pb::SERVICE_NAME, rpc.name()),
        state: state.into(),
        result,
        error,
        create_time: Some(timestamp_to_wire(record.create_time)),
        finish_time: record.finish_time.map(timestamp_to_wire),
        result_evicted,
    })
}

/// What a record's message holds of the answer; Kora's body is not asked for here.
fn result(rpc: Rpc, answer: &[u8]) -> Result<request_record::Result, CallError> {
    let result = match rpc {
        Rpc::CreateSubject => pb::Subject::decode(answer).map(request_record::Result::Subject),
        _ => pb::Screening::decode(answer).map(|screening| {
            request_record::Result::Screening(pb::Screening {
                raw_json: Vec::new(),
                raw_json_omitted: false,
                ..screening
            })
        }),
    };
    result.map_err(|_| unreadable("the stored answer cannot be read"))
}

/// What is left of an answer that was evicted.
fn id_alone(rpc: Rpc, id: String) -> request_record::Result {
    match rpc {
        Rpc::CreateSubject => request_record::Result::Subject(pb::Subject {
            subject_id: id,
            ..pb::Subject::default()
        }),
        _ => request_record::Result::Screening(pb::Screening {
            screening_id: id,
            ..pb::Screening::default()
        }),
    }
}

fn state_of(outcome: Option<Outcome>) -> RequestState {
    match outcome {
        Some(Outcome::NotSent | Outcome::Rejected) => RequestState::Rejected,
        Some(Outcome::Accepted) => RequestState::Failed,
        Some(Outcome::Unknown) | None => RequestState::Unknown,
    }
}

fn unreadable(what: &'static str) -> CallError {
    CallError::new(Reason::StoreCorrupt).because(what)
}
