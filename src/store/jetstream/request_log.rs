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
    request_value::{Damaged, Owned, key},
};
use crate::{
    clock::Clock,
    screening::MAX_MESSAGE_BYTES,
    store::{
        AppendError, Begun, Ending, Intent, ReadError, RequestKey, RequestLog, StoredRequest,
        StoredState,
    },
};

/// How often a change is tried again that somebody else's change came before.
const ATTEMPTS: u32 = 8;

/// How long a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The records of one tenant's requests.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) bucket: Bucket,
    pub(super) owners: Arc<Owners>,
    pub(super) clock: Clock,
    /// The attempts that are being begun: their ends wait for that. Their number is bounded by that of the calls.
    pub(super) beginning: Mutex<HashMap<Uuid, watch::Receiver<()>>>,
}

/// A record that was found, and the revision of its key.
type Found = (u64, Result<Owned, Damaged>);

impl Records {
    /// Begins, whoever still waits for that: what is on its way to NATS cannot be taken back.
    async fn begin_to_the_end(self: Arc<Self>, intent: Intent) -> Result<Begun, AppendError> {
        let (began, beginning) = watch::channel(());
        let attempt = intent.attempt;
        self.beginning().insert(attempt, beginning);
        let begun = tokio::spawn(async move {
            let begun = timeout(WRITE_TIMEOUT, self.begin(intent)).await;
            self.beginning().remove(&attempt);
            drop(began);
            begun.unwrap_or(Err(AppendError::TooSlow))
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
        self.beginning
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn begin(&self, intent: Intent) -> Result<Begun, AppendError> {
        if !self.bucket.is_reachable() {
            return Err(AppendError::Unavailable);
        }
        for _ in 0..ATTEMPTS {
            let revision = match self.find(&intent.key).await.map_err(cannot_write)? {
                None => ABSENT,
                Some((_, Err(Damaged))) => return Ok(Begun::Damaged),
                Some((revision, Ok(found))) => {
                    let StoredRequest { state, content, .. } = &found.record;
                    if *state != StoredState::MayBeRepeated || *content != intent.content {
                        let found = self.told(found).await.map_err(cannot_write)?;
                        return Ok(Begun::Found(found));
                    }
                    revision
                }
            };
            let begun = self.begun(&intent);
            let key = key(&intent.key);
            if let Some(_revision) = self.bucket.set(&key, begun.encode(), revision).await? {
                return Ok(Begun::New);
            }
        }
        Err(AppendError::Unavailable)
    }

    async fn finish(&self, ending: Ending) -> Result<bool, AppendError> {
        self.until_begun(ending.attempt).await;
        let finish_time = self.now();
        for _ in 0..ATTEMPTS {
            let found = self.find(&ending.key).await.map_err(cannot_write)?;
            let Some((revision, Ok(begun))) = found else {
                return Ok(false);
            };
            if begun.record.attempt != ending.attempt {
                return Ok(false);
            }
            let record = StoredRequest {
                state: ending.state,
                answer: ending.answer.clone(),
                finish_time: Some(finish_time),
                ..begun.record.clone()
            };
            if begun.record == record {
                // The answer to an earlier try was lost.
                return Ok(true);
            }
            if begun.record.state != StoredState::InFlight {
                return Ok(false);
            }
            let ended = Owned { record, ..begun };
            let key = key(&ending.key);
            if let Some(_revision) = self.bucket.set(&key, ended.encode(), revision).await? {
                return Ok(true);
            }
        }
        Err(AppendError::Unavailable)
    }

    async fn request(&self, key: &RequestKey) -> Result<Option<StoredRequest>, ReadError> {
        match self.find(key).await? {
            None => Ok(None),
            Some((_, Ok(found))) => self.told(found).await.map(Some),
            Some((_, Err(Damaged))) => Err(ReadError::Corrupt {
                sequence: 0,
                what: "a request record differs from its checksum",
            }),
        }
    }

    async fn find(&self, request: &RequestKey) -> Result<Option<Found>, ReadError> {
        let entry = self.bucket.get(&key(request)).await?;
        Ok(entry.map(|entry| (entry.revision, Owned::decode(request, entry.value))))
    }

    /// The record as it is told: with whether another process works on it.
    async fn told(&self, found: Owned) -> Result<StoredRequest, ReadError> {
        let is_held_elsewhere = found.record.state == StoredState::InFlight
            && self.owners.is_other_that_lives(found.owner).await?;
        Ok(StoredRequest {
            is_held_elsewhere,
            ..found.record
        })
    }

    fn begun(&self, intent: &Intent) -> Owned {
        Owned {
            record: StoredRequest {
                key: intent.key.clone(),
                content: intent.content.clone(),
                attempt: intent.attempt,
                state: StoredState::InFlight,
                answer: Bytes::new(),
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

    fn max_answer_bytes(&self) -> usize {
        self.max_value_bytes().min(MAX_MESSAGE_BYTES)
    }
}
