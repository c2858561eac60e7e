//! The size bound of request records in a bucket. Every gateway looks at what the server reports; the one that has the
//! lease evicts answers.
//!
//! A bucket's messages lie in the order of their last change, so the oldest ends come first. Evicting an answer writes
//! its record again, which puts it last and renews its age: an id stays longer for it, never shorter.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{
    bucket::Bucket,
    lease::Lease,
    request_value::{Owned, PREFIX},
};
use crate::store::{AppendError, ReadError, request_space::RequestSpace};

/// How often the server is asked what the bucket holds, and answers are evicted where that is too much.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// From which part of the bound on answers are evicted, and down to which, in percent: the others write meanwhile.
const EVICT_FROM: u64 = 95;
const EVICT_TO: u64 = 90;

/// How many records one step looks at, and how long it may take.
const STEP: usize = 512;
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a new request waits for answers to be evicted.
const ROOM_WAIT: Duration = Duration::from_secs(3);

/// What a record without its answer takes, roughly: value, subject and the server's own.
const RECORD_BYTES: u64 = 1 << 10;

/// The space of one tenant's request records.
#[derive(Debug)]
pub(super) struct Space {
    bucket: Bucket,
    lease: Arc<Lease>,
    state: Mutex<State>,
    looked: watch::Sender<()>,
    look_now: Notify,
}

#[derive(Debug)]
struct State {
    shown: RequestSpace,
    /// What the server reported, and what this process has written since.
    bytes: u64,
    /// The newest revision when the server was asked.
    last_revision: u64,
    /// Answers that were stored before this revision have been evicted.
    next_revision: u64,
    /// Whether new requests are refused at once: waiting did not help the last time.
    is_refusing: bool,
}

impl Space {
    pub(super) fn new(bucket: Bucket, lease: Arc<Lease>, shown: RequestSpace) -> Arc<Self> {
        Arc::new(Space {
            bucket,
            lease,
            state: Mutex::new(State {
                shown,
                bytes: 0,
                last_revision: 0,
                next_revision: 0,
                is_refusing: false,
            }),
            looked: watch::Sender::new(()),
            look_now: Notify::new(),
        })
    }

    /// Keeps the bucket within its bound.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = self.look_now.notified() => {}
            }
            self.refresh().await;
            if !self.lease.is_held() || self.over(EVICT_FROM) == 0 {
                continue;
            }
            // While NATS is away nothing can be evicted, and nothing is written either.
            while let Ok(Ok(true)) = timeout(STEP_TIMEOUT, self.evict()).await {
                self.refresh().await;
            }
            self.refresh().await;
        }
    }

    /// Learns from the server what the bucket holds.
    pub(super) async fn refresh(&self) {
        let Ok(Ok(size)) = timeout(STEP_TIMEOUT, self.bucket.size()).await else {
            return;
        };
        {
            let mut state = self.state();
            state.bytes = size.bytes;
            state.last_revision = size.last_revision;
            state.shown.show(size.keys, size.bytes);
            if state.has_room() {
                state.set_refusing(false);
            }
        }
        self.looked.send_replace(());
    }

    /// Accounts for a record that was written, with whatever it replaced still counted until the server is asked again.
    pub(super) fn wrote(&self, key: &str, value: usize) {
        let mut state = self.state();
        state.bytes += (key.len() + value) as u64;
    }

    /// Whether a new record may be written. Where there is no room, waits for answers to be evicted.
    pub(super) async fn has_room(&self) -> bool {
        let mut looked = self.looked.subscribe();
        {
            let state = self.state();
            if state.has_room() || state.is_refusing {
                return state.has_room();
            }
        }
        let room = async {
            loop {
                self.look_now.notify_one();
                if looked.changed().await.is_err() {
                    return;
                }
                if self.state().has_room() {
                    return;
                }
                sleep(LOOK_EVERY / 10).await;
            }
        };
        if timeout(ROOM_WAIT, room).await.is_ok() {
            return true;
        }
        self.state().set_refusing(true);
        false
    }

    /// Evicts some answers, the oldest ends first. Whether there may be more to evict.
    async fn evict(&self) -> Result<bool, AppendError> {
        let (mut next_revision, last_revision) = {
            let state = self.state();
            (state.next_revision, state.last_revision)
        };
        let mut over = self.over(EVICT_TO);
        let mut values = self
            .bucket
            .values_from(PREFIX, next_revision)
            .await
            .map_err(away)?;
        let (mut seen, mut evicted) = (0, 0);
        let mut is_at_end = false;
        while over > 0 && seen < STEP {
            let Some(found) = values.next_found().await.map_err(away)? else {
                is_at_end = true;
                break;
            };
            if found.revision > last_revision {
                is_at_end = true;
                break;
            }
            seen += 1;
            next_revision = found.revision + 1;
            let before = found.value.len();
            let Some(value) = without_answer(&found.key, found.value) else {
                continue;
            };
            let freed = before.saturating_sub(value.len()) as u64;
            // One that was changed meanwhile comes again, as it is now.
            let set = self.bucket.set(&found.key, value, found.revision).await?;
            if set.is_some() {
                over = over.saturating_sub(freed);
                evicted += 1;
            }
        }
        let mut state = self.state();
        state.next_revision = next_revision;
        state.shown.evicted(evicted);
        Ok(over > 0 && !is_at_end)
    }

    /// How many bytes more than this part of the bound there are.
    fn over(&self, percent: u64) -> u64 {
        let state = self.state();
        state
            .bytes
            .saturating_sub(state.shown.bound() / 100 * percent)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.bytes + RECORD_BYTES <= self.shown.bound()
    }

    fn set_refusing(&mut self, is_refusing: bool) {
        self.is_refusing = is_refusing;
        self.shown.set_refusing(is_refusing);
    }
}

/// The value of a record without its answer; `None` if it has none, or is damaged.
fn without_answer(key: &str, value: bytes::Bytes) -> Option<bytes::Bytes> {
    let Owned { record, owner } = Owned::decode_at(key, value).ok()?;
    let record = record.evicted()?;
    Some(Owned { record, owner }.encode())
}

fn away(error: ReadError) -> AppendError {
    tracing::debug!(%error, "answers of request records cannot be evicted now");
    AppendError::Unavailable
}
