//! What every call passes on its way in and out.
//!
//! On the way in it gets its id and its deadline. On the way out every failure, tonic's own and a panic
//! included, gets its status with all details, and is logged once.
//!
//! Until a handler has the request, nothing can have been sent, and the boundary itself keeps the deadline
//! and the order to stop. From then on the handler does, and a failure without a reason of ours may mean
//! anything.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body as HttpBody;
use tokio::time::{Duration, Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;
use tonic::{Code, Status, body::Body};
use tower::Service;

use super::{
    admission::{Admission, CALL_ID, IS_REPLAY, REPLAY, admit, call_id, check_headers, is_grpc},
    arrival::Arrivals,
    arriving::Arriving,
    failure_log,
    gate::{Gate, Pass, Who},
    metrics::Metrics,
    rpc::Rpc,
    standard::{Standard, yielding},
    status::{into_call_error, status_of, tonics_own},
};
use crate::{
    error::{CallError, Reason},
    lifecycle::Shutdown,
    requests::Permits,
};

/// How long a message that is coming in has, once the gateway is stopping: it may be a repeat of a known request.
const REST_OF_MESSAGE: Duration = Duration::from_secs(1);

/// What a request is answered whose content type is not that of gRPC with protobuf.
const UNSUPPORTED_MEDIA_TYPE: &str =
    "This port speaks gRPC: the content type is application/grpc or application/grpc+proto.\n";

/// The boundary around the routes.
#[derive(Clone)]
pub(super) struct Boundary<S> {
    routes: S,
    metrics: Metrics,
    way_in: WayIn,
}

/// What stands between a request and its handler.
#[derive(Clone)]
pub(super) struct WayIn {
    pub(super) gate: Gate,
    /// For calls in flight.
    pub(super) permits: Permits,
    pub(super) arrivals: Arrivals,
    pub(super) standard: Standard,
    /// Counts the calls.
    pub(super) calls: TaskTracker,
    /// From this order on, new calls are refused.
    pub(super) stop: Shutdown,
}

impl<S> Boundary<S> {
    pub(super) fn new(routes: S, metrics: Metrics, way_in: WayIn) -> Self {
        Boundary {
            routes,
            metrics,
            way_in,
        }
    }
}

impl WayIn {
    /// Lets a request that has passed the gate in, or says why not.
    fn admit<B>(
        &self,
        request: Request<B>,
        rpc: Option<Rpc>,
        received: Instant,
        call_id: &str,
        pass: Pass,
    ) -> Result<(Request<Arriving<B>>, Rpc, Admission), CallError> {
        let rpc = rpc.ok_or(Reason::UnknownMethod)?;
        pass.check_rpc(rpc)?;
        // One of the others may be a repeat of a request that is known, which is never told that nothing was sent.
        if self.stop.is_started() && !rpc.is_by_request_id() {
            return Err(CallError::draining());
        }
        let (request, admission) = admit(
            request,
            received,
            call_id,
            (rpc, pass),
            &self.arrivals,
            &self.permits,
        )?;
        Ok((request, rpc, admission))
    }
}

impl<S, B> Service<Request<B>> for Boundary<S>
where
    S: Service<Request<Arriving<B>>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
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
        let headers = check_headers(request.extensions());
        if Standard::is_path(path) {
            if let Err(error) = headers {
                let status = status_of(&error, None, &call_id(request.headers()));
                return Box::pin(std::future::ready(Ok(status.into_http())));
            }
            let (request, arrival) = self.way_in.standard.begin(request);
            let answer = self.routes.call(request);
            return Box::pin(async move { Ok(yielding(answer.await?, arrival)) });
        }
        let rpc = Rpc::from_path(path);
        let call_id = call_id(request.headers());
        let timer = self.metrics.start(rpc);
        // First counted, then checked: a stop that sees no call in flight refuses all that come.
        let in_flight = self.way_in.calls.token();
        let stop = self.way_in.stop.clone();
        let gate = &self.way_in.gate;
        let (who, pass) = match headers {
            Ok(()) => gate.enter(request.headers(), request.extensions()),
            Err(error) => (Who::default(), Err(error)),
        };
        let admitted =
            pass.and_then(|pass| self.way_in.admit(request, rpc, received, &call_id, pass));
        let admitted =
            admitted.map(|(request, rpc, admission)| (rpc, admission, self.routes.call(request)));
        Box::pin(async move {
            let result = match admitted {
                Ok((rpc, admission, answer)) => run(answer, rpc, &admission, stop).await,
                Err(error) => Err(error),
            };
            let (code, mut response) = match result {
                Ok(response) => (Code::Ok, response),
                Err(error) => {
                    let status = status_of(&error, rpc, &call_id);
                    failure_log::write(&error, rpc, &call_id, status.code(), &who);
                    let code = status.code();
                    let mut response = status.into_http();
                    if error.is_replay {
                        response
                            .headers_mut()
                            .insert(REPLAY, HeaderValue::from_static(IS_REPLAY));
                    }
                    (code, response)
                }
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

/// Waits for the answer: whatever it takes once a handler has the request, and until then no longer than
/// the deadline and the order to stop allow.
async fn run(
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
    rpc: Rpc,
    admission: &Admission,
    stop: Shutdown,
) -> Result<Response<Body>, CallError> {
    let answer = AssertUnwindSafe(answer).catch_unwind();
    tokio::pin!(answer);
    let stopped = async {
        stop.started().await;
        if rpc.is_by_request_id() {
            sleep(REST_OF_MESSAGE).await;
        }
    };
    let early = async {
        tokio::select! {
            () = sleep_until(admission.answer_by) => Reason::DeadlineBeforeSend.into(),
            () = stopped => CallError::draining(),
        }
    };
    let answered = tokio::select! {
        biased;
        answered = &mut answer => answered,
        // One task polls both: a handler that has not entered now never will.
        error = early => match admission.has_entered() {
            true => answer.await,
            false => return Err(error),
        },
    };
    match answered {
        Ok(Ok(response)) => match failure_in(&response) {
            None => Ok(response),
            Some(status) => Err(cause_of(&status, response, rpc, admission)),
        },
        // Its text could quote anything.
        Err(_) => Err(CallError::new(rpc.lost_reason()).because("the call panicked")),
    }
}

/// The status of a response that tells of a failure: a unary call that failed is answered by headers alone.
fn failure_in(response: &Response<Body>) -> Option<Status> {
    Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok)
}

/// Why: ours, where a handler made the status of one (tonic leaves it in the extensions), else tonic's.
fn cause_of(
    status: &Status,
    mut response: Response<Body>,
    rpc: Rpc,
    admission: &Admission,
) -> CallError {
    let of_handler = response.extensions_mut().remove::<Status>();
    match of_handler.and_then(into_call_error) {
        Some(error) => error,
        None if admission.is_refused() => CallError::overloaded(),
        None if admission.has_entered() => {
            CallError::new(rpc.lost_reason()).because("a status without a reason")
        }
        None => tonics_own(status),
    }
}

/// What the protocol asks for when a request is not gRPC.
fn unsupported_media_type() -> Response<Body> {
    let mut response = Response::new(Body::new(UNSUPPORTED_MEDIA_TYPE.to_owned()));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let text = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}
