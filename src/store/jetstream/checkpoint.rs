//! The newest end of the log, kept in the bucket: when every record is gone, the stream does not know it.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    bucket::{ABSENT, Bucket},
    end::End,
};
use crate::{event::Position, store::ReadError};

/// The key of the checkpoint.
const KEY: &str = "head";

/// How often it is written at most.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Which part of the retention may pass before it is written.
const PART_OF_RETENTION: u32 = 4;

/// Keeps the newest end.
#[derive(Debug)]
pub(super) struct Checkpoint {
    bucket: Bucket,
    pause: Duration,
    written: Mutex<(u64, Option<Instant>)>,
}

#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(fixed64, tag = "2")]
    record: u64,
    #[prost(int64, tag = "3")]
    receive_time: i64,
    #[prost(uint64, tag = "4")]
    end_offset: u64,
    #[prost(fixed64, tag = "5")]
    checksum: u64,
}

impl Checkpoint {
    pub(super) fn new(bucket: Bucket, retention: Duration) -> Self {
        Checkpoint {
            bucket,
            pause: MAX_PAUSE.min(retention / PART_OF_RETENTION),
            written: Mutex::new((0, None)),
        }
    }

    /// The end that was kept last; `None` if there is none, or it is damaged.
    pub(super) async fn read(bucket: &Bucket) -> Result<Option<End>, ReadError> {
        let entry = bucket.get(KEY).await?;
        Ok(entry.and_then(|entry| Stored::decode(entry.value).ok()?.end()))
    }

    /// Keeps this end, if it is time: at once if the stream is empty. False if it should have been kept and is not.
    pub(super) async fn note(&self, end: End, is_empty: bool) -> bool {
        let is_due = {
            let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            let (sequence, at) = *written;
            let is_time = at.is_none_or(|at| at.elapsed() >= self.pause);
            sequence < end.position.sequence && (is_empty || is_time)
        };
        if !is_due {
            return true;
        }
        let is_kept = Self::keep(&self.bucket, end).await.is_some();
        if is_kept {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            *written = (end.position.sequence, Some(Instant::now()));
        }
        is_kept
    }

    /// Keeps this end, unless a newer one is kept. `None` if it could not.
    pub(super) async fn keep(bucket: &Bucket, end: End) -> Option<()> {
        let found = bucket.get(KEY).await.ok()?;
        let (revision, kept) = match found {
            Some(entry) => (
                entry.revision,
                Stored::decode(entry.value).ok().and_then(|kept| kept.end()),
            ),
            None => (ABSENT, None),
        };
        if kept.is_some_and(|kept| kept.position.sequence >= end.position.sequence) {
            return Some(());
        }
        let stored = Stored::of(end);
        bucket.set(KEY, stored, revision).await.ok()?.map(drop)
    }
}

impl Stored {
    fn of(end: End) -> Bytes {
        let mut stored = Stored {
            sequence: end.position.sequence,
            record: end.position.checksum,
            receive_time: end.receive_time.as_millisecond(),
            end_offset: end.end_offset,
            checksum: 0,
        };
        stored.checksum = stored.computed_checksum();
        stored.encode_to_vec().into()
    }

    fn end(&self) -> Option<End> {
        let end = End {
            position: Position {
                sequence: self.sequence,
                checksum: self.record,
            },
            receive_time: Timestamp::from_millisecond(self.receive_time).ok()?,
            end_offset: self.end_offset,
        };
        (self.checksum == self.computed_checksum()).then_some(end)
    }

    fn computed_checksum(&self) -> u64 {
        let bare = Stored {
            checksum: 0,
            ..self.clone()
        };
        xxh3_64(&bare.encode_to_vec())
    }
}
