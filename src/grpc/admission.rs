//! What is asked of a request before a handler gets it: that it is gRPC, uncompressed, with a deadline that
//! can be read, and a name for the logs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{Extensions, HeaderMap, Request, header::CONTENT_TYPE};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    arrival::{Arrival, Arrivals},
    arriving::Arriving,
    deadline::{answer_by, stream_deadline, timeout_of},
    gate::Pass,
    rpc::Rpc,
};
use crate::{
    access::{Full, Share},
    error::{CallError, Reason},
    listener::{CallProgress, HeadersTooLarge, PlaceClaim},
    requests::{CallPermits, Permits, Place},
};

/// The metadata that names a call, in requests and answers.
pub(super) const CALL_ID: &str = "x-request-id";

/// The metadata of an answer that was given before, to the same `request_id`.
pub(super) const REPLAY: &str = "x-idempotent-replay";

/// Its value.
pub(super) const IS_REPLAY: &str = "true";

/// What a request says that it is (gRPC over HTTP/2: `Content-Type`). Parameters may follow.
const MEDIA_TYPES: [&str; 2] = ["application/grpc", "application/grpc+proto"];

/// How many characters of a caller's `x-request-id` are accepted; a longer one is replaced.
const MAX_CALL_ID_BYTES: usize = 128;

/// What a request of the API carries to its handler.
#[derive(Clone)]
pub(super) struct Admission {
    pub(super) answer_by: Instant,
    /// When a stream has to end, where its caller said so.
    pub(super) stream_deadline: Option<Instant>,
    pub(super) call_id: String,
    pub(super) pass: Pass,
    rpc: Rpc,
    arrival: Arc<Arrival>,
    permits: Permits,
    entered: Arc<AtomicBool>,
    progress: CallProgress,
    claim: Option<PlaceClaim>,
}

impl Admission {
    /// The handler of a call that reads from Kora takes it over, now that it is whole. Its place is to be kept until it is
    /// over; its pass says what the caller may do now, which can have changed while the call was on its way and waited.
    ///
    /// # Errors
    /// If too many calls are in flight, of all callers, of this one or for this tenant; or if the caller may not do it any
    /// more.
    pub(super) async fn enter(&self) -> Result<(Pass, Place), CallError> {
        self.prove();
        let call = self.call_permits().call().await;
        let call = call.map_err(|_: Full| CallError::overloaded())?;
        let pass = self.renewed_pass()?;
        Ok((pass, Place::new(call, self.enter_stream())))
    }

    /// The handler of a call that may send nothing takes it over: it gets its permits when it is known which.
    ///
    /// # Errors
    /// If the caller may not do it any more.
    pub(super) fn enter_unpermitted(&self) -> Result<(Pass, Option<Share>), CallError> {
        let pass = self.renewed_pass()?;
        Ok((pass, self.enter_stream()))
    }

    /// Where the call gets its permits.
    pub(super) fn call_permits(&self) -> CallPermits {
        self.permits.of_call(self.pass.claimant(), self.answer_by)
    }

    fn renewed_pass(&self) -> Result<Pass, CallError> {
        let pass = self.pass.renewed()?;
        pass.check_rpc(self.rpc)?;
        Ok(pass)
    }

    /// The handler of a stream takes it over. Streams have places of their own; what its request has of memory is to be
    /// kept until it is over.
    pub(super) fn enter_stream(&self) -> Option<Share> {
        self.entered.store(true, Ordering::Relaxed);
        self.progress.admit(self.rpc.is_paid());
        self.prove();
        self.arrival.finish()
    }

    /// The message is whole, and its caller may call: its connection is not evicted while it waits for its turn.
    fn prove(&self) {
        if let Some(claim) = &self.claim {
            claim.prove();
        }
    }

    /// Whether there was no room for the request, which will never be whole.
    pub(super) fn is_refused(&self) -> bool {
        self.arrival.is_refused()
    }

    /// Whether a handler has the request, so that anything may have happened.
    pub(super) fn has_entered(&self) -> bool {
        self.entered.load(Ordering::Relaxed)
    }
}

/// Lets a request in with its deadline, or says why not.
pub(super) fn admit<B>(
    mut request: Request<B>,
    received: Instant,
    call_id: &str,
    (rpc, pass): (Rpc, Pass),
    arrivals: &Arrivals,
    permits: &Permits,
) -> Result<(Request<Arriving<B>>, Admission), CallError> {
    // Messages are small, and a compressed one can be a bomb: no compression is offered, none accepted.
    let is_compressed = request
        .headers()
        .get("grpc-encoding")
        .is_some_and(|encoding| encoding != "identity");
    if is_compressed {
        return Err(CallError::new(Reason::MalformedRequest).because("the message is compressed"));
    }
    let timeout = timeout_of(request.headers()).map_err(|_| {
        CallError::new(Reason::MalformedRequest).because("grpc-timeout is malformed")
    })?;
    let arrival = Arc::new(arrivals.begin(pass.claimant()));
    let admission = Admission {
        answer_by: answer_by(timeout, received),
        stream_deadline: stream_deadline(timeout, received),
        call_id: call_id.to_owned(),
        pass,
        rpc,
        arrival: Arc::clone(&arrival),
        permits: permits.clone(),
        entered: Arc::default(),
        progress: request.extensions().get().cloned().unwrap_or_default(),
        claim: request.extensions().get().cloned(),
    };
    request.extensions_mut().insert(admission.clone());
    let request = request.map(|body| Arriving::new(body, arrival));
    Ok((request, admission))
}

/// The caller's name for the call, else one made up.
pub(super) fn call_id(headers: &HeaderMap) -> String {
    headers
        .get(CALL_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= MAX_CALL_ID_BYTES)
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()))
        .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

/// Whether it says that it is gRPC with protobuf messages. gRPC-Web and gRPC with JSON begin with the same letters, and
/// their clients could not read the answer.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (named.next(), named.next()) else {
        return false;
    };
    let media_type = value.as_bytes().split(|byte| *byte == b';').next();
    let media_type = media_type.unwrap_or_default().trim_ascii();
    MEDIA_TYPES
        .iter()
        .any(|accepted| media_type.eq_ignore_ascii_case(accepted.as_bytes()))
}

/// Refuses a request whose headers were too large to be kept.
///
/// # Errors
/// `MALFORMED_REQUEST`.
pub(super) fn check_headers(extensions: &Extensions) -> Result<(), CallError> {
    match extensions.get::<HeadersTooLarge>() {
        None => Ok(()),
        Some(HeadersTooLarge) => {
            Err(CallError::new(Reason::MalformedRequest).because("the headers exceed 16 KiB"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(content_types: &[&str]) -> bool {
        let values = content_types.iter().map(|value| value.parse().unwrap());
        is_grpc(&values.map(|value| (CONTENT_TYPE, value)).collect())
    }

    #[test]
    fn only_grpc_with_protobuf_is_taken() {
        for taken in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC",
            "application/grpc;charset=utf-8",
            "application/grpc+proto ; x=y",
        ] {
            assert!(is_taken(&[taken]), "{taken}");
        }
        for other in [
            "",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc-web-text",
            "application/grpc+json",
            "application/grpcx",
            "application/grpc+proto2",
            "application/json",
            "application/json;application/grpc",
        ] {
            assert!(!is_taken(&[other]), "{other}");
        }
        assert!(!is_taken(&[]));
        assert!(!is_taken(&["application/grpc", "application/grpc+json"]));
    }
}
