//! The body of a stream: its messages as chunks of bytes that streams share.
//!
//! tonic's own body encodes each message of each stream into a buffer of that stream's. A large event would then be in
//! memory once for every stream that has not taken it yet.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

use crate::feed::Message;

/// How a message is preceded that is not compressed (gRPC over HTTP/2: `Length-Prefixed-Message`).
const NOT_COMPRESSED: u8 = 0;

type Messages = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

/// A stream's messages, asked for one by one as its client takes them. It ends with trailers that have the status.
pub(super) struct MessageBody {
    messages: Messages,
    /// What is left of the last message.
    chunks: VecDeque<Bytes>,
    has_ended: bool,
}

impl MessageBody {
    pub(super) fn new(
        messages: impl Stream<Item = Result<Message, Status>> + Send + 'static,
    ) -> Self {
        MessageBody {
            messages: Box::pin(messages),
            chunks: VecDeque::new(),
            has_ended: false,
        }
    }

    fn begin(&mut self, message: Message) -> Result<(), Status> {
        let length = u32::try_from(message.encoded_len());
        let length = length.map_err(|_| Status::internal("a message is too large for gRPC"))?;
        let [a, b, c, d] = length.to_be_bytes();
        self.chunks = message.into_chunks(&[NOT_COMPRESSED, a, b, c, d]);
        Ok(())
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.has_ended = true;
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            let _ = Status::new(status.code(), "").add_header(&mut trailers);
        }
        Frame::trailers(trailers)
    }
}

impl Body for MessageBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        let next = std::task::ready!(self.messages.as_mut().poll_next(cx));
        let begun = match next {
            Some(message) => message.and_then(|message| self.begin(message)),
            None => Err(Status::ok("")),
        };
        let frame = match begun {
            Ok(()) => Frame::data(self.chunks.pop_front().unwrap_or_default()),
            Err(status) => self.end(&status),
        };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended && self.chunks.is_empty()
    }
}
