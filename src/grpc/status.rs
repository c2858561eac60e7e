//! The one place where a failure becomes a gRPC status.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::rpc::Rpc;
use crate::{
    error::{CallError, Hint, Outcome, Reason, Resource},
    pb,
};

/// The `domain` of every ErrorInfo.
const DOMAIN: &str = "kora-gateway";

/// The trailer with the time to wait before a retry (gRPC proposal A6: "pushback"), in milliseconds.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The longest wait that clients can read: the trailer is a signed number of 32 bits.
const MAX_PUSHBACK_MS: u128 = i32::MAX as u128;

/// Carries a failure out of a handler. The boundary makes the status that the caller gets of it.
impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        let mut status = Status::new(Code::from_i32(error.reason.code()), error.reason.message());
        status.set_source(Arc::new(Carried(Mutex::new(Some(error)))));
        status
    }
}

/// A status lends its source and never gives it away.
#[derive(Debug)]
struct Carried(Mutex<Option<CallError>>);

impl fmt::Display for Carried {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a failed call")
    }
}

impl Error for Carried {}

/// Takes it out again.
pub(super) fn into_call_error(status: Status) -> Option<CallError> {
    let carried: &Carried = status.source()?.downcast_ref()?;
    carried
        .0
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}

/// The failure of a status that tonic made by itself, for a request that it could not hand over.
pub(super) fn tonics_own(status: &Status) -> CallError {
    let reason = match status.code() {
        Code::Unimplemented => Reason::UnknownMethod,
        Code::OutOfRange => Reason::RequestTooLarge,
        _ => Reason::MalformedRequest,
    };
    CallError::new(reason).because(status.message().to_owned())
}

/// The status that the caller gets. `call_id` is the caller's `x-request-id`, or the one made up for it.
pub(super) fn status_of(error: &CallError, rpc: Option<Rpc>, call_id: &str) -> Status {
    let mut metadata = HashMap::new();
    let reason = match rpc {
        Some(rpc) if rpc.is_paid() => {
            let (reason, outcome) = error.reason.of_paid_call();
            metadata.insert("outcome".to_owned(), outcome.name().to_owned());
            reason
        }
        _ => error.reason,
    };
    match &error.hint {
        Some(Hint::OldestToken(token)) => {
            metadata.insert("oldest_token".to_owned(), token.clone());
        }
        Some(Hint::MissingRight(right)) => {
            metadata.insert("right".to_owned(), (*right).to_owned());
        }
        None => {}
    }
    let mut details = ErrorDetails::new();
    details.set_error_info(reason.name(), DOMAIN, metadata);
    details.set_request_info(call_id, error.kora_request_id.clone().unwrap_or_default());
    for violation in &error.violations {
        details.add_bad_request_violation(&violation.field, violation.description.as_ref());
    }
    if let Some(wait) = error.retry_after {
        details.set_retry_info(Some(wait));
    }
    if let Some(resource) = &error.resource {
        let (kind, id) = match resource {
            Resource::Subject(id) => ("Subject", id),
            Resource::Screening(id) => ("Screening", id),
        };
        details.set_resource_info(format!("{}.{kind}", pb::PACKAGE), id, "", "");
    }
    let mut status =
        Status::with_error_details(Code::from_i32(reason.code()), reason.message(), details);
    let is_unsent = reason.outcome() == Some(Outcome::NotSent);
    if let Some(wait) = error.retry_after.filter(|_| is_unsent) {
        // gRPC's own retry policies read this, and not RetryInfo.
        let milliseconds = wait.as_millis().min(MAX_PUSHBACK_MS);
        if let Ok(value) = milliseconds.to_string().parse() {
            status.metadata_mut().insert(PUSHBACK, value);
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Violation;

    /// Larger details get lost: clients and proxies limit the size of all metadata together.
    const MAX_DETAILS_BYTES: usize = 4096;

    #[test]
    fn the_largest_details_stay_small() {
        let mut error = CallError::new(Reason::InvalidRequest);
        error.kora_request_id = Some("r".repeat(128));
        error.violations = vec![
            Violation {
                field: format!("subject.additional_fields.{}", "n".repeat(64)),
                description: "has a typed field of its own; set that one".into(),
            };
            20
        ];
        let status = status_of(&error, Some(Rpc::Screen), &"c".repeat(128));
        assert!(
            status.details().len() < MAX_DETAILS_BYTES,
            "{}",
            status.details().len()
        );

        let mut error = CallError::new(Reason::SubjectNotFound);
        error.resource = Some(Resource::Subject(
            "i".repeat(crate::screening::MAX_ID_BYTES),
        ));
        let status = status_of(&error, Some(Rpc::Screen), &"c".repeat(128));
        assert!(status.details().len() < MAX_DETAILS_BYTES);
    }

    #[test]
    fn what_was_not_sent_tells_grpc_itself_when_to_retry() {
        let pushback = |reason, wait| {
            let error = CallError {
                retry_after: wait,
                ..CallError::new(reason)
            };
            let status = status_of(&error, Some(Rpc::Screen), "c");
            let value = status.metadata().get(PUSHBACK);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        let wait = Some(Duration::from_millis(1_500));
        let told = pushback(Reason::GatewayOverloaded, wait);
        assert_eq!(told.as_deref(), Some("1500"));
        let far = pushback(Reason::RatePaced, Some(Duration::MAX));
        assert_eq!(far.as_deref(), Some("2147483647"));
        assert_eq!(pushback(Reason::GatewayOverloaded, None), None);
        assert_eq!(pushback(Reason::KoraRateLimited, wait), None);
        assert_eq!(pushback(Reason::KoraOutcomeUnknown, wait), None);
    }

    #[test]
    fn only_paid_calls_have_an_outcome() {
        for (rpc, outcome) in [
            (Some(Rpc::Screen), Some("NOT_SENT")),
            (Some(Rpc::CreateSubject), Some("NOT_SENT")),
            (Some(Rpc::GetScreening), None),
            (None, None),
        ] {
            let status = status_of(&Reason::KoraUnreachable.into(), rpc, "c");
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.metadata.get("outcome").map(String::as_str), outcome);
        }
    }

    #[test]
    fn a_paid_call_never_ends_with_a_code_that_meshes_resend_unless_nothing_happened() {
        let status = status_of(&Reason::KoraInternal.into(), Some(Rpc::Screen), "c");
        assert_eq!(status.code(), Code::Unknown);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["outcome"], "UNKNOWN");
    }
}
