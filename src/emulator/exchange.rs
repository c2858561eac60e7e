//! One exchange: the request arrives, is listed, meets the scenario's fault, is answered or cut
//! off.

use std::error::Error;
use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Extension;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Method, StatusCode, request};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::sleep;

use super::Twin;
use super::admission::Authorization;
use super::envelope::{FromProxy, Refusal, X_REQUEST_ID, seal};
use super::received::Arrival;
use super::scenario::{Endpoint, Failure, Fault, Scenario};

/// Size of a request body that is taken. A larger one is answered 413.
const MAX_BODY: usize = 1024 * 1024;

/// How much of a body that is too large is read, so that its sender gets to see the answer.
const MAX_DISCARDED: usize = 16 * MAX_BODY;

/// What `junk` answers with unless told otherwise.
const JUNK: &str = "{\"screening_id\": \"scr_";

/// The connection is to be dropped: as an extension of an answer, or as the error of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut by the emulator")
    }
}

impl Error for Cut {}

/// Takes one request through the exchange. `next` does the work.
pub(super) async fn exchange(
    State(twin): State<Arc<Twin>>,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let method = head.method.clone();
    let matched = head.extensions.get::<MatchedPath>().cloned();
    // Only the pattern is logged: a client may put anything into the path itself.
    let route = matched.as_ref().map_or("unknown", MatchedPath::as_str);
    let fault = Scenario::meet(&mut twin.state().scenario, Endpoint::of(&method, route));
    let response = run(&twin, head, body, fault, next).await;
    let status = response.status().as_u16();
    let request_id = response.headers().get(X_REQUEST_ID);
    let cut = response.extensions().get::<Cut>().is_some();
    let method = name_of(&method);
    tracing::debug!(method, route, status, cut, ?request_id, "emulator answered");
    response
}

/// A method as it is logged: a client may make up its own.
fn name_of(method: &Method) -> &str {
    let is_known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
    ]
    .contains(method);
    if is_known { method.as_str() } else { "unknown" }
}

async fn run(
    twin: &Twin,
    head: request::Parts,
    body: Body,
    fault: Option<Fault>,
    next: Next,
) -> Response {
    let arrival = Arrival::new(&head, Authorization::of(&head.headers, &twin.config));
    if fault == Some(Fault::CutBeforeReading {}) {
        twin.state().received.push(arrival);
        return dropped();
    }
    let answer = match read(body).await {
        Ok(body) => {
            let arrival = arrival.with_body(body.clone());
            twin.state().received.push(arrival);
            match &fault {
                Some(Fault::Fail(failure)) => fail(failure),
                _ => next.run(Request::from_parts(head, body.into())).await,
            }
        }
        Err(unread) => {
            twin.state().received.push(arrival);
            unread.into_response()
        }
    };
    spoil(seal(answer, twin), fault).await
}

/// Why a body was not taken.
enum Unread {
    TooLarge,
    /// The client left, or broke the protocol.
    Lost,
}

impl IntoResponse for Unread {
    fn into_response(self) -> Response {
        match self {
            Self::TooLarge => Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "BAD_REQUEST",
                "The body is too large",
            )
            .into_response(),
            Self::Lost => dropped(),
        }
    }
}

/// Reads a body to its end.
async fn read(mut body: Body) -> Result<Bytes, Unread> {
    let mut kept = BytesMut::new();
    let mut discarded = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Unread::Lost)?.into_data() else {
            continue;
        };
        if discarded == 0 && kept.len() + data.len() <= MAX_BODY {
            kept.extend_from_slice(&data);
            continue;
        }
        discarded += data.len();
        if discarded > MAX_DISCARDED {
            break;
        }
    }
    if discarded == 0 {
        Ok(kept.freeze())
    } else {
        Err(Unread::TooLarge)
    }
}

/// The answer of a `fail`.
fn fail(failure: &Failure) -> Response {
    let status = failure.status;
    if let Some(code) = &failure.code {
        return Refusal::new(status, code, "The emulator was told to fail")
            .retry_after(failure.retry_after_seconds)
            .into_response();
    }
    let page = format!("<html><body><h1>{status}</h1></body></html>");
    let mut response = (status, Extension(FromProxy), Html(page)).into_response();
    if let Some(seconds) = failure.retry_after_seconds {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Does to a complete answer what the fault says.
async fn spoil(mut answer: Response, fault: Option<Fault>) -> Response {
    match fault {
        None | Some(Fault::Fail(_)) => answer,
        Some(Fault::Delay { delay }) => {
            sleep(delay).await;
            answer
        }
        Some(Fault::Hang {}) => pending().await,
        Some(Fault::CutBeforeReading {} | Fault::CutAfterReading {}) => dropped(),
        Some(Fault::CutMidAnswer {}) => halve(answer).await,
        Some(Fault::Junk { body }) => {
            *answer.status_mut() = StatusCode::OK;
            *answer.body_mut() = body.unwrap_or_else(|| JUNK.to_owned()).into();
            answer.headers_mut().remove(CONTENT_LENGTH);
            let json = HeaderValue::from_static("application/json");
            answer.headers_mut().insert(CONTENT_TYPE, json);
            answer
        }
    }
}

/// No answer at all: the connection is dropped.
fn dropped() -> Response {
    Extension(Cut).into_response()
}

/// The same answer with its whole length announced and half of its body sent.
async fn halve(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let Ok(whole) = body.collect().await.map(|body| body.to_bytes()) else {
        return dropped();
    };
    parts.headers.insert(CONTENT_LENGTH, whole.len().into());
    let half = HalfBody {
        half: Some(whole.slice(..whole.len() / 2)),
        flushed: false,
    };
    Response::from_parts(parts, Body::new(half))
}

/// A body that sends its bytes and then fails with [`Cut`].
struct HalfBody {
    half: Option<Bytes>,
    flushed: bool,
}

impl http_body::Body for HalfBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(half) = self.half.take() {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        // hyper writes what it has when a body pauses, and throws it away when a body fails. So:
        // pause, then fail.
        if !self.flushed {
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(Cut)))
    }
}
