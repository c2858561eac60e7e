//! An error of the gateway's, in one line that says what to do.

use std::error::Error;

use tokio_rustls::rustls;
use tonic::{Code, Status, transport};
use tonic_types::{ErrorInfo, StatusExt};

use super::{
    cause::{cause, innermost},
    gateway_args::BadFlag,
    print::plain,
    way_in::TENANT,
};

/// How an alert of the other side's begins in rustls's words.
const ALERT: &str = "received fatal alert: ";

/// The alerts that tell of a client's certificate, or that there is none: nothing was read after it.
const CERTIFICATE_ALERTS: [&str; 8] = [
    "AccessDenied",
    "BadCertificate",
    "CertificateExpired",
    "CertificateRequired",
    "CertificateRevoked",
    "CertificateUnknown",
    "UnknownCA",
    "UnsupportedCertificate",
];

/// Why a call has no answer.
pub(super) enum Failed {
    /// A flag is of no use, so nothing was asked.
    Flag(BadFlag),
    /// Nothing answers there, so nothing was asked.
    NoGateway(String),
    /// What answers there is not trusted, or does not speak TLS, so nothing was asked.
    NoTls(String, rustls::Error),
    /// The connection ended before anything was asked, with this alert if it is known.
    Closed(Option<&'static str>),
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
        match status.source().and_then(certificate_alert) {
            Some(alert) => Failed::Closed(Some(alert)),
            None => Failed::Call(Box::new(status)),
        }
    }
}

impl From<BadFlag> for Failed {
    fn from(bad: BadFlag) -> Self {
        Failed::Flag(bad)
    }
}

impl Failed {
    /// Connecting to this place failed.
    pub(super) fn connecting(place: String, error: &transport::Error) -> Self {
        match (certificate_alert(error), cause::<rustls::Error>(error)) {
            (Some(alert), _) => Failed::Closed(Some(alert)),
            (None, Some(error)) => Failed::NoTls(place, error.clone()),
            (None, None) => Failed::NoGateway(place),
        }
    }

    /// The first exchange on a connection failed.
    pub(super) fn beginning(error: &(dyn Error + 'static)) -> Self {
        Failed::Closed(certificate_alert(error))
    }

    /// What failed, why, and what to do about it.
    pub(super) fn sentence(&self, kind: Kind) -> String {
        plain(&match self {
            Failed::Flag(bad) => bad.to_string(),
            Failed::NoGateway(place) => format!(
                "no gateway answers at {place}: start one with `kora-gateway serve`, or say where it is \
                 with --gateway"
            ),
            Failed::NoTls(place, error) => {
                format!("no TLS with {place} ({error}): {}", tls_advice(error))
            }
            Failed::Closed(alert) => {
                let alert = alert.map_or_else(String::new, |alert| format!(" ({alert})"));
                format!(
                    "the connection to the gateway ended before anything was asked{alert}: say https:// if the gateway \
                     speaks TLS, give a --cert-file of an authority that it trusts if it wants one, or try again"
                )
            }
            Failed::Call(status) => sentence(status, kind),
        })
    }
}

fn tls_advice(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(_) => {
            "check --gateway, and name the authority of its certificate with --ca-file"
        }
        _ => "check that --gateway is its https:// address",
    }
}

/// The alert in an error's words, because HTTP/2 keeps of an error nothing else.
fn certificate_alert(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let words = innermost(error);
    let alert = words.strip_prefix(ALERT)?;
    CERTIFICATE_ALERTS.into_iter().find(|known| *known == alert)
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
    if let Some(advice) = way_in_advice(status, &info) {
        return format!("{}; {advice}", what(status, &info));
    }
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

/// What to do for a caller that is not let in as it came.
pub(super) fn way_in_advice(status: &Status, info: &ErrorInfo) -> Option<String> {
    let right = info.metadata.get("right").map(String::as_str);
    match (info.reason.as_str(), right) {
        ("UNAUTHENTICATED", _) => Some(
            "show a --token-file, or a --cert-file with its --key-file, that the gateway lists under [[callers]]"
                .to_owned(),
        ),
        ("PERMISSION_MISSING", Some("tenant")) => Some(
            "name a tenant with --tenant that is the caller's, or ask the gateway's operator for it".to_owned(),
        ),
        ("PERMISSION_MISSING", Some(right)) => {
            Some(format!("ask the gateway's operator for the right `{right}`"))
        }
        ("PERMISSION_MISSING", None) => Some("ask the gateway's operator for the right".to_owned()),
        ("INVALID_REQUEST", _) if is_tenant_missing(status) => Some("name one with --tenant".to_owned()),
        _ => None,
    }
}

/// Whether the caller has to say for which tenant it calls.
fn is_tenant_missing(status: &Status) -> bool {
    status.get_details_bad_request().is_some_and(|bad| {
        let mut violations = bad.field_violations.iter();
        violations.any(|violation| violation.field == TENANT)
    })
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
