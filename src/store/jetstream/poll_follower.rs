//! Follows the polls of a bucket, so that nobody reads all of them to find the one that is due.
//!
//! The server sends every key's value once and then each change. It sends nothing when a key is removed: whoever removes
//! a poll here also removes it from the list, and one that another gateway has removed is found out when it is due.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{bucket::Bucket, poll_list::PollList, poll_value::PREFIX};
use crate::store::ReadError;

/// How long to leave NATS alone when the bucket cannot be followed.
const PAUSE: Duration = Duration::from_millis(500);

/// How often the consumer is looked after while it is silent: it recreates itself only when it is polled.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// How long a write waits until the list shows it.
const SHOW_TIMEOUT: Duration = Duration::from_secs(1);

/// One tenant's polls, as far as this process has heard of them.
#[derive(Debug)]
pub(super) struct FollowedPolls {
    bucket: Bucket,
    list: Mutex<PollList>,
    /// The newest revision that the list shows; `None` while it is not complete.
    followed: watch::Sender<Option<u64>>,
}

impl FollowedPolls {
    pub(super) fn new(bucket: Bucket) -> Arc<Self> {
        Arc::new(FollowedPolls {
            bucket,
            list: Mutex::default(),
            followed: watch::Sender::new(None),
        })
    }

    /// Follows for ever.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let ended = self.follow().await;
            self.followed.send_replace(None);
            if let Err(error) = ended {
                tracing::debug!(%error, "the polls cannot be followed now");
                sleep(PAUSE).await;
            }
        }
    }

    /// The list. It may be incomplete, see [`FollowedPolls::until_complete`].
    pub(super) fn list(&self) -> MutexGuard<'_, PollList> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the list has every poll that was in the bucket.
    pub(super) async fn until_complete(&self) {
        let mut followed = self.followed.subscribe();
        // The sender lives as long as this.
        let _ = followed.wait_for(Option::is_some).await;
    }

    /// Waits until the list shows what was written at this revision. Not for long: the write is durable already, and what
    /// is shown late is polled late.
    pub(super) async fn until_shown(&self, revision: u64) {
        let mut followed = self.followed.subscribe();
        let shown = followed.wait_for(|followed| followed.is_none_or(|newest| newest >= revision));
        let _ = timeout(SHOW_TIMEOUT, shown).await;
    }

    /// Makes a new list and follows its changes, for as long as the connection lasts.
    async fn follow(&self) -> Result<(), ReadError> {
        let mut made = self.bucket.made();
        made.mark_unchanged();
        let mut values = self.bucket.values(PREFIX).await?;
        let (mut list, mut newest) = (PollList::default(), 0);
        let mut look_after = interval(LOOK_AFTER);
        look_after.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_complete = values.is_complete();
        if is_complete {
            *self.list() = std::mem::take(&mut list);
            self.followed.send_replace(Some(newest));
        }
        loop {
            let found = tokio::select! {
                found = values.next_change() => found?,
                _ = look_after.tick() => continue,
                _ = made.changed() => return Ok(()),
            };
            newest = found.revision;
            if is_complete {
                self.list().set(&found.key, newest, found.value);
            } else {
                list.set(&found.key, newest, found.value);
                is_complete = values.is_complete();
                if !is_complete {
                    continue;
                }
                *self.list() = std::mem::take(&mut list);
            }
            self.followed.send_replace(Some(newest));
        }
    }
}
