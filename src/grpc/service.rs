//! The methods of the API: a valid request out of the wire's message, the answer into one.

use tokio::time::Instant;
use tonic::{Request, Response, Status, async_trait};

use super::admission::Admission;
use crate::{
    clock::Clock,
    kora,
    pb::{self, compliance_service_server::ComplianceService},
    screening::{CreateSubject, GetScreening, GetSubject, ScreenRequest},
};

/// The name of a caller without an identity.
const ANONYMOUS: &str = "anonymous";

/// Answers the calls.
pub(super) struct Compliance {
    kora: kora::Client,
    clock: Clock,
}

impl Compliance {
    pub(super) fn new(kora: kora::Client, clock: Clock) -> Self {
        Compliance { kora, clock }
    }
}

#[async_trait]
impl ComplianceService for Compliance {
    async fn screen(
        &self,
        request: Request<pb::ScreenRequest>,
    ) -> Result<Response<pb::ScreenResponse>, Status> {
        let answer_by = answer_by(&request);
        let request = ScreenRequest::from_wire(request.into_inner(), self.clock.now())?;
        let screening = self.kora.screen(&request, ANONYMOUS, answer_by).await?;
        Ok(Response::new(pb::ScreenResponse {
            screening: Some(screening.into()),
        }))
    }

    async fn get_screening(
        &self,
        request: Request<pb::GetScreeningRequest>,
    ) -> Result<Response<pb::GetScreeningResponse>, Status> {
        let answer_by = answer_by(&request);
        let request = GetScreening::from_wire(request.into_inner())?;
        let screening = self.kora.screening(&request, answer_by).await?;
        Ok(Response::new(pb::GetScreeningResponse {
            screening: Some(screening.into()),
        }))
    }

    async fn create_subject(
        &self,
        request: Request<pb::CreateSubjectRequest>,
    ) -> Result<Response<pb::CreateSubjectResponse>, Status> {
        let answer_by = answer_by(&request);
        let request = CreateSubject::from_wire(request.into_inner(), self.clock.now())?;
        let subject = self
            .kora
            .create_subject(&request, ANONYMOUS, answer_by)
            .await?;
        Ok(Response::new(pb::CreateSubjectResponse {
            subject: Some(subject.into()),
        }))
    }

    async fn get_subject(
        &self,
        request: Request<pb::GetSubjectRequest>,
    ) -> Result<Response<pb::GetSubjectResponse>, Status> {
        let answer_by = answer_by(&request);
        let request = GetSubject::from_wire(request.into_inner())?;
        let subject = self.kora.subject(&request, answer_by).await?;
        Ok(Response::new(pb::GetSubjectResponse {
            subject: Some(subject.into()),
        }))
    }
}

/// Takes the request over from the boundary.
fn answer_by<T>(request: &Request<T>) -> Instant {
    let admission: &Admission = request
        .extensions()
        .get()
        .expect("the boundary admits every request of this service");
    admission.enter()
}
