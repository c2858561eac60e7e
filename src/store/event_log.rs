//! The law of a log.

use std::{future, sync::Arc};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::watch;

use super::{HotTail, Record};
use crate::{
    event::{LogId, NewEvent, Position},
    memory::{Allowance, NoMemory},
};

/// One tenant's log of events. Every backend keeps this law:
///
/// 1. **Durable first.** An append is answered, and its record becomes visible to any reader, only when the
///    record would survive a power cut.
/// 2. **One order.** Records have sequences 1, 2, 3, … without a hole. Every reader sees them in this order,
///    and no record ever appears before one that a reader has seen.
/// 3. **Never reused.** No sequence is given twice: not after trimming, not to an empty log, not after a
///    restart.
/// 4. **Known again.** An event is not appended if the log has a record with the same id and a body that is
///    equal as a JSON value. With another body it is another event and gets the id `ID~HASH` (see
///    [`BodyHash`](crate::event::BodyHash)), by which it is known again. A damaged record is not known. An
///    identity made of the body alone is known for the dedup window.
/// 5. **Time goes one way.** `receive_time` never goes back from one record to the next.
/// 6. **Whole or not at all.** An append that is dropped while it waits is either appended whole or not at
///    all. An append that failed may have been appended; whoever repeats it runs into 4.
/// 7. **Nothing damaged.** Each record has a checksum over all of it, its sequence and its log. It is
///    compared whenever the record is read, and a record that differs is never returned.
/// 8. **Trimmed from the old end.** The position right before the oldest record is known, checksum
///    included, also when no record is left.
/// 9. **Unsure is broken.** When it is not certain that what was written is durable, nothing is appended
///    any more until a restart has read what is there.
pub trait EventLog: Send + Sync + 'static {
    /// Which log it is.
    fn id(&self) -> LogId;

    /// Its ends, their changes, and its newest records, in memory.
    fn tail(&self) -> &HotTail;

    /// Appends an event, or finds that it is there.
    ///
    /// # Errors
    /// See [`AppendError`]; the event may be in the log all the same.
    fn append(&self, event: NewEvent) -> BoxFuture<'_, Result<Appended, AppendError>>;

    /// Reads the records after `sequence`, oldest first: as many as fit in a page, and at least one where
    /// there is one.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read(&self, sequence: u64) -> BoxFuture<'_, Result<Page, ReadError>> {
        self.read_charged(sequence, None)
    }

    /// The same. What has to be brought into memory for it and is large is charged to `memory` before, and stays charged
    /// as long as any part of it is referenced.
    ///
    /// # Errors
    /// See [`ReadError`]; [`ReadError::Unavailable`] also where there was no memory in time.
    fn read_charged<'a>(
        &'a self,
        sequence: u64,
        memory: Option<&'a Allowance>,
    ) -> BoxFuture<'a, Result<Page, ReadError>>;

    /// The position before the first record that was received at `time` or later.
    ///
    /// # Errors
    /// [`ReadError::Trimmed`] if records that were received at `time` or later are gone.
    fn position_before(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>>;

    /// Waits until this record is shown, if the log has it: where a log is shared, somebody else can have told of it
    /// first.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if it is not known whether the log has it, or it was not shown in time.
    fn reach(&self, _sequence: u64) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(future::ready(Ok(())))
    }

    /// Whether the last append succeeded in time, and its changes.
    fn writable(&self) -> watch::Receiver<bool>;

    /// Whether clients should come to this gateway for the log, and its changes. A log that several gateways share does
    /// not send them elsewhere while it is away from all of them, and does so where it is broken at this one.
    fn serviceable(&self) -> watch::Receiver<bool> {
        self.writable()
    }

    /// Why the log sends clients elsewhere, in words for the operator, where it is known.
    fn unserviceable_because(&self) -> Option<String> {
        None
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log now.
    New,
    /// It was there before.
    Duplicate,
}

/// Records in their order.
pub type Page = Vec<Arc<Record>>;

/// Why an append failed. The cause is logged by the log itself, once for all appends that it hit.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// It was not done in time.
    #[error("the log did not write in time")]
    TooSlow,
    /// The disk is full, or something else that can pass.
    #[error("the log cannot write now")]
    Unavailable,
    /// Something after which nothing is certain; only a restart helps.
    #[error("the log cannot write until a restart")]
    Broken,
    /// The event is larger than the store accepts, whatever is left out of it. Repeating the append does not help; other
    /// appends are not affected.
    #[error("the event is larger than the store accepts")]
    TooLarge,
}

/// Why records cannot be read.
#[derive(Clone, Debug, Error)]
pub enum ReadError {
    /// They are not kept any more. The oldest that is comes right after this position.
    #[error("the records are trimmed")]
    Trimmed(Position),
    /// A record is not what was written.
    #[error("record {sequence} is damaged: {what}")]
    Corrupt {
        /// Its sequence, or where it should be.
        sequence: u64,
        /// What gave it away.
        what: &'static str,
    },
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Unavailable(String),
    /// A record was written by a newer version of the gateway. It is sound, and another gateway can read it.
    #[error("record {sequence} was written by a newer version of the gateway, in format {format}")]
    Newer {
        /// Its sequence; 0 where it has none.
        sequence: u64,
        /// The number of its format.
        format: u32,
    },
}

impl From<NoMemory> for ReadError {
    fn from(error: NoMemory) -> Self {
        ReadError::Unavailable(error.to_string())
    }
}
