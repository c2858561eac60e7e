//! One HTTP exchange: a request out, and its whole answer in, or the reason why there is none.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use reqwest::{Client, Request, Response};
use thiserror::Error;

use super::{Endpoint, answer_object::AnswerObject, refusal::lost_reason};
use crate::error::Reason;

/// How many bytes of Kora's request id are kept.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Kora's whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no whole answer. None of these says whether the request was sent.
#[derive(Debug, Error)]
pub(super) enum Lost {
    #[error("the exchange failed")]
    Transport(#[source] reqwest::Error),
    #[error("the answer, with status {0}, is larger than allowed")]
    TooLarge(StatusCode),
}

impl Answer {
    /// Kora's id of the request: the header, else the body's field (Kora docs: authentication, error-codes).
    /// One that does not look like an id is not repeated to anybody.
    pub(super) fn kora_request_id(&self) -> Option<String> {
        let from_header = self
            .headers
            .get("x-request-id")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let from_body = || {
            AnswerObject::read(&self.body)
                .ok()?
                .text_if_any("request_id")
        };
        from_header
            .filter(|id| is_id(id))
            .or_else(|| from_body().filter(|id| is_id(id)))
    }
}

impl Lost {
    /// Whether a connection was never there. Enough for a GET; a POST has its own proof.
    pub(super) fn is_before_sending(&self) -> bool {
        matches!(self, Lost::Transport(error) if error.is_connect())
    }

    /// Why the call failed, if the request may have been sent.
    pub(super) fn reason(&self, endpoint: Endpoint) -> Reason {
        match self {
            Lost::TooLarge(status) if status.is_success() => Reason::KoraResponseInvalid,
            Lost::TooLarge(_) | Lost::Transport(_) => lost_reason(endpoint),
        }
    }
}

/// Sends `request` and reads the answer to its end.
pub(super) async fn exchange(
    http: &Client,
    request: Request,
    max_bytes: usize,
) -> Result<Answer, Lost> {
    let response = http.execute(request).await.map_err(lost)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = read_body(response, max_bytes).await?;
    Ok(Answer {
        status,
        headers,
        body,
    })
}

async fn read_body(mut response: Response, max_bytes: usize) -> Result<Bytes, Lost> {
    let status = response.status();
    let announced = response.content_length().unwrap_or(0);
    if announced > max_bytes as u64 {
        return Err(Lost::TooLarge(status));
    }
    let mut body = BytesMut::with_capacity(announced as usize);
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(Lost::TooLarge(status));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The URL holds ids, which logs show where they belong and nowhere else.
fn lost(error: reqwest::Error) -> Lost {
    Lost::Transport(error.without_url())
}

fn is_id(text: &str) -> bool {
    let is_id_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !text.is_empty() && text.len() <= MAX_REQUEST_ID_BYTES && text.bytes().all(is_id_byte)
}
