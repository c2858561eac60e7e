//! Polls in a bucket. A screening waits while it has a poll there and no end in the log, so an end that is appended
//! needs no second write.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    JetStream, WRITE_TIMEOUT,
    bucket::{ABSENT, Bucket},
    events::Events,
    lease::Lease,
    poll_value::{self, MAX_ID_BYTES, PREFIX, key},
    supersession::has_ended,
};
use crate::{
    clock::Clock,
    event::NewEvent,
    store::{AppendError, Appended, Metrics, Poll, PollLog, Polls, ReadError},
};

/// How long a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// One tenant's polls.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) bucket: Bucket,
    pub(super) events: Arc<Events>,
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
        if screening_id.len() > MAX_ID_BYTES {
            tracing::error!("the id of a screening is too long to be kept for polling");
            // Waiting does not help.
            return Err(AppendError::Broken);
        }
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
        let added = self.bucket.set(&key, poll_value::encode(&poll), ABSENT);
        Ok(added.await?.is_some())
    }

    /// Those that are due first. Nothing at a process that has not the lease: another one polls.
    async fn first(&self, limit: usize, latest: Timestamp) -> Result<Polls, ReadError> {
        if !self.lease.is_held() {
            return Ok(Polls::default());
        }
        let (mut waiting, mut polls) = (Vec::new(), Polls::default());
        for (key, value) in self.bucket.all(PREFIX).await? {
            match poll_value::decode(value) {
                Some(poll) => waiting.push(poll),
                None => polls.damaged.extend(poll_value::screening_of(&key)),
            }
        }
        self.metrics.polls.set(waiting.len() as i64);
        waiting.sort_by_key(|poll| (poll.next_poll <= latest, poll.next_poll));
        for poll in waiting {
            if polls.sound.len() == limit {
                break;
            }
            match has_ended(&self.events, &poll.screening_id, &poll.subject_id).await? {
                false => polls.sound.push(poll),
                // If it cannot be removed now, it can the next time.
                true => drop(self.bucket.remove(&key(poll.screening_id.as_bytes())).await),
            }
        }
        Ok(polls)
    }

    async fn postpone(&self, poll: Poll, next_poll: Timestamp) -> Result<bool, AppendError> {
        let key = key(poll.screening_id.as_bytes());
        let found = self.bucket.get(&key).await.map_err(cannot_write)?;
        let Some(found) = found else {
            return Ok(false);
        };
        if poll_value::decode(found.value).as_ref() != Some(&poll)
            || self.has_ended(&poll.screening_id, &poll.subject_id).await?
        {
            return Ok(false);
        }
        let postponed = Poll {
            next_poll: to_the_millisecond(next_poll),
            attempts: poll.attempts.saturating_add(1),
            ..poll
        };
        let set = self
            .bucket
            .set(&key, poll_value::encode(&postponed), found.revision);
        Ok(set.await?.is_some())
    }

    async fn remove(&self, screening_id: &[u8]) -> Result<bool, AppendError> {
        let waited = match std::str::from_utf8(screening_id) {
            Ok(screening_id) => !self.has_ended(screening_id, "").await?,
            Err(_) => true,
        };
        let is_removed = self.bucket.remove(&key(screening_id)).await?;
        Ok(is_removed && waited)
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
