//! Answers in the form in which they are stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Metrics;
use crate::{
    error::{CallError, Outcome, Reason, Resource, Violation},
    pb,
    screening::{Cuts, fit_screening, fit_subject},
    store::StoredState,
};

/// A message that answers a request.
pub(super) trait Answer: prost::Message + Default + Clone + 'static {
    /// Kora's id of what was created.
    fn id(&self) -> &str;

    /// Makes it fit into so many bytes, and says what was left out for that.
    fn fit(&mut self, room: usize) -> Cuts;
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

    fn fit(&mut self, room: usize) -> Cuts {
        fit_screening(self, room)
    }
}

impl Answer for pb::Subject {
    fn id(&self) -> &str {
        &self.subject_id
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

    /// Whether this is why.
    pub(super) fn is(&self, reason: Reason) -> bool {
        self.reason == reason.name()
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

/// The state of a request that was answered, and what is stored of the answer in a store that takes `room` bytes.
pub(super) fn stored<M: Answer>(
    result: &Result<M, CallError>,
    room: usize,
    metrics: &Metrics,
) -> (StoredState, Bytes) {
    match result {
        Ok(message) => {
            let mut stored = message.clone();
            let cuts = stored.fit(room);
            if !cuts.is_empty() {
                let id = message.id();
                tracing::warn!(id, %cuts, "parts of a stored answer were left out: it was too large");
                metrics.stored_cut(&cuts);
            }
            (StoredState::Succeeded, stored.encode_to_vec().into())
        }
        Err(error) => (state_after(error.reason), Failure::from(error).encode()),
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
