//! Who polls: one process at a time has the lease, and renews it. One that is silent loses it to another.
//!
//! Nothing depends on it but how often Kora is asked: what is appended is compared with the log each time.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::{
    bucket::{ABSENT, Bucket, Entry},
    owners::GONE_AFTER,
};

/// The key of the lease.
const KEY: &str = "lease.reconciler";

/// How often it is renewed, or looked at.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// The lease of a bucket.
#[derive(Debug)]
pub(super) struct Lease {
    bucket: Bucket,
    me: Uuid,
    /// This process cannot do what the lease is for.
    is_declined: AtomicBool,
    seen: Mutex<Seen>,
}

/// What this process knows of it, by its own clock alone.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// When this process renewed it.
    renewed: Option<Instant>,
    /// Another's renewal, and when it was first seen.
    others: Option<(u64, Instant)>,
}

impl Lease {
    pub(super) fn new(bucket: Bucket, me: Uuid) -> Arc<Self> {
        Arc::new(Lease {
            bucket,
            me,
            is_declined: AtomicBool::new(false),
            seen: Mutex::default(),
        })
    }

    /// Keeps the lease, or waits for it.
    pub(super) async fn run(self: Arc<Self>) {
        let mut due = interval(RENEW_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            self.renew().await;
        }
    }

    /// Whether this process has it.
    pub(super) fn is_held(&self) -> bool {
        let renewed = self.seen().renewed;
        renewed.is_some_and(|renewed| renewed.elapsed() < GONE_AFTER)
    }

    /// Takes it, keeps it, or notes that somebody else has it. While NATS is away nothing changes.
    pub(super) async fn renew(&self) {
        if self.is_declined.load(Ordering::Relaxed) {
            return;
        }
        let asked = Instant::now();
        let Ok(found) = self.bucket.get(KEY).await else {
            return;
        };
        let revision = match found {
            None => ABSENT,
            Some(entry) if self.may_take(&entry) => entry.revision,
            Some(_) => return,
        };
        let me = Bytes::copy_from_slice(self.me.as_bytes());
        if let Ok(Some(_revision)) = self.bucket.set(KEY, me, revision).await {
            self.seen().renewed = Some(asked);
        }
    }

    /// Leaves it to others for as long as this process cannot do what it is for.
    pub(super) async fn decline(&self, is_declined: bool) {
        self.is_declined.store(is_declined, Ordering::Relaxed);
        if is_declined {
            self.release().await;
        }
    }

    /// Leaves it to others.
    pub(super) async fn release(&self) {
        if self.is_held() {
            self.seen().renewed = None;
            // If it cannot be told now, the others find out by themselves.
            let _ = self.bucket.remove(KEY).await;
        }
    }

    /// Whether it is this process's already, or its owner has not renewed it for too long.
    fn may_take(&self, entry: &Entry) -> bool {
        if entry.value[..] == self.me.as_bytes()[..] {
            return true;
        }
        let mut seen = self.seen();
        seen.renewed = None;
        match seen.others {
            Some((revision, since)) if revision == entry.revision => since.elapsed() >= GONE_AFTER,
            _ => {
                seen.others = Some((entry.revision, Instant::now()));
                false
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
