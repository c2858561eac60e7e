//! How fast a client takes its answer.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::places::Claimed;

/// How much of an answer is handed over at a time. What was handed over stays in memory until the client takes it, and
/// one piece in [`Patience::stall`](super::Patience) is pace enough.
const PIECE_BYTES: usize = 16 << 10;

/// Whether a client takes its answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace(Arc<Mutex<Option<Instant>>>);

/// An answer's body, handed over piece by piece.
#[derive(Debug)]
pub(super) struct Paced<B, U = Claimed> {
    body: B,
    /// What is left of a frame.
    rest: Bytes,
    pace: Pace,
    _under_way: U,
}

impl Pace {
    /// Whether the client has taken nothing for so long, of something that it was handed.
    pub(super) fn stands_still(&self, patience: Duration) -> bool {
        self.lock().is_some_and(|since| since.elapsed() >= patience)
    }

    fn handed_over(&self) {
        *self.lock() = Some(Instant::now());
    }

    /// The client has taken all that there was.
    fn has_nothing(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B, U> Paced<B, U> {
    /// `under_way` is held as long as the body.
    pub(super) fn new(body: B, pace: Pace, under_way: U) -> Self {
        Paced {
            body,
            rest: Bytes::new(),
            pace,
            _under_way: under_way,
        }
    }

    fn piece(&mut self) -> Frame<Bytes> {
        self.pace.handed_over();
        let length = self.rest.len().min(PIECE_BYTES);
        Frame::data(self.rest.split_to(length))
    }
}

impl<B: Body<Data = Bytes> + Unpin, U: Unpin> Body for Paced<B, U> {
    type Data = Bytes;
    type Error = B::Error;

    /// hyper asks for the next frame when the client has taken the last one.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(cx) else {
            self.pace.has_nothing();
            return Poll::Pending;
        };
        Poll::Ready(match next {
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    self.piece()
                }
                Err(trailers) => {
                    self.pace.handed_over();
                    trailers
                }
            })),
            end => end,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest.is_empty() {
            true => self.body.size_hint(),
            false => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt, stream};
    use http_body_util::{BodyExt, Full, StreamBody};
    use tokio::time::advance;

    use super::*;

    #[tokio::test]
    async fn a_body_comes_in_pieces_and_whole() {
        let bytes: Bytes = (0..PIECE_BYTES + 5).map(|number| number as u8).collect();
        let body = Paced::new(Full::new(bytes.clone()), Pace::default(), ());
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let mut pieces = Vec::new();
        let mut body = body;
        while !body.is_end_stream() {
            let frame = body.frame().await.unwrap().unwrap();
            pieces.push(frame.into_data().unwrap());
        }
        let lengths: Vec<_> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [PIECE_BYTES, 5]);
        assert_eq!(pieces.concat(), bytes);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_of_what_there_is_stands_still() {
        let patience = Duration::from_secs(60);
        let (send, receive) = tokio::sync::mpsc::channel(2);
        let frames = stream::unfold(receive, |mut receive| async {
            Some((receive.recv().await?, receive))
        });
        let pace = Pace::default();
        let frames = Box::pin(frames);
        let mut body = Paced::new(StreamBody::new(frames), pace.clone(), ());
        advance(patience).await;
        assert!(!pace.stands_still(patience), "there is nothing yet");
        for _ in 0..2 {
            let data = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"event")));
            send.send(data).await.unwrap();
        }
        body.frame().await.unwrap().unwrap();
        advance(patience / 2).await;
        assert!(!pace.stands_still(patience));
        body.frame().await.unwrap().unwrap();
        advance(patience - Duration::from_millis(1)).await;
        assert!(!pace.stands_still(patience), "it took one meanwhile");
        advance(Duration::from_millis(1)).await;
        assert!(pace.stands_still(patience));
        assert!(body.frame().now_or_never().is_none());
        assert!(!pace.stands_still(patience), "it waits for more");
    }
}
