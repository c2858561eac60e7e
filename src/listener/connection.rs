//! A connection and all of its streams as one task.
//!
//! An event makes many streams of a connection ready. As tasks of their own, each would have the connection write what
//! it has to say; in one task, all that are ready go first, and what they say leaves in one write.
//!
//! It is also the place from where a stream can be cut whose client stands still: hyper asks such a stream's body for
//! nothing, so the body could not tell.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::rt::Executor;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{metrics::Metrics, pace::Pace};

/// How many looks at the streams there are in the time in which one may stand still.
const LOOKS_PER_STALL: u32 = 10;

/// Takes the streams of one connection, whose [`Connection`] runs them. Their number is bounded by that of the streams
/// that a connection may have open.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<New>>);

#[derive(Default)]
struct New {
    /// Of the request that came last, until its stream comes.
    pace: Option<Pace>,
    streams: Vec<Stream>,
}

/// One request and its answer; over when it is cut.
struct Stream {
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    pace: Pace,
}

/// Runs a connection, and its streams until it ends.
pub(super) struct Connection<C> {
    connection: Pin<Box<C>>,
    new: Streams,
    streams: FuturesUnordered<Stream>,
    stall: Duration,
    look: Interval,
    metrics: Metrics,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let mut new = self.lock();
        let pace = new.pace.take().unwrap_or_default();
        new.streams.push(Stream {
            future: Some(Box::pin(stream)),
            pace,
        });
    }
}

impl Streams {
    /// The pace of a request that has come. hyper hands its stream over right after it was told of the request.
    pub(super) fn pace(&self) -> Pace {
        self.lock().pace.insert(Pace::default()).clone()
    }

    fn has_new(&self) -> bool {
        !self.lock().streams.is_empty()
    }

    fn take(&self) -> Vec<Stream> {
        mem::take(&mut self.lock().streams)
    }

    fn lock(&self) -> MutexGuard<'_, New> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Drop for Connection<C> {
    /// A stream holds the executor that it was given to: one that was never taken would keep itself alive.
    fn drop(&mut self) {
        drop(self.new.take());
    }
}

impl Future for Stream {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(future) = &mut self.future {
            ready!(future.as_mut().poll(cx));
        }
        Poll::Ready(())
    }
}

impl<C: Future> Connection<C> {
    /// `connection` hands its streams to `streams`. One is cut whose client stands still for `stall`.
    pub(super) fn new(connection: C, streams: Streams, stall: Duration, metrics: Metrics) -> Self {
        let mut look = interval(stall / LOOKS_PER_STALL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Connection {
            connection: Box::pin(connection),
            new: streams,
            streams: FuturesUnordered::new(),
            stall,
            look,
            metrics,
        }
    }

    /// The connection itself.
    pub(super) fn itself(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }

    /// Dropping a stream tells its client that it was cut.
    fn cut_those_that_stand_still(&mut self) {
        let mut is_any_cut = false;
        for stream in self.streams.iter_mut() {
            if stream.pace.stands_still(self.stall) {
                stream.future = None;
                is_any_cut = true;
                self.metrics.stalled();
            }
        }
        if is_any_cut {
            // Nobody else wakes those that were cut.
            let streams = mem::take(&mut self.streams);
            let left = streams.into_iter().filter(|stream| stream.future.is_some());
            self.streams = left.collect();
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
        while self.look.poll_tick(cx).is_ready() {
            self.cut_those_that_stand_still();
        }
        loop {
            let new = self.new.take();
            self.streams.extend(new);
            while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(cx) {}
            if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            if !self.new.has_new() {
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

    const STALL: Duration = Duration::from_secs(60);

    fn run<C: Future>(connection: C, streams: Streams) -> Connection<C> {
        Connection::new(connection, streams, STALL, Metrics::unseen())
    }

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
        run(connection, streams).await;
        assert_eq!(seen, [4, 3, 3, 1], "all that are ready go in between");
        assert_eq!(
            Arc::strong_count(&held),
            1,
            "the last one ends with the connection"
        );
    }

    #[tokio::test]
    async fn streams_that_come_as_their_connection_ends_end_with_it() {
        let (streams, held) = (Streams::default(), Arc::new(()));
        let executor = streams.clone();
        let never = Arc::clone(&held);
        let connection = std::future::poll_fn(|_| {
            let (executor, never) = (executor.clone(), Arc::clone(&never));
            executor.clone().execute(async move {
                std::future::pending::<()>().await;
                drop((executor, never));
            });
            Poll::Ready(())
        });
        run(connection, streams).await;
        drop(never);
        assert_eq!(Arc::strong_count(&held), 1);
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
        let served = run(connection, streams);
        let patience = std::time::Duration::from_secs(10);
        tokio::time::timeout(patience, served).await.unwrap();
    }
}
