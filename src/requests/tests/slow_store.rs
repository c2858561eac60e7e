//! A store that takes everything and says so only when it is told to.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::{
    event::NewEvent,
    store::{
        AppendError, Appended, Begun, Ending, Intent, Poll, PollLog, Polls, ReadError, RequestKey,
        RequestLog, StoredRequest, StoredState,
    },
};

/// Keeps one request. Each answer takes a word.
pub(super) struct SlowStore {
    kept: Mutex<Kept>,
    /// Where it is closed, nothing can be begun.
    pub(super) begun: Semaphore,
    pub(super) finished: Semaphore,
    pub(super) read: Semaphore,
    pub(super) poll_added: Semaphore,
    /// How many ends are refused before one is taken.
    refused_ends: AtomicU32,
}

/// What it was asked to keep, in the order in which it was asked.
#[derive(Default)]
struct Kept {
    begun: Vec<Intent>,
    ended: Vec<Ending>,
    polls: Vec<String>,
}

impl Default for SlowStore {
    fn default() -> Self {
        let [begun, finished, read, poll_added] = [(); 4].map(|()| Semaphore::new(0));
        SlowStore {
            kept: Mutex::default(),
            begun,
            finished,
            read,
            poll_added,
            refused_ends: AtomicU32::new(0),
        }
    }
}

impl SlowStore {
    /// Refuses so many ends.
    pub(super) fn refuse_ends(&self, count: u32) {
        self.refused_ends.store(count, Ordering::SeqCst);
    }

    /// How often a request was begun.
    pub(super) fn begins(&self) -> usize {
        self.kept().begun.len()
    }

    /// How the attempts ended that were begun.
    pub(super) fn endings(&self) -> Vec<StoredState> {
        let kept = self.kept();
        let is_begun = |end: &&Ending| kept.begun.iter().any(|begun| begun.attempt == end.attempt);
        let ended = kept.ended.iter().filter(is_begun);
        ended.map(|end| end.state).collect()
    }

    /// The screenings that wait.
    pub(super) fn waiting(&self) -> Vec<String> {
        self.kept().polls.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self) -> Option<StoredRequest> {
        let kept = self.kept();
        let begun = kept.begun.last()?;
        let end = kept.ended.iter().find(|end| end.attempt == begun.attempt);
        Some(StoredRequest {
            key: begun.key.clone(),
            content: begun.content.clone(),
            attempt: begun.attempt,
            state: end.map_or(StoredState::InFlight, |end| end.state),
            answer: end.map(|end| end.answer.clone()).unwrap_or_default(),
            summary: end.map(|end| end.summary.clone()).unwrap_or_default(),
            is_evicted: false,
            create_time: Timestamp::UNIX_EPOCH,
            finish_time: None,
            is_held_elsewhere: false,
        })
    }
}

async fn word(words: &Semaphore) {
    words.acquire().await.unwrap().forget();
}

impl RequestLog for SlowStore {
    fn begin(&self, intent: Intent) -> BoxFuture<'_, Result<Begun, AppendError>> {
        if self.begun.is_closed() {
            return Box::pin(async { Err(AppendError::Unavailable) });
        }
        let begun = match self.stored() {
            Some(found) if found.state == StoredState::Succeeded => Begun::Found(found),
            _ => {
                self.kept().begun.push(intent);
                Begun::New
            }
        };
        Box::pin(async {
            word(&self.begun).await;
            Ok(begun)
        })
    }

    fn finish(&self, ending: Ending) -> BoxFuture<'_, Result<bool, AppendError>> {
        let left = self.refused_ends.load(Ordering::SeqCst);
        if let Some(left) = left.checked_sub(1) {
            self.refuse_ends(left);
            return Box::pin(async { Err(AppendError::Unavailable) });
        }
        self.kept().ended.push(ending);
        Box::pin(async {
            word(&self.finished).await;
            Ok(true)
        })
    }

    fn request(&self, _: RequestKey) -> BoxFuture<'_, Result<Option<StoredRequest>, ReadError>> {
        Box::pin(async {
            let stored = self.stored();
            word(&self.read).await;
            Ok(stored)
        })
    }

    fn has_scope(&self, _: String) -> BoxFuture<'_, Result<bool, ReadError>> {
        unreachable!("nobody asks for scopes here")
    }
}

impl PollLog for SlowStore {
    fn add_poll(
        &self,
        screening_id: String,
        _: String,
        _: Timestamp,
    ) -> BoxFuture<'_, Result<bool, AppendError>> {
        Box::pin(async {
            word(&self.poll_added).await;
            self.kept().polls.push(screening_id);
            Ok(true)
        })
    }

    fn polls(&self, _: usize, _: Timestamp) -> BoxFuture<'_, Result<Polls, ReadError>> {
        unreachable!("nothing is polled here")
    }

    fn postpone(&self, _: Poll, _: Timestamp) -> BoxFuture<'_, Result<bool, AppendError>> {
        unreachable!("nothing is polled here")
    }

    fn remove_poll(&self, _: Vec<u8>) -> BoxFuture<'_, Result<bool, AppendError>> {
        unreachable!("nothing is polled here")
    }

    fn reconcile(&self, _: NewEvent) -> BoxFuture<'_, Result<Appended, AppendError>> {
        unreachable!("nothing is polled here")
    }
}
