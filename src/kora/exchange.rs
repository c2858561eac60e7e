//! One HTTP exchange: a request out, and its whole answer in, or the reason why there is none.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Request, Response};
use thiserror::Error;

use super::{Endpoint, refusal::lost_reason};
use crate::{error::Reason, screening::KoraObject};

/// How many bytes of Kora's request id are kept.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Kora's whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// There is no whole answer. That does not say whether the request was sent.
pub(super) struct Lost {
    pub(super) cause: LostCause,
    /// Kora's id of the request, where at least the head of an answer came.
    pub(super) kora_request_id: Option<String>,
}

/// Why there is no whole answer.
#[derive(Debug, Error)]
pub(super) enum LostCause {
    #[error("the exchange failed")]
    Transport(#[source] reqwest::Error),
    #[error("the answer, with status {0}, is larger than allowed")]
    TooLarge(StatusCode),
}

impl Answer {
    /// Whether it is a failure that Kora itself did not put into words: a proxy's, or a broken server's.
    pub(super) fn is_from_something_else(&self) -> bool {
        let is_failure =
            self.status.is_server_error() || self.status == StatusCode::REQUEST_TIMEOUT;
        let has_code = || KoraObject::read(&self.body).is_ok_and(|body| body.has("code"));
        is_failure && !has_code()
    }

    /// Kora's id of the request: the header, else the body's field (Kora docs: authentication, error-codes).
    /// One that does not look like an id is not repeated to anybody.
    pub(super) fn kora_request_id(&self) -> Option<String> {
        let from_body = || KoraObject::read(&self.body).ok()?.text_if_any("request_id");
        header_id(&self.headers).or_else(|| from_body().filter(|id| is_id(id)))
    }
}

impl LostCause {
    /// Whether a connection was never there. Enough for a GET; a POST has its own proof.
    pub(super) fn is_before_sending(&self) -> bool {
        matches!(self, LostCause::Transport(error) if error.is_connect())
    }

    /// Whether Kora answered all the same. A failure on the server's side can be somebody else's.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, LostCause::TooLarge(status)
            if !status.is_server_error() && *status != StatusCode::REQUEST_TIMEOUT)
    }

    /// Why the call failed, if the request may have been sent.
    pub(super) fn reason(&self, endpoint: Endpoint) -> Reason {
        match self {
            LostCause::TooLarge(status) if status.is_success() => Reason::KoraResponseInvalid,
            LostCause::TooLarge(status) if status.is_redirection() => Reason::KoraRedirect,
            LostCause::TooLarge(_) | LostCause::Transport(_) => lost_reason(endpoint),
        }
    }
}

/// Sends `request` and reads the answer to its end.
pub(super) async fn exchange(
    http: &Client,
    request: Request,
    max_bytes: usize,
) -> Result<Answer, Lost> {
    let response = http.execute(request).await.map_err(|error| Lost {
        cause: transport(error),
        kora_request_id: None,
    })?;
    let (status, headers) = (response.status(), response.headers().clone());
    match read_body(response, max_bytes).await {
        Ok(body) => Ok(Answer {
            status,
            headers,
            body,
        }),
        Err(cause) => Err(Lost {
            cause,
            kora_request_id: header_id(&headers),
        }),
    }
}

async fn read_body(mut response: Response, max_bytes: usize) -> Result<Bytes, LostCause> {
    let status = response.status();
    let announced = response.content_length().unwrap_or(0);
    if announced > max_bytes as u64 {
        return Err(LostCause::TooLarge(status));
    }
    let mut body = BytesMut::with_capacity(announced as usize);
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(LostCause::TooLarge(status));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The URL holds ids, which logs show where they belong and nowhere else.
fn transport(error: reqwest::Error) -> LostCause {
    LostCause::Transport(error.without_url())
}

fn header_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    is_id(id).then(|| id.to_owned())
}

fn is_id(text: &str) -> bool {
    let is_id_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !text.is_empty() && text.len() <= MAX_REQUEST_ID_BYTES && text.bytes().all(is_id_byte)
}
