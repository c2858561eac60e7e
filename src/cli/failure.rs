//! An error of the gateway's, in one line that says what to do.

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What failed, why, and what to do about it.
pub(super) fn sentence(status: &Status) -> String {
    let Some(info) = status.get_details_error_info() else {
        return match status.code() {
            Code::Unavailable => status.message().to_owned(),
            code => format!("{code:?} (not the gateway's own): {}", status.message()),
        };
    };
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
    let advice = match info.metadata.get("outcome").map(String::as_str) {
        _ if status.code() == Code::InvalidArgument => "correct it and try again".to_owned(),
        Some("UNKNOWN") => "look for it at Kora before you send it again".to_owned(),
        Some("NOT_SENT") => "it is safe to try again".to_owned(),
        _ => match status.code() {
            Code::NotFound => "check the id".to_owned(),
            Code::Internal => "tell the gateway's operator".to_owned(),
            Code::AlreadyExists => "use the one that is there".to_owned(),
            Code::Aborted => "start a new one if it is still wanted".to_owned(),
            _ => "try again later".to_owned(),
        },
    };
    let wait = status
        .get_details_retry_info()
        .and_then(|retry| retry.retry_delay)
        .map(|wait| format!(" in {}", humantime::format_duration(wait)))
        .unwrap_or_default();
    format!(
        "{}: {}{fields}; {advice}{wait}",
        info.reason,
        status.message()
    )
}
