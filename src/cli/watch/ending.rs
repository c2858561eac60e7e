//! What the end of a stream means: come back, or tell a person what to do.

use std::{path::Path, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt};

use super::super::{
    failure::{self, Failed, Kind},
    print::plain,
};

/// Why no message is coming.
pub(super) enum Ending {
    /// The stream was lost, or never came to be. The next one may do.
    Lost(Loss),
    /// The verb is over, and well.
    Done,
    /// The verb is over: this is what went wrong, and what to do.
    Failed(String),
    /// The same, because the gateway knows nobody by what was shown.
    Unidentified(String),
}

/// A lost stream.
pub(super) struct Loss {
    /// Why, in words.
    pub(super) why: String,
    /// How long the gateway asks to stay away.
    pub(super) asked: Option<Duration>,
}

impl Ending {
    /// Lost, and the gateway asks for nothing.
    pub(super) fn lost(why: impl Into<String>) -> Ending {
        Ending::Lost(Loss {
            why: why.into(),
            asked: None,
        })
    }

    /// After a call that failed, whose place is kept in this file.
    pub(super) fn of(failed: &Failed, resume_file: Option<&Path>) -> Ending {
        let status = match failed {
            Failed::Call(status) => status,
            Failed::Closed(Some(_)) => {
                return Ending::Unidentified(failed.sentence(Kind::Reading));
            }
            _ => return Ending::lost(failed.sentence(Kind::Reading)),
        };
        let info = status.get_details_error_info();
        let what = plain(&match &info {
            Some(info) => failure::what(status, info),
            // Of somebody else's errors only the code is told: their words could be anything.
            None => format!("the stream broke off ({:?})", status.code()),
        });
        if is_final(status.code()) {
            let problem = format!("{what}; {}", advice(status, info.as_ref(), resume_file));
            return match status.code() {
                Code::Unauthenticated => Ending::Unidentified(problem),
                _ => Ending::Failed(problem),
            };
        }
        Ending::Lost(Loss {
            why: what,
            asked: status
                .get_details_retry_info()
                .and_then(|retry| retry.retry_delay),
        })
    }
}

/// Whether the same request would fail again for ever.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::OutOfRange
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::DataLoss
            | Code::Unimplemented
    )
}

/// What to do about a stream that cannot go on.
fn advice(status: &Status, info: Option<&ErrorInfo>, resume_file: Option<&Path>) -> String {
    let start = match resume_file {
        Some(file) => format!("without {} and with a new --from", file.display()),
        None => "with a new --from".to_owned(),
    };
    if let Some(advice) = info.and_then(|info| failure::way_in_advice(status, info)) {
        return plain(&advice);
    }
    let reason = info.map(|info| info.reason.as_str());
    match (reason, status.code()) {
        (Some("TOKEN_EXPIRED"), _) => {
            format!("events were missed: go on with --on-gap skip, or {start}")
        }
        (Some("TOKEN_FOREIGN"), _) => format!(
            "check --gateway; if it is the right one, events may have been missed: go on with \
             --on-gap skip, or {start}"
        ),
        (Some("TOKEN_INVALID"), _) => format!("start again {start}"),
        (None, Code::OutOfRange) => {
            "a message may be too large for this client: tell the gateway's operator".to_owned()
        }
        (_, Code::InvalidArgument) => "correct it and try again".to_owned(),
        (_, Code::Unauthenticated | Code::PermissionDenied) => {
            "ask the gateway's operator for access".to_owned()
        }
        (_, Code::Unimplemented) => {
            "check --gateway, and use a gateway and a client of one version".to_owned()
        }
        _ => "tell the gateway's operator".to_owned(),
    }
}
