//! Answers in the form in which they are stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::Metrics;
use crate::{
    error::{CallError, Outcome, Reason, Resource, Violation},
    kora::{self, Lane},
    pb,
    screening::{Cuts, GetScreening, GetSubject, ScreeningStatus, fit_screening, fit_subject},
    store::{StoredRequest, StoredState, Summary},
};

/// A message that answers a request.
pub(super) trait Answer: prost::Message + Default + Clone + 'static {
    /// Kora's id of what was created.
    fn id(&self) -> &str;

    /// The same without Kora's body.
    #[must_use]
    fn without_raw_json(&self) -> Self;

    /// Reads from Kora what was created with this id, for a caller who waits until `answer_by`. Never creates
    /// anything.
    fn read(
        kora: &kora::Client,
        id: &str,
        caller: &str,
        answer_by: Instant,
    ) -> impl Future<Output = Result<Self, CallError>> + Send;

    /// Makes it fit into so many bytes, and says what was left out for that.
    fn fit(&mut self, room: usize) -> Cuts;
}

/// How a request ended, as it is stored.
pub(super) struct StoredEnd {
    pub(super) state: StoredState,
    pub(super) answer: Bytes,
    pub(super) summary: Summary,
}

/// A failure as it is stored: what the caller was told, without the cause.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    reason: String,
    #[serde(default)]
    violations: Vec<(String, String)>,
    #[serde(default)]
    subject_id: Option<String>,
    #[serde(default)]
    screening_id: Option<String>,
    #[serde(default)]
    kora_request_id: Option<String>,
}

impl Answer for pb::Screening {
    fn id(&self) -> &str {
        &self.screening_id
    }

    fn without_raw_json(&self) -> Self {
        pb::Screening {
            raw_json: Vec::new(),
            ..self.clone()
        }
    }

    async fn read(
        kora: &kora::Client,
        id: &str,
        caller: &str,
        answer_by: Instant,
    ) -> Result<Self, CallError> {
        let request = GetScreening {
            screening_id: id.to_owned(),
            include_raw_json: true,
        };
        let reading = kora.screening(&request, Lane::Interactive, caller, answer_by);
        let screening = reading.await?;
        // A screening that fails is an error of Screen, also one that fails later.
        if screening.status == ScreeningStatus::Failed {
            return Err(screening_failed(screening.screening_id));
        }
        Ok(screening.into())
    }

    fn fit(&mut self, room: usize) -> Cuts {
        fit_screening(self, room)
    }
}

impl Answer for pb::Subject {
    fn id(&self) -> &str {
        &self.subject_id
    }

    fn without_raw_json(&self) -> Self {
        self.clone()
    }

    async fn read(
        kora: &kora::Client,
        id: &str,
        caller: &str,
        answer_by: Instant,
    ) -> Result<Self, CallError> {
        let request = GetSubject {
            subject_id: id.to_owned(),
        };
        let subject = kora.subject(&request, caller, answer_by).await?;
        Ok(subject.into())
    }

    fn fit(&mut self, room: usize) -> Cuts {
        fit_subject(self, room)
    }
}

impl Failure {
    /// What is stored.
    pub(super) fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("texts are always JSON")
            .into()
    }

    /// What was stored; one that cannot be read says that nobody knows.
    pub(super) fn decode(stored: &[u8]) -> CallError {
        serde_json::from_slice(stored)
            .ok()
            .and_then(|failure: Failure| failure.into_error())
            .unwrap_or_else(|| {
                CallError::new(Reason::KoraOutcomeUnknown)
                    .because("the stored answer cannot be read")
            })
    }

    /// The error again; `None` if its reason is not known to this build.
    pub(super) fn into_error(self) -> Option<CallError> {
        let resource = match (self.subject_id, self.screening_id) {
            (Some(id), _) => Some(Resource::Subject(id)),
            (None, Some(id)) => Some(Resource::Screening(id)),
            (None, None) => None,
        };
        let violations = self.violations.into_iter();
        Some(CallError {
            violations: violations
                .map(|(field, description)| Violation {
                    field,
                    description: description.into(),
                })
                .collect(),
            resource,
            kora_request_id: self.kora_request_id,
            ..CallError::new(Reason::from_name(&self.reason)?)
        })
    }
}

impl From<&CallError> for Failure {
    fn from(error: &CallError) -> Self {
        let (subject_id, screening_id) = match &error.resource {
            Some(Resource::Subject(id)) => (Some(id.clone()), None),
            Some(Resource::Screening(id)) => (None, Some(id.clone())),
            None => (None, None),
        };
        let violations = error.violations.iter();
        Failure {
            reason: error.reason.name().to_owned(),
            violations: violations
                .map(|violation| (violation.field.clone(), violation.description.to_string()))
                .collect(),
            subject_id,
            screening_id,
            kora_request_id: error.kora_request_id.clone(),
        }
    }
}

/// How a request is stored that was answered with this, in a store that takes answers of `room` bytes. Kora's body is large,
/// and is kept only where it was asked for.
pub(super) fn stored<M: Answer>(
    result: &Result<M, CallError>,
    keeps_raw_json: bool,
    room: usize,
    metrics: &Metrics,
) -> StoredEnd {
    match result {
        Ok(message) => StoredEnd {
            state: StoredState::Succeeded,
            answer: stored_message(message, keeps_raw_json, room, metrics),
            summary: Summary {
                result_id: message.id().to_owned(),
                reason: String::new(),
            },
        },
        Err(error) => StoredEnd {
            state: state_after(error.reason),
            answer: Failure::from(error).encode(),
            summary: Summary {
                result_id: match (error.reason, &error.resource) {
                    (Reason::ScreeningFailed, Some(Resource::Screening(id))) => id.clone(),
                    _ => String::new(),
                },
                reason: error.reason.name().to_owned(),
            },
        },
    }
}

fn stored_message<M: Answer>(
    message: &M,
    keeps_raw_json: bool,
    room: usize,
    metrics: &Metrics,
) -> Bytes {
    let mut stored = if keeps_raw_json {
        message.clone()
    } else {
        message.without_raw_json()
    };
    let cuts = stored.fit(room);
    if !cuts.is_empty() {
        let id = message.id();
        tracing::warn!(id, %cuts, "parts of a stored answer were left out: it was too large");
        metrics.stored_cut(&cuts);
    }
    stored.encode_to_vec().into()
}

/// The error that a request was answered with, as far as it is still known.
pub(super) fn stored_error(found: &StoredRequest) -> CallError {
    match found.state {
        StoredState::InFlight | StoredState::Abandoned | StoredState::Succeeded => {
            Reason::KoraOutcomeUnknown.into()
        }
        StoredState::Failed | StoredState::MayBeRepeated if found.is_evicted => {
            let Summary { result_id, reason } = &found.summary;
            match Reason::from_name(reason) {
                Some(Reason::ScreeningFailed) if !result_id.is_empty() => {
                    screening_failed(result_id.clone())
                }
                Some(reason) => reason.into(),
                None => CallError::new(Reason::KoraOutcomeUnknown)
                    .because("the stored reason cannot be read"),
            }
        }
        StoredState::Failed | StoredState::MayBeRepeated => Failure::decode(&found.answer),
    }
}

fn screening_failed(screening_id: String) -> CallError {
    CallError {
        resource: Some(Resource::Screening(screening_id)),
        ..CallError::new(Reason::ScreeningFailed)
    }
}

/// Whether the same request may be sent again: it did not happen, and what stood in its way can pass or is a fault
/// of the gateway's own setting.
fn state_after(reason: Reason) -> StoredState {
    let (reason, outcome) = reason.of_paid_call();
    match reason {
        _ if outcome == Outcome::NotSent => StoredState::MayBeRepeated,
        Reason::KoraRateLimited
        | Reason::KoraUnavailable
        | Reason::KoraCredentialRejected
        | Reason::KoraForbidden
        | Reason::KoraRouteNotFound => StoredState::MayBeRepeated,
        _ => StoredState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_did_not_happen_may_be_repeated() {
        for reason in Reason::all() {
            let (paid, outcome) = reason.of_paid_call();
            if state_after(reason) == StoredState::MayBeRepeated {
                assert!(outcome <= Outcome::Rejected, "{}", paid.name());
            } else {
                assert_ne!(outcome, Outcome::NotSent, "{}", paid.name());
            }
        }
        assert_eq!(state_after(Reason::KoraValidation), StoredState::Failed);
        assert_eq!(state_after(Reason::ScreeningFailed), StoredState::Failed);
    }

    #[test]
    fn a_failure_is_read_as_it_was_stored() {
        let mut error = CallError::new(Reason::KoraValidation);
        error.violations = vec![Violation {
            field: "subject.name".to_owned(),
            description: "is refused by Kora".into(),
        }];
        error.kora_request_id = Some("req_1".to_owned());
        for resource in [Resource::Subject, Resource::Screening] {
            error.resource = Some(resource("id_1".to_owned()));
            let read = Failure::decode(&Failure::from(&error).encode());
            assert_eq!(read.reason, error.reason);
            assert_eq!(read.violations, error.violations);
            assert_eq!(read.resource, error.resource);
            assert_eq!(read.kora_request_id, error.kora_request_id);
        }
    }

    #[test]
    fn what_cannot_be_read_is_unknown() {
        for junk in [&b""[..], b"{}", br#"{"reason":"NO_SUCH_REASON"}"#] {
            assert_eq!(Failure::decode(junk).reason, Reason::KoraOutcomeUnknown);
        }
    }
}
