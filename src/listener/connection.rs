//! A connection and all of its streams as one task.
//!
//! An event makes many streams of a connection ready. As tasks of their own, each would have the connection write what
//! it has to say; in one task, all that are ready go first, and what they say leaves in one write.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::rt::Executor;

type StreamFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the streams of one connection, whose [`Connection`] runs them. Their number is bounded by that of the streams
/// that a connection may have open.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<Vec<StreamFuture>>>);

/// Runs a connection, and its streams until it ends.
pub(super) struct Connection<C> {
    connection: Pin<Box<C>>,
    new: Streams,
    streams: FuturesUnordered<StreamFuture>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.lock().push(Box::pin(stream));
    }
}

impl Streams {
    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn take(&self) -> Vec<StreamFuture> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StreamFuture>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Future> Connection<C> {
    /// `connection` hands its streams to `streams`.
    pub(super) fn new(connection: C, streams: Streams) -> Self {
        Connection {
            connection: Box::pin(connection),
            new: streams,
            streams: FuturesUnordered::new(),
        }
    }
}

impl<C: Future> Future for Connection<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        // First once: streams that are always ready use up what a task may do at a time.
        if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        loop {
            let new = self.new.take();
            self.streams.extend(new);
            while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(cx) {}
            if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            if self.new.is_empty() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn streams_that_are_ready_go_before_their_connection_writes_and_end_with_it() {
        let (streams, ready, polls) = (
            Streams::default(),
            Arc::new(Notify::new()),
            AtomicUsize::new(0),
        );
        let held = Arc::new(());
        for _ in 0..3 {
            let (ready, held) = (Arc::clone(&ready), Arc::clone(&held));
            streams.execute(async move {
                ready.notified().await;
                drop(held);
            });
        }
        let never = Arc::clone(&held);
        streams.execute(async move {
            std::future::pending::<()>().await;
            drop(never);
        });
        ready.notify_one();
        let alive = || Arc::strong_count(&held) - 1;
        let mut seen = Vec::new();
        let connection = std::future::poll_fn(|cx| {
            seen.push(alive());
            match polls.fetch_add(1, Ordering::SeqCst) {
                1 => {
                    ready.notify_waiters();
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                0 | 2 => Poll::Pending,
                _ => Poll::Ready(()),
            }
        });
        Connection::new(connection, streams).await;
        assert_eq!(seen, [4, 3, 3, 1], "all that are ready go in between");
        assert_eq!(
            Arc::strong_count(&held),
            1,
            "the last one ends with the connection"
        );
    }

    #[tokio::test]
    async fn streams_that_are_always_ready_do_not_silence_their_connection() {
        let streams = Streams::default();
        streams.execute(async {
            loop {
                tokio::task::consume_budget().await;
            }
        });
        let connection = async {
            // As often as it reads or writes.
            for _ in 0..1000 {
                tokio::task::consume_budget().await;
            }
        };
        let served = Connection::new(connection, streams);
        let patience = std::time::Duration::from_secs(10);
        tokio::time::timeout(patience, served).await.unwrap();
    }
}
