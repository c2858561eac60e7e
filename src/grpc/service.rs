//! The methods of the API: a valid request out of the wire's message, the answer into one.

use tonic::{Request, Response, Status, async_trait, metadata::MetadataValue};

use super::{
    admission::{Admission, IS_REPLAY, REPLAY},
    record,
};
use crate::{
    clock::Clock,
    error::CallError,
    kora::{self, Lane},
    pb::{self, compliance_service_server::ComplianceService},
    requests::{Call, Place, Requests},
    screening::{CreateSubject, GetRequest, GetScreening, GetSubject, ScreenRequest},
};

/// The name of a caller without an identity.
const ANONYMOUS: &str = "anonymous";

/// Answers the calls.
pub(super) struct Compliance {
    kora: kora::Client,
    requests: Requests,
    clock: Clock,
}

impl Compliance {
    pub(super) fn new(kora: kora::Client, requests: Requests, clock: Clock) -> Self {
        Compliance {
            kora,
            requests,
            clock,
        }
    }
}

#[async_trait]
impl ComplianceService for Compliance {
    async fn screen(
        &self,
        request: Request<pb::ScreenRequest>,
    ) -> Result<Response<pb::ScreenResponse>, Status> {
        let call = call(enter(&request)?);
        let request = ScreenRequest::from_wire(request.into_inner(), self.clock.now())?;
        let include_raw_json = request.include_raw_json;
        let answered = self.requests.screen(request, call).await?;
        let mut screening = answered.message;
        if !include_raw_json {
            screening.raw_json.clear();
        }
        let response = pb::ScreenResponse {
            screening: Some(screening),
        };
        Ok(answer(response, answered.is_replay))
    }

    async fn get_screening(
        &self,
        request: Request<pb::GetScreeningRequest>,
    ) -> Result<Response<pb::GetScreeningResponse>, Status> {
        let (Admission { answer_by, .. }, _place) = enter(&request)?;
        let request = GetScreening::from_wire(request.into_inner())?;
        let screening = self
            .kora
            .screening(&request, Lane::Interactive, ANONYMOUS, answer_by)
            .await?;
        Ok(Response::new(pb::GetScreeningResponse {
            screening: Some(screening.into()),
        }))
    }

    async fn create_subject(
        &self,
        request: Request<pb::CreateSubjectRequest>,
    ) -> Result<Response<pb::CreateSubjectResponse>, Status> {
        let call = call(enter(&request)?);
        let request = CreateSubject::from_wire(request.into_inner(), self.clock.now())?;
        let answered = self.requests.create_subject(request, call).await?;
        let response = pb::CreateSubjectResponse {
            subject: Some(answered.message),
        };
        Ok(answer(response, answered.is_replay))
    }

    async fn get_subject(
        &self,
        request: Request<pb::GetSubjectRequest>,
    ) -> Result<Response<pb::GetSubjectResponse>, Status> {
        let (Admission { answer_by, .. }, _place) = enter(&request)?;
        let request = GetSubject::from_wire(request.into_inner())?;
        let subject = self.kora.subject(&request, ANONYMOUS, answer_by).await?;
        Ok(Response::new(pb::GetSubjectResponse {
            subject: Some(subject.into()),
        }))
    }

    async fn get_request(
        &self,
        request: Request<pb::GetRequestRequest>,
    ) -> Result<Response<pb::GetRequestResponse>, Status> {
        let (admission, _place) = enter(&request)?;
        let request = GetRequest::from_wire(request.into_inner())?;
        let (id, answer_by) = (request.request_id, admission.answer_by);
        let record = self.requests.request(ANONYMOUS, id, answer_by).await?;
        Ok(Response::new(pb::GetRequestResponse {
            record: Some(record::to_wire(record, &admission.call_id)?),
        }))
    }
}

/// Takes the request over from the boundary.
fn enter<T>(request: &Request<T>) -> Result<(Admission, Place), CallError> {
    let admission: &Admission = request
        .extensions()
        .get()
        .expect("the boundary admits every request of this service");
    let place = admission.enter()?;
    Ok((admission.clone(), place))
}

fn call((admission, place): (Admission, Place)) -> Call {
    Call {
        caller: ANONYMOUS.to_owned(),
        answer_by: admission.answer_by,
        place,
    }
}

fn answer<M>(message: M, is_replay: bool) -> Response<M> {
    let mut response = Response::new(message);
    if is_replay {
        let value = MetadataValue::from_static(IS_REPLAY);
        response.metadata_mut().insert(REPLAY, value);
    }
    response
}
