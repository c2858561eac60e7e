//! What every call passes on its way in and out.
//!
//! On the way in it gets its id and its deadline. On the way out every failure, tonic's own included, gets
//! its status with all details, and is logged once.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status, body::Body};
use tower::Service;
use uuid::Uuid;

use super::{
    deadline::answer_by,
    metrics::{Metrics, code_name},
    rpc::Rpc,
    status::{status_of, tonics_own},
};
use crate::error::{CallError, Reason};

/// How many characters of a caller's `x-request-id` are accepted; a longer one is replaced.
const MAX_CALL_ID_BYTES: usize = 128;

const CALL_ID: &str = "x-request-id";

/// Services of the standard whose answers are left as they are.
const STANDARD_SERVICES: [&str; 2] = ["/grpc.health.v1.", "/grpc.reflection."];

/// The boundary around the routes.
#[derive(Clone)]
pub(super) struct Boundary<S> {
    routes: S,
    metrics: Metrics,
    calls: TaskTracker,
}

/// When a call has to be answered. Every request of the API that gets to a handler carries one.
#[derive(Clone, Copy)]
pub(super) struct AnswerBy(pub(super) Instant);

impl<S> Boundary<S> {
    pub(super) fn new(routes: S, metrics: Metrics, calls: TaskTracker) -> Self {
        Boundary {
            routes,
            metrics,
            calls,
        }
    }
}

impl<S, B> Service<Request<B>> for Boundary<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.routes.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let received = Instant::now();
        let path = request.uri().path();
        if !is_grpc(request.headers()) {
            return Box::pin(std::future::ready(Ok(unsupported_media_type())));
        }
        if STANDARD_SERVICES.iter().any(|name| path.starts_with(name)) {
            return Box::pin(self.routes.call(request));
        }
        let rpc = Rpc::from_path(path);
        let call_id = call_id(request.headers());
        let timer = self.metrics.start(rpc);
        let in_flight = self.calls.token();
        let answer = admit(request, received).map(|request| self.routes.call(request));
        Box::pin(async move {
            let refuse = |error: &CallError| {
                let status = status_of(error, rpc, &call_id);
                log(error, rpc, &call_id, status.code());
                (status.code(), status.into_http())
            };
            let (code, mut response) = match answer {
                Ok(answer) => {
                    let response = answer.await?;
                    match failure_in(&response) {
                        Some(Failure::Ours(error)) => refuse(error),
                        Some(Failure::Tonics(error)) => refuse(&error),
                        None => (Code::Ok, response),
                    }
                }
                Err(error) => refuse(&error),
            };
            if let Ok(call_id) = HeaderValue::from_str(&call_id) {
                response.headers_mut().insert(CALL_ID, call_id);
            }
            timer.answered(code);
            drop(in_flight);
            Ok(response)
        })
    }
}

/// Lets a request in with its deadline, or says why not.
fn admit<B>(mut request: Request<B>, received: Instant) -> Result<Request<B>, CallError> {
    // Messages are small, and a compressed one can be a bomb: no compression is offered, none accepted.
    let is_compressed = request
        .headers()
        .get("grpc-encoding")
        .is_some_and(|encoding| encoding != "identity");
    if is_compressed {
        return Err(CallError::new(Reason::MalformedRequest).because("the message is compressed"));
    }
    let answer_by = answer_by(request.headers(), received).map_err(|_| {
        CallError::new(Reason::MalformedRequest).because("grpc-timeout is malformed")
    })?;
    request.extensions_mut().insert(AnswerBy(answer_by));
    Ok(request)
}

/// The failure that a response tells of.
enum Failure<'a> {
    Ours(&'a CallError),
    Tonics(CallError),
}

/// A unary call that failed is answered by headers alone. Where the status was made by a handler, tonic
/// leaves it in the extensions with its source.
fn failure_in(response: &Response<Body>) -> Option<Failure<'_>> {
    let status = Status::from_header_map(response.headers())?;
    if status.code() == Code::Ok {
        return None;
    }
    let of_handler = response.extensions().get::<Status>();
    let ours = of_handler.and_then(|status| status.source()?.downcast_ref());
    Some(match ours {
        Some(error) => Failure::Ours(error),
        None => Failure::Tonics(tonics_own(&status)),
    })
}

/// The caller's name for the call, else one made up.
fn call_id(headers: &HeaderMap) -> String {
    headers
        .get(CALL_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= MAX_CALL_ID_BYTES)
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// What the protocol asks for when a request is no gRPC at all.
fn unsupported_media_type() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

/// One line for one failed call: ids, reason and causes, and nothing that a caller or Kora wrote.
fn log(error: &CallError, rpc: Option<Rpc>, call_id: &str, code: Code) {
    let method = rpc.map_or("unknown", Rpc::name);
    let code = code_name(code);
    let reason = error.reason.name();
    let kora_request_id = error.kora_request_id.as_deref().unwrap_or_default();
    let cause = causes(error);
    if code == "INTERNAL" {
        tracing::error!(
            method,
            call_id,
            code,
            reason,
            kora_request_id,
            cause,
            "call failed"
        );
    } else {
        tracing::info!(
            method,
            call_id,
            code,
            reason,
            kora_request_id,
            cause,
            "call failed"
        );
    }
}

fn causes(error: &CallError) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
