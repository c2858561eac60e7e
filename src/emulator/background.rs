//! Work that no request waits for: it is counted, bounded, and ends with the emulator.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Deliveries under way and screenings about to finish, together. What is beyond is not done.
pub(super) const MAX_PENDING: usize = 10_000;

/// Webhooks that are being posted at a time. The others wait for their turn.
const MAX_POSTS: usize = 16;

/// The work in the background of one emulator.
pub(super) struct Background {
    tasks: TaskTracker,
    room: Arc<Semaphore>,
    posts: Semaphore,
    stop: CancellationToken,
}

impl Background {
    /// Everything that is started here is dropped when `stop` is cancelled.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self {
            tasks: TaskTracker::new(),
            room: Arc::new(Semaphore::new(MAX_PENDING)),
            posts: Semaphore::new(MAX_POSTS),
            stop,
        }
    }

    /// Starts `work`. `false`, and nothing done, when there is no room for more.
    pub(super) fn start(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            return false;
        };
        let work = self.stop.clone().run_until_cancelled_owned(work);
        self.tasks.spawn(async move {
            work.await;
            drop(room);
        });
        true
    }

    /// Waits until one more webhook may be posted. It may as long as the permit lives.
    pub(super) async fn turn_to_post(&self) -> SemaphorePermit<'_> {
        let permit = self.posts.acquire().await;
        permit.expect("the semaphore is never closed")
    }

    /// Waits until all work has ended.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn so_many_webhooks_are_posted_at_a_time() {
        let background = Background::new(CancellationToken::new());
        let posting: Vec<_> = (0..MAX_POSTS)
            .map(|_| background.turn_to_post().now_or_never().unwrap())
            .collect();
        assert!(background.turn_to_post().now_or_never().is_none());
        drop(posting);
        assert!(background.turn_to_post().now_or_never().is_some());
    }

    #[tokio::test]
    async fn work_is_bounded_and_ends_with_the_stop() {
        let stop = CancellationToken::new();
        let background = Background::new(stop.clone());
        for _ in 0..MAX_PENDING {
            assert!(background.start(pending()));
        }
        assert!(!background.start(async {}));
        stop.cancel();
        let ended = timeout(Duration::from_secs(10), background.ended()).await;
        assert!(ended.is_ok());
        assert!(background.start(async {}));
    }
}
