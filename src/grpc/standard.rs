//! The services of the standard: health and reflection. They need no identity, so nobody pays for what they take: it is
//! little, and none of it is taken from those who call the API.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame};
use tonic::{Status, body::Body};

use super::{
    arrival::{Arrival, Arrivals},
    arriving::Arriving,
};
use crate::{access::Claimant, memory::Pool};

/// Their paths. Their answers are left as they are.
const PATHS: [&str; 2] = ["/grpc.health.v1.", "/grpc.reflection."];

/// How large a message may be that is announced.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// How much memory requests may have that are large because they have many messages.
const MEMORY_BYTES: usize = 1 << 20;

/// Takes their requests in. From the first byte of a request to the last one of its answer, which can be a stream
/// without an end, it is among those of which the oldest makes room.
#[derive(Clone)]
pub(super) struct Standard(Arrivals);

/// An answer that ends where others need its room.
struct Yielding {
    body: Body,
    /// Until it ends, it is among them.
    _arrival: Arc<Arrival>,
    makes_room: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_ended: bool,
}

impl Standard {
    pub(super) fn new() -> Self {
        let pool = Pool::new("standard_services", MEMORY_BYTES);
        Standard(Arrivals::new(MAX_MESSAGE_BYTES, &pool))
    }

    /// Whether this is the path of one.
    pub(super) fn is_path(path: &str) -> bool {
        PATHS.iter().any(|name| path.starts_with(name))
    }

    /// Takes a request in. It proves nothing, so it does not protect its connection from eviction.
    pub(super) fn begin<B>(&self, request: Request<B>) -> (Request<Arriving<B>>, Arc<Arrival>) {
        let arrival = Arc::new(self.0.begin(Claimant::only()));
        let request = request.map(|body| Arriving::new(body, Arc::clone(&arrival)));
        (request, arrival)
    }
}

/// The answer to a request that was taken in like that.
pub(super) fn yielding(response: Response<Body>, arrival: Arc<Arrival>) -> Response<Body> {
    response.map(|body| {
        Body::new(Yielding {
            body,
            makes_room: Box::pin(arrival.makes_room()),
            _arrival: arrival,
            has_ended: false,
        })
    })
}

impl HttpBody for Yielding {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if self.makes_room.as_mut().poll(cx).is_ready() {
            self.has_ended = true;
            self.body = Body::empty();
            return Poll::Ready(Some(Ok(Frame::trailers(made_room()))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }
}

/// How an answer ends that makes room.
fn made_room() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // It has no text and no details that could be no headers.
    let _ = Status::unavailable("others needed the room").add_header(&mut trailers);
    trailers
}
