//! An error of the gateway's, in one line that says what to do.

use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt};

/// Why a call has no answer.
pub(super) enum Failed {
    /// `--gateway` is not a URL.
    NoUrl,
    /// Nothing answers there, so nothing was asked.
    NoGateway(String),
    /// The call failed.
    Call(Box<Status>),
}

/// Whether a call creates something that must not happen twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Paid,
    Reading,
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Failed::Call(Box::new(status))
    }
}

impl Failed {
    /// What failed, why, and what to do about it.
    pub(super) fn sentence(&self, kind: Kind) -> String {
        match self {
            Failed::NoUrl => "--gateway is not a URL".to_owned(),
            Failed::NoGateway(place) => format!(
                "no gateway answers at {place}: start one with `kora-gateway serve`, or say where it is \
                 with --gateway"
            ),
            Failed::Call(status) => sentence(status, kind),
        }
    }
}

fn sentence(status: &Status, kind: Kind) -> String {
    let Some(info) = status.get_details_error_info() else {
        return match kind {
            Kind::Paid => {
                "the call broke off, and it may have happened: look for it at Kora before you \
                           send it again"
            }
            Kind::Reading => "the call broke off; try again",
        }
        .to_owned();
    };
    let outcome = info.metadata.get("outcome").map(String::as_str);
    let advice = match status.code() {
        _ if outcome == Some("UNKNOWN") => "look for it at Kora before you send it again",
        Code::InvalidArgument => "correct it and try again",
        Code::NotFound => "check the id",
        _ if info.reason == "REQUEST_ID_REUSED" => "make up a new request_id",
        Code::Internal | Code::FailedPrecondition => "tell the gateway's operator",
        Code::AlreadyExists => "use the one that is there",
        Code::Aborted => "start a new one if it is still wanted",
        Code::Unimplemented => "use a gateway and a client of one version",
        _ => "try again",
    };
    let wait = status
        .get_details_retry_info()
        .and_then(|retry| retry.retry_delay)
        .map(|wait| format!(" in {}", humantime::format_duration(wait)))
        .unwrap_or_default();
    format!("{}; {advice}{wait}", what(status, &info))
}

/// The reason, its meaning, and the fields at fault.
pub(super) fn what(status: &Status, info: &ErrorInfo) -> String {
    let fields = status
        .get_details_bad_request()
        .map(|bad| {
            bad.field_violations
                .iter()
                .map(|violation| format!("{} {}", violation.field, violation.description))
                .collect::<Vec<_>>()
                .join(", ")
        })
        .filter(|fields| !fields.is_empty())
        .map(|fields| format!(" ({fields})"))
        .unwrap_or_default();
    format!("{}: {}{fields}", info.reason, status.message())
}
