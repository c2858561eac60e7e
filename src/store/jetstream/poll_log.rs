//! Polls in a bucket. A screening waits while it has a poll there and no end in the log, so an end that is appended
//! needs no second write.
//!
//! Each gateway follows the bucket and has its polls in memory (see `poll_follower`). What is due is compared with the
//! bucket and the log before it is polled, so nothing depends on the list being the newest.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    JetStream, WRITE_TIMEOUT,
    bucket::{ABSENT, Bucket},
    events::Events,
    lease::Lease,
    poll_follower::FollowedPolls,
    poll_value::{self, key, screening_of},
    supersession::has_ended,
};
use crate::{
    clock::Clock,
    event::NewEvent,
    store::{AppendError, Appended, HotTail, Metrics, Poll, PollLog, Polls, ReadError},
};

/// How long a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How many polls that were there before are compared with the log in one round.
const COMPARED_AT_A_TIME: usize = 256;

/// One tenant's polls.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) bucket: Bucket,
    pub(super) polls: Arc<FollowedPolls>,
    pub(super) events: Arc<Events>,
    pub(super) tail: Arc<HotTail>,
    /// Up to which record of the log ends have been looked for.
    pub(super) ends_seen: AtomicU64,
    /// The polls that were there before, and are yet to be compared with the log; none as long as they are not all known.
    pub(super) uncompared: Mutex<Option<Vec<Poll>>>,
    pub(super) lease: Arc<Lease>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

impl Waits {
    async fn add(
        &self,
        screening_id: String,
        subject_id: String,
        next_poll: Timestamp,
    ) -> Result<bool, AppendError> {
        if self.has_ended(&screening_id, &subject_id).await? {
            return Ok(false);
        }
        let key = key(screening_id.as_bytes());
        let poll = Poll {
            screening_id,
            subject_id,
            next_poll: to_the_millisecond(next_poll),
            attempts: 0,
            create_time: to_the_millisecond(self.clock.now()),
        };
        self.set(&key, &poll, ABSENT).await
    }

    /// Those that are due first. Nothing at a process that has not the lease: another one polls.
    async fn first(&self, limit: usize, latest: Timestamp) -> Result<Polls, ReadError> {
        // Ends that it reads could not be appended.
        self.lease.decline(self.events.newer().is_some()).await;
        if !self.lease.is_held() {
            self.metrics.polls.set(0);
            return Ok(Polls::default());
        }
        self.polls.until_complete().await;
        self.remove_ended_before().await?;
        self.remove_ended().await?;
        let polls = Polls {
            sound: self.first_waiting(limit, latest).await?,
            damaged: self.damaged().await,
        };
        let count = self.polls.list().len();
        self.metrics
            .polls
            .set(i64::try_from(count).unwrap_or(i64::MAX));
        Ok(polls)
    }

    /// Those of them that have not ended.
    async fn first_waiting(&self, limit: usize, latest: Timestamp) -> Result<Vec<Poll>, ReadError> {
        let now = self.clock.now();
        loop {
            let first: Vec<Poll> = self
                .polls
                .list()
                .in_order(latest)
                .take(limit)
                .cloned()
                .collect();
            let (mut waiting, mut has_room) = (Vec::with_capacity(first.len()), false);
            for poll in first {
                let is_due = poll.next_poll <= now || poll.next_poll > latest;
                if is_due && has_ended(&self.events, &poll.screening_id, &poll.subject_id).await? {
                    // If it cannot be removed now, it can the next time.
                    has_room |= self
                        .remove_key(&key(poll.screening_id.as_bytes()))
                        .await
                        .is_ok();
                } else {
                    waiting.push(poll);
                }
            }
            if !has_room {
                return Ok(waiting);
            }
        }
    }

    /// Removes polls whose ends came before this process followed the log, some at a time.
    async fn remove_ended_before(&self) -> Result<(), ReadError> {
        let some = {
            let mut uncompared = self.lock_uncompared();
            let all = uncompared.get_or_insert_with(|| {
                let polls = self.polls.list();
                polls.in_order(Timestamp::MAX).cloned().collect()
            });
            all.split_off(all.len().saturating_sub(COMPARED_AT_A_TIME))
        };
        for poll in &some {
            match has_ended(&self.events, &poll.screening_id, &poll.subject_id).await {
                Ok(false) => {}
                Ok(true) => {
                    // If it cannot be removed now, it is when it is due.
                    let _ = self.remove_key(&key(poll.screening_id.as_bytes())).await;
                }
                Err(error) => {
                    self.lock_uncompared().get_or_insert_default().extend(some);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn lock_uncompared(&self) -> MutexGuard<'_, Option<Vec<Poll>>> {
        self.uncompared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes polls whose ends have come since the last time, whether they are due or not. An end that is not in memory
    /// any more is found when its poll is due.
    async fn remove_ended(&self) -> Result<(), ReadError> {
        let mut sequence = self.ends_seen.load(Ordering::Relaxed);
        while let Some(page) = self.tail.page(sequence)
            && let Some(last) = page.last()
        {
            for record in &page {
                let Some(screening_id) = record.keys.ended_screening() else {
                    continue;
                };
                let key = key(screening_id.as_bytes());
                let poll = self.polls.list().poll(&key).cloned();
                if let Some(poll) = poll
                    && has_ended(&self.events, &poll.screening_id, &poll.subject_id).await?
                {
                    // If it cannot be removed now, it is when it is due.
                    let _ = self.remove_key(&key).await;
                }
            }
            sequence = last.sequence;
            self.ends_seen.store(sequence, Ordering::Relaxed);
        }
        let head = self.tail.bounds().head.sequence;
        if self.tail.page(sequence).is_none() {
            self.ends_seen.store(head, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The screenings whose polls are damaged. A poll that does not tell its screening is removed.
    async fn damaged(&self) -> Vec<Vec<u8>> {
        let keys: Vec<String> = self.polls.list().damaged().map(str::to_owned).collect();
        let mut damaged = Vec::new();
        for key in keys {
            match screening_of(&key) {
                Some(screening_id) => damaged.push(screening_id),
                None => {
                    tracing::error!(
                        key,
                        "a damaged poll that does not tell its screening is removed"
                    );
                    // If it cannot be removed now, it can the next time.
                    let _ = self.remove_key(&key).await;
                }
            }
        }
        damaged
    }

    async fn postpone(&self, poll: Poll, next_poll: Timestamp) -> Result<bool, AppendError> {
        let key = key(poll.screening_id.as_bytes());
        let known = self.polls.list().revision(&key);
        let Some(found) = self.bucket.get(&key).await.map_err(cannot_write)? else {
            if let Some(known) = known {
                self.polls.list().remove(&key, known);
            }
            return Ok(false);
        };
        if poll_value::decode(found.value.clone()).as_ref() != Ok(&poll) {
            self.polls.list().set(&key, found.revision, found.value);
            return Ok(false);
        }
        if self.has_ended(&poll.screening_id, &poll.subject_id).await? {
            return Ok(false);
        }
        let postponed = Poll {
            next_poll: to_the_millisecond(next_poll),
            attempts: poll.attempts.saturating_add(1),
            ..poll
        };
        self.set(&key, &postponed, found.revision).await
    }

    async fn remove(&self, screening_id: &[u8]) -> Result<bool, AppendError> {
        let waited = match std::str::from_utf8(screening_id) {
            Ok(screening_id) => !self.has_ended(screening_id, "").await?,
            Err(_) => true,
        };
        let is_removed = self.remove_key(&key(screening_id)).await?;
        Ok(is_removed && waited)
    }

    /// Sets a poll if its revision is still this, and waits until this process's list shows it. Whether it was set.
    async fn set(&self, key: &str, poll: &Poll, revision: u64) -> Result<bool, AppendError> {
        let set = self.bucket.set(key, poll_value::encode(poll), revision);
        let Some(revision) = set.await? else {
            return Ok(false);
        };
        self.polls.until_shown(revision).await;
        Ok(true)
    }

    /// Removes a key from the bucket, and from this process's list. False if it had no value.
    async fn remove_key(&self, key: &str) -> Result<bool, AppendError> {
        let known = self.polls.list().revision(key);
        let is_removed = self.bucket.remove(key).await?;
        if let Some(known) = known {
            self.polls.list().remove(key, known);
        }
        Ok(is_removed)
    }

    async fn is_waiting(&self, screening_id: &str) -> Result<bool, AppendError> {
        let found = self.bucket.get(&key(screening_id.as_bytes())).await;
        Ok(found.map_err(cannot_write)?.is_some())
    }

    async fn has_ended(&self, screening_id: &str, subject_id: &str) -> Result<bool, AppendError> {
        let ended = has_ended(&self.events, screening_id, subject_id).await;
        ended.map_err(cannot_write)
    }
}

/// As it is kept.
fn to_the_millisecond(time: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn cannot_write(error: ReadError) -> AppendError {
    tracing::warn!(%error, "a poll cannot be changed now");
    AppendError::Unavailable
}

/// What was done in time.
async fn in_time<T>(
    work: impl Future<Output = Result<T, AppendError>> + Send,
) -> Result<T, AppendError> {
    let done = timeout(WRITE_TIMEOUT, work).await;
    done.unwrap_or(Err(AppendError::TooSlow))
}

impl PollLog for JetStream {
    fn add_poll(
        &self,
        screening_id: String,
        subject_id: String,
        next_poll: Timestamp,
    ) -> BoxFuture<'_, Result<bool, AppendError>> {
        Box::pin(in_time(self.waits.add(screening_id, subject_id, next_poll)))
    }

    fn polls(&self, limit: usize, latest: Timestamp) -> BoxFuture<'_, Result<Polls, ReadError>> {
        Box::pin(async move {
            let read = timeout(READ_TIMEOUT, self.waits.first(limit, latest)).await;
            let late = || Err(ReadError::Unavailable("NATS did not answer".to_owned()));
            read.unwrap_or_else(|_| late())
        })
    }

    fn postpone(
        &self,
        poll: Poll,
        next_poll: Timestamp,
    ) -> BoxFuture<'_, Result<bool, AppendError>> {
        Box::pin(in_time(self.waits.postpone(poll, next_poll)))
    }

    fn remove_poll(&self, screening_id: Vec<u8>) -> BoxFuture<'_, Result<bool, AppendError>> {
        Box::pin(in_time(
            async move { self.waits.remove(&screening_id).await },
        ))
    }

    fn reconcile(&self, event: NewEvent) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async move {
            let screening_id = event.keys.screening_id.clone();
            if !in_time(self.waits.is_waiting(&screening_id)).await? {
                return Ok(Appended::Duplicate);
            }
            let appended = self.append_and_show(event, true).await?;
            // The end is in the log; one that is left is removed when it is read.
            let _ = in_time(self.waits.remove(screening_id.as_bytes())).await;
            Ok(appended)
        })
    }
}
