//! Why calls fail: a closed set of reasons, each with its gRPC code, its outcome and its sentence.
//!
//! The set is generated from the options of `ErrorReason` in the API's protos, so that code, manual and
//! tests read one catalogue. This room knows neither protobuf nor tonic: a code is a number here.

mod outcome;

use std::{borrow::Cow, error::Error, fmt, time::Duration};

pub use outcome::Outcome;

include!(concat!(env!("OUT_DIR"), "/reasons.rs"));

/// When to try again, or to try another gateway, if this one has no room or is stopping.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);

/// How many bad fields one error names.
pub const MAX_VIOLATIONS: usize = 20;

/// How many bytes of a field name that a caller made up an error repeats.
const MAX_NAME_BYTES: usize = 64;

/// One bad field of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field's path in the request message, such as `subject.date_of_birth`.
    pub field: String,
    /// What is wrong with it. Never the field's value.
    pub description: Cow<'static, str>,
}

/// What a call was about, where the error concerns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A subject, by Kora's id.
    Subject(String),
    /// A screening, by Kora's id.
    Screening(String),
}

/// What would help a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The oldest token that works, where a token or time is too old.
    OldestToken(String),
    /// What the caller would have to be allowed.
    MissingRight(&'static str),
}

/// A call that failed: what the caller is told, and the cause for the operator's log.
pub struct CallError {
    /// Why.
    pub reason: Reason,
    /// The bad fields, where that is the reason.
    pub violations: Vec<Violation>,
    /// How long to wait before a retry, where one makes sense.
    pub retry_after: Option<Duration>,
    /// What the call was about, where that is missing or failed.
    pub resource: Option<Resource>,
    /// What would help, where the gateway knows.
    pub hint: Option<Hint>,
    /// Kora's id of the HTTP request, where Kora answered with one.
    pub kora_request_id: Option<String>,
    /// Whether this is what an earlier call with the same `request_id` was answered.
    pub is_replay: bool,
    /// What happened underneath. For the operator only; it holds no personal data.
    pub cause: Option<Box<dyn Error + Send + Sync>>,
}

/// What the catalogue says of one reason.
struct Specification {
    reason: Reason,
    name: &'static str,
    code: i32,
    outcome: Option<Outcome>,
    message: &'static str,
}

/// The gRPC codes that service meshes resend by themselves, whatever the RPC.
const RESENT_BY_MESHES: [i32; 2] = [CANCELLED, UNAVAILABLE];
const CANCELLED: i32 = 1;
const UNAVAILABLE: i32 = 14;

// A mesh that resends a Screen may do so only when the first one certainly did not happen. With
// `Reason::of_paid_call` this holds for every error of Screen and CreateSubject.
const _: () = {
    let mut row = 0;
    while row < SPECIFICATIONS.len() {
        let specification = &SPECIFICATIONS[row];
        assert!(
            specification.reason as usize == row,
            "the rows are not in the order of the variants"
        );
        let resent =
            specification.code == RESENT_BY_MESHES[0] || specification.code == RESENT_BY_MESHES[1];
        assert!(
            !resent
                || matches!(
                    specification.outcome,
                    None | Some(Outcome::NotSent | Outcome::Rejected)
                ),
            "a reason that meshes resend does not prove that nothing happened"
        );
        row += 1;
    }
};

impl Reason {
    /// The name that callers see, such as `KORA_UNREACHABLE`.
    pub fn name(self) -> &'static str {
        self.specification().name
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Reason> {
        SPECIFICATIONS
            .iter()
            .map(|specification| specification.reason)
    }

    /// The reason with this name, if this build has it.
    pub fn from_name(name: &str) -> Option<Self> {
        Reason::all().find(|reason| reason.name() == name)
    }

    /// The number of its gRPC status code.
    pub fn code(self) -> i32 {
        self.specification().code
    }

    /// The sentence that callers see as the status message.
    pub fn message(self) -> &'static str {
        self.specification().message
    }

    /// What Screen and CreateSubject report with it; `None` where it does not occur in them.
    pub fn outcome(self) -> Option<Outcome> {
        self.specification().outcome
    }

    /// The reason and outcome that Screen and CreateSubject report. A reason that says nothing about what
    /// happened becomes the one that says "unknown": a mistake in here must not read as "safe to resend".
    pub fn of_paid_call(self) -> (Reason, Outcome) {
        match self.outcome() {
            Some(outcome) => (self, outcome),
            None => (Reason::KoraOutcomeUnknown, Outcome::Unknown),
        }
    }

    fn specification(self) -> &'static Specification {
        &SPECIFICATIONS[self as usize]
    }
}

impl Violation {
    /// The path of a field whose name the caller made up; without the name where that is long.
    pub fn path(parent: &str, name: &str) -> String {
        match name.len() {
            ..=MAX_NAME_BYTES => format!("{parent}.{name}"),
            _ => parent.to_owned(),
        }
    }
}

impl CallError {
    /// A failure with nothing but its reason.
    pub fn new(reason: Reason) -> Self {
        CallError {
            reason,
            violations: Vec::new(),
            retry_after: None,
            resource: None,
            hint: None,
            kora_request_id: None,
            is_replay: false,
            cause: None,
        }
    }

    /// The request breaks rules, and nothing was sent.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        CallError {
            violations,
            ..CallError::new(Reason::InvalidRequest)
        }
    }

    /// The gateway is stopping, and nothing was sent.
    pub fn draining() -> Self {
        CallError {
            retry_after: Some(COME_BACK_AFTER),
            ..CallError::new(Reason::GatewayDraining)
        }
    }

    /// There is no room for a call, and nothing was sent.
    pub fn overloaded() -> Self {
        CallError {
            retry_after: Some(COME_BACK_AFTER),
            ..CallError::new(Reason::GatewayOverloaded)
        }
    }

    /// The gateway is stopping, and ends a stream, whose client may come back after this time.
    pub fn stream_drained(retry_after: Duration) -> Self {
        CallError {
            retry_after: Some(retry_after),
            ..CallError::new(Reason::StreamDrained)
        }
    }

    /// Adds what happened underneath, for the operator. It must hold no personal data.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl From<Reason> for CallError {
    fn from(reason: Reason) -> Self {
        CallError::new(reason)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason.name())
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CallError")
            .field("reason", &self.reason)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Without the field: its name can be a caller's own.
impl fmt::Debug for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Violation")
            .field("description", &self.description)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_paid_call_is_resent_by_meshes_only_if_nothing_happened() {
        for specification in SPECIFICATIONS {
            let (reason, outcome) = specification.reason.of_paid_call();
            if RESENT_BY_MESHES.contains(&reason.code()) {
                assert!(outcome <= Outcome::Rejected, "{}", reason.name());
            }
        }
    }

    #[test]
    fn a_reason_without_an_outcome_is_unknown_in_a_paid_call() {
        let (reason, outcome) = Reason::KoraInternal.of_paid_call();
        assert_eq!(reason, Reason::KoraOutcomeUnknown);
        assert_eq!(outcome, Outcome::Unknown);
    }

    #[test]
    fn a_field_that_a_caller_made_up_is_not_printed() {
        let violation = Violation {
            field: Violation::path("additional_fields", "MARKER"),
            description: "is refused".into(),
        };
        assert_eq!(violation.field, "additional_fields.MARKER");
        let mut error = CallError::new(Reason::InvalidRequest);
        error.violations = vec![violation.clone()];
        for printed in [
            format!("{violation:?}"),
            format!("{error:?}"),
            error.to_string(),
        ] {
            assert!(!printed.contains("MARKER"), "{printed}");
        }
    }
}
