//! How a webhook ends, and what Kora is told.

use axum::{
    body::Body,
    http::{
        HeaderValue, Response, StatusCode,
        header::{ALLOW, CONNECTION, RETRY_AFTER},
    },
};

/// When Kora should offer an event again that could not be kept.
const RETRY_AFTER_SECONDS: u64 = 5;

/// How a webhook ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is in the log.
    Accepted,
    /// It is in the log, though nothing in it could be read.
    Unreadable,
    /// It was in the log before.
    Duplicate,
    /// No such path.
    NotFound,
    /// Not a POST.
    WrongMethod,
    /// Compressed.
    Unsupported,
    /// No signature of Kora's.
    Unauthentic,
    /// Larger than allowed, or than the log can ever take.
    TooLarge,
    /// The body did not come in time.
    TimedOut,
    /// The body broke off, or is no HTTP.
    BrokenOff,
    /// Too many bodies at a time.
    Overloaded,
    /// The log did not take it.
    StoreUnavailable,
    /// A defect of the gateway's.
    Failed,
}

impl Ending {
    /// All of them.
    pub(super) const ALL: [Ending; 13] = [
        Ending::Accepted,
        Ending::Unreadable,
        Ending::Duplicate,
        Ending::NotFound,
        Ending::WrongMethod,
        Ending::Unsupported,
        Ending::Unauthentic,
        Ending::TooLarge,
        Ending::TimedOut,
        Ending::BrokenOff,
        Ending::Overloaded,
        Ending::StoreUnavailable,
        Ending::Failed,
    ];

    /// The name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Ending::Accepted => "accepted",
            Ending::Unreadable => "unreadable",
            Ending::Duplicate => "duplicate",
            Ending::NotFound => "not_found",
            Ending::WrongMethod => "wrong_method",
            Ending::Unsupported => "unsupported",
            Ending::Unauthentic => "unauthentic",
            Ending::TooLarge => "too_large",
            Ending::TimedOut => "timeout",
            Ending::BrokenOff => "broken_off",
            Ending::Overloaded => "overloaded",
            Ending::StoreUnavailable => "store_unavailable",
            Ending::Failed => "failed",
        }
    }

    /// The status that Kora sees. Never one that could make it give up for a fault of the gateway's.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Ending::Accepted | Ending::Unreadable | Ending::Duplicate => StatusCode::OK,
            Ending::NotFound => StatusCode::NOT_FOUND,
            Ending::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Ending::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Ending::Unauthentic => StatusCode::UNAUTHORIZED,
            Ending::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Ending::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Ending::BrokenOff => StatusCode::BAD_REQUEST,
            Ending::Overloaded | Ending::StoreUnavailable | Ending::Failed => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The whole answer. `closes` where the body was not read to its end: nothing can follow it.
    pub(super) fn into_response(self, closes: bool) -> Response<Body> {
        let status = self.status();
        let mut response = Response::new(match status {
            StatusCode::OK => Body::from("OK"),
            _ => Body::empty(),
        });
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        if closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
