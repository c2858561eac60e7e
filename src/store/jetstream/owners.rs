//! Which processes live: each writes a key of its own again and again.
//!
//! Nothing depends on two machines' clocks agreeing: all times are those at which the server took a message.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::bucket::Bucket;
use crate::{
    clock::Clock,
    store::{Metrics, ReadError},
};

/// How often a process says that it lives.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// After how long without that a process counts as gone.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(30);

/// How far the server's clock may be from this machine's without a warning.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(60);

/// What the keys of processes begin with.
const PREFIX: &str = "owner.";

/// The processes that use a bucket.
#[derive(Debug)]
pub(super) struct Owners {
    bucket: Bucket,
    /// This process.
    pub(super) me: Uuid,
    server_time: Mutex<Option<ServerTime>>,
}

/// What time it was at the server.
#[derive(Clone, Copy, Debug)]
struct ServerTime {
    nanoseconds: i128,
    told: Instant,
}

impl Owners {
    pub(super) fn new(bucket: Bucket) -> Arc<Self> {
        Arc::new(Owners {
            bucket,
            me: Uuid::new_v4(),
            server_time: Mutex::new(None),
        })
    }

    /// Says again and again that this process lives.
    pub(super) async fn run(self: Arc<Self>, clock: Clock, metrics: Metrics) {
        let mut clocks_differ = false;
        let mut due = interval(RENEW_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            self.bucket.watch_max_payload(&metrics);
            // While NATS is away, nobody else can ask it either.
            if self.renew().await.is_ok() {
                clocks_differ = self.compare_clocks(&clock, &metrics, clocks_differ);
            }
        }
    }

    /// Says that this process lives, and learns the server's time.
    pub(super) async fn renew(&self) -> Result<(), ReadError> {
        let key = key(self.me);
        let put = self.bucket.put(&key, Bytes::from_static(b"1")).await;
        put.map_err(|error| ReadError::Unavailable(error.to_string()))?;
        if let Some(entry) = self.bucket.get(&key).await? {
            let mut time = self
                .server_time
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *time = Some(ServerTime {
                nanoseconds: entry.nanoseconds,
                told: Instant::now(),
            });
        }
        Ok(())
    }

    /// Warns when the server's clock and this machine's come to differ: events and records are deleted by the server's.
    fn compare_clocks(&self, clock: &Clock, metrics: &Metrics, did_differ: bool) -> bool {
        let difference = self.server_time() - clock.wall().as_nanosecond();
        let seconds = i64::try_from(difference / 1_000_000_000).unwrap_or(i64::MAX);
        metrics.nats_clock_offset.set(seconds);
        let differ = difference.unsigned_abs() > MAX_CLOCK_DIFFERENCE.as_nanos();
        if differ && !did_differ {
            tracing::warn!(
                nats_ahead_seconds = seconds,
                "the clocks of NATS and of this machine differ by more than a minute; NATS deletes by its own"
            );
        }
        differ
    }

    /// Says that this process ends.
    pub(super) async fn leave(&self) {
        // If it cannot be told now, the others find out by themselves.
        let _ = self.bucket.remove(&key(self.me)).await;
    }

    /// Whether any other process has said lately that it lives.
    pub(super) async fn has_others(&self) -> Result<bool, ReadError> {
        for (key, _) in self.bucket.all(PREFIX).await? {
            let owner = key.strip_prefix(PREFIX).and_then(|id| id.parse().ok());
            if let Some(owner) = owner
                && self.is_other_that_lives(owner).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether this process is another one, and has said lately that it lives.
    pub(super) async fn is_other_that_lives(&self, owner: Uuid) -> Result<bool, ReadError> {
        if owner == self.me {
            return Ok(false);
        }
        let Some(entry) = self.bucket.get(&key(owner)).await? else {
            return Ok(false);
        };
        let silent_for = self.server_time() - entry.nanoseconds;
        Ok(silent_for < GONE_AFTER.as_nanos() as i128)
    }

    /// What time it is at the server now, in nanoseconds since 1970; far in the future while that is not known.
    pub(super) fn server_time(&self) -> i128 {
        let time = *self
            .server_time
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        time.map_or(i128::MAX / 2, |time| {
            time.nanoseconds + time.told.elapsed().as_nanos() as i128
        })
    }
}

fn key(process: Uuid) -> String {
    format!("{PREFIX}{process}")
}
