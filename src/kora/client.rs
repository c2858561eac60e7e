//! The four calls: what is sent, and what the answer means.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};

use super::{
    Account, Departure, Endpoint, HttpClient, Lane, Metrics, Orders, Requester, SetupError,
    admission::Asker, attempt::Attempts, exchange::Answer, idempotency::idempotency_key,
    order::Order, refusal::Asked, request_body, retrying::Retries, screening_answer,
    subject_answer, violations::Sent,
};
use crate::{
    clock::Clock,
    error::{CallError, Reason, Resource},
    screening::{
        CreateSubject, GetScreening, GetSubject, Mode, Party, ScreenRequest, Screening,
        ScreeningStatus, Subject,
    },
};

/// Kora, for one tenant. Clones share everything.
#[derive(Clone)]
pub struct Client {
    pub(super) attempts: Arc<Attempts>,
    pub(super) retries: Arc<Retries>,
    tenant_id: Arc<str>,
    is_503_trusted: bool,
    metrics: Metrics,
    pub(super) clock: Clock,
}

impl Client {
    /// Sets the client of one account up, on the `http` of all; nothing is sent. Reads obey `orders`.
    ///
    /// # Errors
    /// If the tenant's id cannot be sent in a header.
    pub fn new(
        http: &HttpClient,
        account: &Account,
        clock: Clock,
        metrics: Metrics,
        orders: Orders,
    ) -> Result<Self, SetupError> {
        Ok(Client {
            retries: Arc::new(Retries::new(metrics.clone())),
            tenant_id: account.tenant_id.as_str().into(),
            is_503_trusted: http.config.trust_503,
            metrics: metrics.clone(),
            attempts: Arc::new(Attempts::new(
                http.clone(),
                account,
                clock.clone(),
                metrics,
                orders,
            )?),
            clock,
        })
    }

    /// Whether Kora answered when it was asked last; `None` before the first time.
    pub fn answering(&self) -> watch::Receiver<Option<bool>> {
        self.attempts.answering()
    }

    /// Starts a screening for `caller`, who waits until `wait_until`. Once it was sent, this waits for the
    /// answer all the same, however late; `departure` tells whether it was. The answer holds Kora's body.
    ///
    /// # Errors
    /// Each of the catalogue's `KORA_` reasons, and those of deadlines; `SCREENING_FAILED` where Kora's
    /// answer says so.
    pub async fn screen(
        &self,
        request: &ScreenRequest,
        caller: &Requester,
        wait_until: Instant,
        departure: &Departure,
    ) -> Result<Screening, CallError> {
        self.post_screening(request, "Screen", caller, wait_until, departure)
            .await
    }

    /// Starts the same screening as ASYNC, after Kora gave up on it: another request, with an
    /// `Idempotency-Key` of its own.
    ///
    /// # Errors
    /// Those of [`Client::screen`]. They say nothing about the first request.
    pub async fn screen_again_as_async(
        &self,
        request: &ScreenRequest,
        caller: &Requester,
        wait_until: Instant,
        departure: &Departure,
    ) -> Result<Screening, CallError> {
        let request = ScreenRequest {
            mode: Mode::Async,
            ..request.clone()
        };
        self.post_screening(&request, "Screen ASYNC", caller, wait_until, departure)
            .await
    }

    async fn post_screening(
        &self,
        request: &ScreenRequest,
        key_name: &str,
        caller: &Requester,
        wait_until: Instant,
        departure: &Departure,
    ) -> Result<Screening, CallError> {
        let (resource, subject) = match &request.party {
            Party::Inline(profile) => (None, Some(&profile.additional_fields)),
            Party::Known(id) => (Some(Resource::Subject(id.clone())), None),
        };
        let key = request
            .request_id
            .map(|id| idempotency_key(&self.tenant_id, &caller.scope, key_name, id));
        let asked = Asked {
            endpoint: Endpoint::CreateScreening,
            resource,
            sent: Sent {
                screening: Some(&request.additional_fields),
                subject,
            },
            has_idempotency_key: key.is_some(),
            is_503_trusted: self.is_503_trusted,
        };
        let lane = match request.mode {
            Mode::Sync => Lane::Interactive,
            Mode::Async => Lane::Background,
        };
        let order = Order {
            body: request_body::screening(request),
            key,
            asker: Asker::new(asked.kind(lane), &caller.name, wait_until),
            departure,
        };
        let (screening, answer) = self
            .post(&asked, &order, |answer| {
                screening_answer::created(answer.status, &answer.body, request)
            })
            .await?;
        self.metrics.left_out(&screening.odd_fields);
        let screening = with_request_id(screening, &answer);
        if screening.status == ScreeningStatus::Failed {
            return Err(CallError {
                resource: Some(Resource::Screening(screening.screening_id)),
                kora_request_id: answer.kora_request_id(),
                ..CallError::new(Reason::ScreeningFailed)
            });
        }
        Ok(screening)
    }

    /// Reads a screening, in whatever status it is, for `caller`, who waits until `wait_until`.
    ///
    /// # Errors
    /// Each of the catalogue's `KORA_` reasons, and those of deadlines; `SCREENING_NOT_FOUND`.
    pub async fn screening(
        &self,
        request: &GetScreening,
        lane: Lane,
        caller: &str,
        wait_until: Instant,
    ) -> Result<Screening, CallError> {
        let id = &request.screening_id;
        let asked = Asked {
            endpoint: Endpoint::GetScreening,
            resource: Some(Resource::Screening(id.clone())),
            sent: Sent::default(),
            has_idempotency_key: false,
            is_503_trusted: self.is_503_trusted,
        };
        let asker = Asker::new(asked.kind(lane), caller, wait_until);
        let (mut screening, answer) = self
            .get(&asked, id, asker, |answer| {
                screening_answer::found(&answer.body, id)
            })
            .await?;
        self.metrics.left_out(&screening.odd_fields);
        if request.include_raw_json {
            screening.raw_json = answer.body.clone();
        }
        Ok(with_request_id(screening, &answer))
    }

    /// Creates a subject for `caller`, who waits until `wait_until`. Once it was sent, this waits for the answer
    /// all the same, however late; `departure` tells whether it was.
    ///
    /// # Errors
    /// Each of the catalogue's `KORA_` reasons, and those of deadlines; `SUBJECT_EXISTS`.
    pub async fn create_subject(
        &self,
        request: &CreateSubject,
        caller: &Requester,
        wait_until: Instant,
        departure: &Departure,
    ) -> Result<Subject, CallError> {
        let key = request
            .request_id
            .map(|id| idempotency_key(&self.tenant_id, &caller.scope, "CreateSubject", id));
        let asked = Asked {
            endpoint: Endpoint::CreateSubject,
            resource: None,
            sent: Sent {
                screening: None,
                subject: Some(&request.subject.additional_fields),
            },
            has_idempotency_key: key.is_some(),
            is_503_trusted: self.is_503_trusted,
        };
        let order = Order {
            body: request_body::subject(request),
            key,
            asker: Asker::new(asked.kind(Lane::Interactive), &caller.name, wait_until),
            departure,
        };
        let created = self.post(&asked, &order, |answer| {
            subject_answer::created(&answer.body)
        });
        Ok(created.await?.0)
    }

    /// Reads a subject for `caller`, who waits until `wait_until`.
    ///
    /// # Errors
    /// Each of the catalogue's `KORA_` reasons, and those of deadlines; `SUBJECT_NOT_FOUND`.
    pub async fn subject(
        &self,
        request: &GetSubject,
        caller: &str,
        wait_until: Instant,
    ) -> Result<Subject, CallError> {
        let id = &request.subject_id;
        let asked = Asked {
            endpoint: Endpoint::GetSubject,
            resource: Some(Resource::Subject(id.clone())),
            sent: Sent::default(),
            has_idempotency_key: false,
            is_503_trusted: self.is_503_trusted,
        };
        let asker = Asker::new(asked.kind(Lane::Interactive), caller, wait_until);
        let found = self.get(&asked, id, asker, |answer| {
            subject_answer::found(&answer.body, id)
        });
        Ok(found.await?.0)
    }
}

fn with_request_id(mut screening: Screening, answer: &Answer) -> Screening {
    screening.kora_request_id = answer.kora_request_id().unwrap_or_default();
    screening
}
