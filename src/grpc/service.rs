//! The methods of the API: a valid request out of the wire's message, the answer into one.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait, metadata::MetadataValue};

use super::{
    admission::{Admission, IS_REPLAY, REPLAY},
    record,
};
use crate::{
    access::{Full, Share},
    clock::Clock,
    error::CallError,
    kora::{Lane, Requester},
    pb::{self, compliance_service_server::ComplianceService, request_record},
    requests::{Call, Place},
    screening::{
        CreateSubject, CutCounter, Cuts, GetRequest, GetScreening, GetSubject, MAX_MESSAGE_BYTES,
        ScreenRequest, fit_screening, fit_subject,
    },
};

/// Answers the calls.
pub(super) struct Compliance {
    clock: Clock,
    /// Answers that were too large for clients.
    cut: CutCounter,
}

impl Compliance {
    pub(super) fn new(clock: Clock, cut: CutCounter) -> Self {
        Compliance { clock, cut }
    }

    /// The screening as clients can take it.
    fn fitted(&self, mut screening: pb::Screening) -> pb::Screening {
        let cuts = fit_screening(&mut screening, MAX_MESSAGE_BYTES);
        self.tell(&cuts, &screening.screening_id);
        screening
    }

    /// The subject as clients can take it.
    fn fitted_subject(&self, mut subject: pb::Subject) -> pb::Subject {
        let cuts = fit_subject(&mut subject, MAX_MESSAGE_BYTES);
        self.tell(&cuts, &subject.subject_id);
        subject
    }

    fn fitted_result(&self, result: request_record::Result) -> request_record::Result {
        match result {
            request_record::Result::Screening(screening) => {
                request_record::Result::Screening(self.fitted(screening))
            }
            request_record::Result::Subject(subject) => {
                request_record::Result::Subject(self.fitted_subject(subject))
            }
        }
    }

    fn tell(&self, cuts: &Cuts, id: &str) {
        if !cuts.is_empty() {
            tracing::warn!(id, %cuts, "parts of an answer were left out: it was too large for clients");
            cuts.count(&self.cut);
        }
    }
}

#[async_trait]
impl ComplianceService for Compliance {
    async fn screen(
        &self,
        request: Request<pb::ScreenRequest>,
    ) -> Result<Response<pb::ScreenResponse>, Status> {
        let (admission, message) = enter_unpermitted(&request)?;
        let pass = &admission.pass;
        pass.check_raw_json(request.get_ref().include_raw_json)?;
        let request = ScreenRequest::from_wire(request.into_inner(), self.clock.now())?;
        let include_raw_json = request.include_raw_json;
        let call = call(&admission, message);
        let answered = pass.tenant.requests.screen(request, call).await?;
        let mut screening = answered.message;
        if !include_raw_json {
            screening.raw_json.clear();
            screening.raw_json_omitted = false;
        }
        let response = pb::ScreenResponse {
            screening: Some(self.fitted(screening)),
        };
        Ok(answer(response, answered.is_replay))
    }

    async fn get_screening(
        &self,
        request: Request<pb::GetScreeningRequest>,
    ) -> Result<Response<pb::GetScreeningResponse>, Status> {
        let (
            Admission {
                pass, answer_by, ..
            },
            _place,
        ) = enter(&request).await?;
        pass.check_raw_json(request.get_ref().include_raw_json)?;
        let request = GetScreening::from_wire(request.into_inner())?;
        let (kora, caller) = (&pass.tenant.kora, &pass.caller.name);
        let screening = kora
            .screening(&request, Lane::Interactive, caller, answer_by)
            .await?;
        Ok(Response::new(pb::GetScreeningResponse {
            screening: Some(self.fitted(screening.into())),
        }))
    }

    async fn create_subject(
        &self,
        request: Request<pb::CreateSubjectRequest>,
    ) -> Result<Response<pb::CreateSubjectResponse>, Status> {
        let (admission, message) = enter_unpermitted(&request)?;
        let request = CreateSubject::from_wire(request.into_inner(), self.clock.now())?;
        let call = call(&admission, message);
        let pass = &admission.pass;
        let answered = pass.tenant.requests.create_subject(request, call).await?;
        let response = pb::CreateSubjectResponse {
            subject: Some(self.fitted_subject(answered.message)),
        };
        Ok(answer(response, answered.is_replay))
    }

    async fn get_subject(
        &self,
        request: Request<pb::GetSubjectRequest>,
    ) -> Result<Response<pb::GetSubjectResponse>, Status> {
        let (
            Admission {
                pass, answer_by, ..
            },
            _place,
        ) = enter(&request).await?;
        let request = GetSubject::from_wire(request.into_inner())?;
        let (kora, caller) = (&pass.tenant.kora, &pass.caller.name);
        let subject = kora.subject(&request, caller, answer_by).await?;
        Ok(Response::new(pb::GetSubjectResponse {
            subject: Some(self.fitted_subject(subject.into())),
        }))
    }

    async fn get_request(
        &self,
        request: Request<pb::GetRequestRequest>,
    ) -> Result<Response<pb::GetRequestResponse>, Status> {
        let (admission, _message) = enter_unpermitted(&request)?;
        let repeat = admission.call_permits().repeat();
        let _repeat = repeat.map_err(|_: Full| CallError::overloaded())?;
        let request = GetRequest::from_wire(request.into_inner())?;
        let Admission {
            pass,
            call_id,
            answer_by,
            ..
        } = admission;
        let (requests, scope) = (&pass.tenant.requests, pass.caller.scope());
        let record = requests
            .request(scope, request.request_id, answer_by)
            .await?;
        let rpc = record::rpc_of(&record)?;
        pass.check_rpc(rpc)?;
        let mut record = record::to_wire(record, rpc, &call_id)?;
        record.result = record.result.map(|result| self.fitted_result(result));
        Ok(Response::new(pb::GetRequestResponse {
            record: Some(record),
        }))
    }
}

/// Takes the request over from the boundary.
async fn enter<T>(request: &Request<T>) -> Result<(Admission, Place), CallError> {
    let admission: &Admission = request
        .extensions()
        .get()
        .expect("the boundary admits every request of this service");
    let (pass, place) = admission.enter().await?;
    let mut admission = admission.clone();
    admission.pass = pass;
    Ok((admission, place))
}

/// The same for a call that may send nothing, with the memory of its message.
fn enter_unpermitted<T>(request: &Request<T>) -> Result<(Admission, Option<Share>), CallError> {
    let admission: &Admission = request
        .extensions()
        .get()
        .expect("the boundary admits every request of this service");
    let (pass, message) = admission.enter_unpermitted()?;
    let mut admission = admission.clone();
    admission.pass = pass;
    Ok((admission, message))
}

fn call(admission: &Admission, message: Option<Share>) -> Call {
    Call {
        caller: Requester {
            name: Arc::clone(&admission.pass.caller.name),
            scope: Arc::clone(admission.pass.caller.scope()),
        },
        answer_by: admission.answer_by,
        permits: admission.call_permits(),
        message,
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
