//! One attempt: a POST on a connection of its own.

use std::time::Duration;

use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{HeaderValue, Method, Request, StatusCode};
use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::pin::pin;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::target::Target;

/// How long an attempt may take, from connecting to the end of the answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an answer's body is read.
const MAX_ANSWER: usize = 64 * 1024;

/// Header with the signature (Kora docs: webhooks).
const X_WEBHOOK_SIGNATURE: &str = "x-webhook-signature";

/// Posts a webhook. `None` when no whole answer came in time. A redirect is an answer like any other.
pub(super) async fn post(target: &Target, body: Bytes, signature: &str) -> Option<StatusCode> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path.parse().ok()?;
    let headers = request.headers_mut();
    headers.insert(HOST, target.host.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("kora-emulator"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(X_WEBHOOK_SIGNATURE, signature.parse().ok()?);
    match timeout(ATTEMPT_TIMEOUT, exchange(target, request)).await {
        Ok(Ok(status)) => Some(status),
        Ok(Err(error)) => {
            tracing::debug!(%error, "emulator webhook got no answer");
            None
        }
        Err(_elapsed) => {
            tracing::debug!("emulator webhook got no answer in time");
            None
        }
    }
}

async fn exchange(
    target: &Target,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(target.addresses.as_slice()).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = pin!(async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        // Read to its end, so that the receiver sees no reset.
        Limited::new(answer.into_body(), MAX_ANSWER)
            .collect()
            .await?;
        Ok(status)
    });
    match select(answer, pin!(connection)).await {
        Either::Left((answered, _)) => answered,
        Either::Right((_, answer)) => answer.await,
    }
}
