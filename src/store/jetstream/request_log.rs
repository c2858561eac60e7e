//! Request records in a bucket, changed by compare-and-set.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::{
    JetStream, WRITE_TIMEOUT,
    bucket::{ABSENT, Bucket},
    owners::Owners,
    request_value::{self, Owned, key},
    space::Space,
    unreadable::Unreadable,
};
use crate::{
    clock::Clock,
    screening::MAX_MESSAGE_BYTES,
    store::{
        AppendError, Begun, Ending, Intent, ReadError, RequestContent, RequestKey, RequestLog,
        StoredRequest, StoredState, Summary,
    },
};

/// How often a change is tried again that somebody else's change came before.
const ATTEMPTS: u32 = 8;

/// How long a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// What gives a damaged record away.
const DAMAGED: &str = "a request record differs from its checksum";

/// The records of one tenant's requests.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) bucket: Bucket,
    pub(super) owners: Arc<Owners>,
    pub(super) space: Arc<Space>,
    pub(super) clock: Clock,
    /// The attempts that are being begun: their ends wait for that. Their number is bounded by that of the calls.
    pub(super) beginning: Mutex<HashMap<Uuid, watch::Receiver<()>>>,
    /// The attempts of which NATS has not said whether they are begun: the message may still be on its way, and land
    /// after their ends have found nothing. Their number is bounded by that of the ends that are to be written.
    pub(super) unsure: Mutex<HashMap<Uuid, RequestContent>>,
}

/// A record that was found, and the revision of its key.
type Found = (u64, Result<Owned, Unreadable>);

impl Records {
    /// Begins, whoever still waits for that: what is on its way to NATS cannot be taken back.
    async fn begin_to_the_end(self: Arc<Self>, intent: Intent) -> Result<Begun, AppendError> {
        let (began, beginning) = watch::channel(());
        let (attempt, content) = (intent.attempt, intent.content.clone());
        self.beginning().insert(attempt, beginning);
        let begun = tokio::spawn(async move {
            let begun = timeout(WRITE_TIMEOUT, self.begin(intent)).await;
            let begun = begun.unwrap_or(Err(AppendError::TooSlow));
            if begun == Err(AppendError::TooSlow) {
                lock(&self.unsure).insert(attempt, content);
            }
            self.beginning().remove(&attempt);
            drop(began);
            begun
        });
        begun.await.unwrap_or(Err(AppendError::Broken))
    }

    /// Waits until an attempt is begun, or is not.
    async fn until_begun(&self, attempt: Uuid) {
        let beginning = self.beginning().get(&attempt).cloned();
        if let Some(mut beginning) = beginning {
            while beginning.changed().await.is_ok() {}
        }
    }

    fn beginning(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Receiver<()>>> {
        lock(&self.beginning)
    }

    async fn begin(&self, intent: Intent) -> Result<Begun, AppendError> {
        if !self.bucket.is_reachable().await {
            return Err(AppendError::Unavailable);
        }
        for _ in 0..ATTEMPTS {
            let revision = match self.find(&intent.key).await.map_err(cannot_write)? {
                None if !self.space.has_room().await => return Ok(Begun::Full),
                None => ABSENT,
                Some((_, Err(Unreadable::Damaged))) => return Ok(Begun::Damaged),
                // Whether the request was sent, only a newer version can tell.
                Some((_, Err(error @ Unreadable::Newer { .. }))) => {
                    return Err(cannot_write(error.error(DAMAGED)));
                }
                Some((revision, Ok(found))) => {
                    let StoredRequest { state, content, .. } = &found.record;
                    if *state != StoredState::MayBeRepeated || *content != intent.content {
                        let told = self.told(revision, found).await.map_err(cannot_write)?;
                        if let Some(found) = told {
                            return Ok(Begun::Found(found));
                        }
                        continue;
                    }
                    revision
                }
            };
            let begun = self.begun(&intent);
            let key = key(&intent.key);
            if self.set(&key, &begun, revision).await? {
                return Ok(Begun::New);
            }
        }
        Err(AppendError::Unavailable)
    }

    async fn finish(&self, ending: Ending) -> Result<bool, AppendError> {
        self.until_begun(ending.attempt).await;
        let finished = self.finish_begun(&ending).await;
        if finished.is_ok() {
            lock(&self.unsure).remove(&ending.attempt);
        }
        finished
    }

    async fn finish_begun(&self, ending: &Ending) -> Result<bool, AppendError> {
        let finish_time = self.now();
        for _ in 0..ATTEMPTS {
            let found = self.find(&ending.key).await.map_err(cannot_write)?;
            let (revision, begun) = match found {
                Some((revision, Ok(begun))) => (revision, begun),
                Some((_, Err(Unreadable::Damaged | Unreadable::Newer { .. }))) => return Ok(false),
                None => match self.begun_at_last(ending) {
                    Some(begun) => (ABSENT, begun),
                    None => return Ok(false),
                },
            };
            let key = key(&ending.key);
            if begun.record.attempt != ending.attempt {
                let may_land = begun.record.state == StoredState::MayBeRepeated
                    && lock(&self.unsure).contains_key(&ending.attempt);
                // Written anew it has another revision, which keeps out the beginning that may be on its way.
                if may_land && !self.set(&key, &begun, revision).await? {
                    continue;
                }
                return Ok(false);
            }
            let record = StoredRequest {
                state: ending.state,
                answer: ending.answer.clone(),
                summary: ending.summary.clone(),
                finish_time: Some(finish_time),
                ..begun.record.clone()
            };
            match begun.record.state {
                // It was slow to say that it lives, and is not gone.
                StoredState::InFlight | StoredState::Abandoned => {}
                StoredState::Succeeded | StoredState::Failed | StoredState::MayBeRepeated => {
                    // Only the answer to an earlier try was lost, where it is the same.
                    return Ok(begun.record.has_ended_so(ending));
                }
            }
            let ended = Owned { record, ..begun };
            if self.set_end(&key, ended, revision).await? {
                return Ok(true);
            }
        }
        Err(AppendError::Unavailable)
    }

    /// The record of an attempt that may still begin, for its end to be written in its place: what is on its way then
    /// comes too late.
    fn begun_at_last(&self, ending: &Ending) -> Option<Owned> {
        let content = lock(&self.unsure).get(&ending.attempt).cloned()?;
        Some(self.begun(&Intent {
            key: ending.key.clone(),
            content,
            attempt: ending.attempt,
        }))
    }

    async fn request(&self, key: &RequestKey) -> Result<Option<StoredRequest>, ReadError> {
        for _ in 0..ATTEMPTS {
            match self.find(key).await? {
                None => return Ok(None),
                Some((revision, Ok(found))) => {
                    if let Some(told) = self.told(revision, found).await? {
                        return Ok(Some(told));
                    }
                }
                Some((_, Err(error))) => return Err(error.error(DAMAGED)),
            }
        }
        Err(ReadError::Unavailable(
            "the record changes all the time".to_owned(),
        ))
    }

    async fn find(&self, request: &RequestKey) -> Result<Option<Found>, ReadError> {
        let entry = self.bucket.get(&key(request)).await?;
        Ok(entry.map(|entry| (entry.revision, Owned::decode(request, entry.value))))
    }

    /// The record as it is told: with whether another process works on it. One whose process is gone is marked as
    /// abandoned, once: its age counts from there, as each write of a key renews it. `None` if it changed meanwhile.
    async fn told(&self, revision: u64, found: Owned) -> Result<Option<StoredRequest>, ReadError> {
        if found.record.state != StoredState::InFlight || found.owner == self.owners.me {
            return Ok(Some(found.record));
        }
        if self.owners.is_other_that_lives(found.owner).await? {
            return Ok(Some(StoredRequest {
                is_held_elsewhere: true,
                ..found.record
            }));
        }
        let abandoned = Owned {
            record: found.record.clone().abandoned(),
            owner: found.owner,
        };
        match self
            .set(&key(&found.record.key), &abandoned, revision)
            .await
        {
            Ok(true) => Ok(Some(abandoned.record)),
            Ok(false) => Ok(None),
            // It reads the same without the mark, which the next one who reads it tries to set.
            Err(error) => {
                tracing::debug!(%error, "a request record cannot be marked as abandoned now");
                Ok(Some(found.record))
            }
        }
    }

    /// The same for a record with its end. An answer was cut to what NATS accepted at the time; where `max_payload` was
    /// lowered since, the record is kept without it, as if the answer had been evicted.
    async fn set_end(&self, key: &str, ended: Owned, revision: u64) -> Result<bool, AppendError> {
        let set = self.set(key, &ended, revision).await;
        if set != Err(AppendError::TooLarge) {
            return set;
        }
        let Owned { record, owner } = ended;
        let record = record.evicted().ok_or(AppendError::TooLarge)?;
        self.set(key, &Owned { record, owner }, revision).await
    }

    /// Sets a record if its revision is still this. Whether it was.
    async fn set(&self, key: &str, record: &Owned, revision: u64) -> Result<bool, AppendError> {
        let value = record.encode();
        let size = value.len();
        let is_set = self.bucket.set(key, value, revision).await?.is_some();
        if is_set {
            self.space.wrote(key, size);
        }
        Ok(is_set)
    }

    fn begun(&self, intent: &Intent) -> Owned {
        Owned {
            record: StoredRequest {
                key: intent.key.clone(),
                content: intent.content.clone(),
                attempt: intent.attempt,
                state: StoredState::InFlight,
                answer: Bytes::new(),
                summary: Summary::default(),
                is_evicted: false,
                create_time: self.now(),
                finish_time: None,
                is_held_elsewhere: false,
            },
            owner: self.owners.me,
        }
    }

    /// As it is kept.
    fn now(&self) -> Timestamp {
        let now = self.clock.now().as_millisecond();
        Timestamp::from_millisecond(now).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cannot_write(error: ReadError) -> AppendError {
    tracing::warn!(%error, "a request record cannot be written now");
    AppendError::Unavailable
}

impl RequestLog for JetStream {
    fn begin(&self, intent: Intent) -> BoxFuture<'_, Result<Begun, AppendError>> {
        Box::pin(Arc::clone(&self.records).begin_to_the_end(intent))
    }

    fn finish(&self, ending: Ending) -> BoxFuture<'_, Result<bool, AppendError>> {
        let finished = timeout(WRITE_TIMEOUT, self.records.finish(ending));
        Box::pin(async { finished.await.unwrap_or(Err(AppendError::TooSlow)) })
    }

    fn request(&self, key: RequestKey) -> BoxFuture<'_, Result<Option<StoredRequest>, ReadError>> {
        Box::pin(async move {
            let read = timeout(READ_TIMEOUT, self.records.request(&key));
            let late = || Err(ReadError::Unavailable("NATS did not answer".to_owned()));
            read.await.unwrap_or_else(|_| late())
        })
    }

    fn has_scope(&self, scope: String) -> BoxFuture<'_, Result<bool, ReadError>> {
        Box::pin(async move {
            // A wildcard: the newest record of any id.
            let any = request_value::any_in(&scope);
            let read = timeout(READ_TIMEOUT, self.records.bucket.get(&any));
            let late = || Err(ReadError::Unavailable("NATS did not answer".to_owned()));
            Ok(read.await.unwrap_or_else(|_| late())?.is_some())
        })
    }

    fn max_answer_bytes(&self) -> usize {
        let max_bytes = self.events.connection.max_value_bytes();
        max_bytes.min(MAX_MESSAGE_BYTES)
    }
}
