//! The body of a request that is coming in, and that has to make room where others need it.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::{announced::Announced, arrival::Arrival};
use crate::error::CallError;

/// A body whose bytes are counted. It ends with `GATEWAY_OVERLOADED` where there is no room for them.
pub(super) struct Arriving<B> {
    body: B,
    arrival: Arc<Arrival>,
    announced: Announced,
    makes_room: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<B> Arriving<B> {
    pub(super) fn new(body: B, arrival: Arc<Arrival>) -> Self {
        let makes_room = Box::pin(arrival.makes_room());
        Arriving {
            body,
            arrival,
            announced: Announced::default(),
            makes_room,
        }
    }

    /// tonic hands a status on, without what it carries: the boundary asks the arrival.
    fn no_room(&self) -> Box<dyn Error + Send + Sync> {
        self.arrival.refuse();
        Box::new(Status::from(CallError::overloaded()))
    }
}

impl<B> Body for Arriving<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.makes_room.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(self.no_room())));
        }
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(end) => return Poll::Ready(end.map(|end| end.map_err(Into::into))),
        };
        let Some(data) = frame.data_ref() else {
            // Requests of gRPC have no trailers; what a client sends nevertheless must not stay in memory with the call.
            return Poll::Ready(None);
        };
        let to_come = self.announced.follow(data);
        Poll::Ready(Some(match self.arrival.grow(data.len(), to_come) {
            Ok(()) => Ok(frame),
            Err(_) => Err(self.no_room()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
