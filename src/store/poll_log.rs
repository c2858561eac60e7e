//! The law of the polls.

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use xxhash_rust::xxh3::Xxh3;

use super::{AppendError, Appended, ReadError};
use crate::event::NewEvent;

/// The number of the form of a poll that names no subject, and of one that does.
const FORMAT: u32 = 1;
const FORMAT_WITH_SUBJECT: u32 = 2;

/// One tenant's screenings that Kora took and whose end is not in the log: each waits to be polled. The end of a
/// screening is an event of type `screening.completed` or `screening.failed`, wherever it came from; where both the
/// poll and the event name a subject, it has to be the same. Every backend keeps this law:
///
/// 1. **Durable first.** Each change is answered only when it would survive a power cut.
/// 2. **Once each.** A screening waits at most once, and not at all when its end is in the log: an end that is
///    appended removes its poll in the same transaction.
/// 3. **Compare and set.** `postpone` changes a poll only if nobody has postponed or removed it since it was read.
/// 4. **At most one.** `reconcile` appends its event only together with the removal of the screening's poll. So a
///    screening has at most one RECONCILED event, and none after an end that came by webhook.
/// 5. **Never instead of a webhook.** An end that comes by webhook after the RECONCILED event is appended all the
///    same, and names that event as the one that it replaces. Whether they disagree is counted and logged.
/// 6. **Nothing damaged.** Each poll has a checksum. One that differs is not polled.
pub trait PollLog: Send + Sync + 'static {
    /// Has a screening of this subject wait, first until `next_poll`. The subject's id is empty where it is not known.
    /// False if the screening waits already, or has ended.
    ///
    /// # Errors
    /// See [`AppendError`]; it may wait all the same.
    fn add_poll(
        &self,
        screening_id: String,
        subject_id: String,
        next_poll: Timestamp,
    ) -> BoxFuture<'_, Result<bool, AppendError>>;

    /// The polls that are due first, in their order, at most `limit`. One that is due after `latest` comes before all others: it
    /// was added or postponed while a clock was far ahead.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn polls(&self, limit: usize, latest: Timestamp) -> BoxFuture<'_, Result<Polls, ReadError>>;

    /// Counts an attempt, and has the poll wait until `next_poll`. False if it is not what was read any more.
    ///
    /// # Errors
    /// See [`AppendError`]; it may be postponed all the same.
    fn postpone(
        &self,
        poll: Poll,
        next_poll: Timestamp,
    ) -> BoxFuture<'_, Result<bool, AppendError>>;

    /// Has a screening wait no longer, given its id's bytes. False if it did not wait.
    ///
    /// # Errors
    /// See [`AppendError`]; it may be removed all the same.
    fn remove_poll(&self, screening_id: Vec<u8>) -> BoxFuture<'_, Result<bool, AppendError>>;

    /// Appends the end of a screening that was read from Kora, and removes its poll. [`Appended::Duplicate`] if
    /// the screening does not wait any more.
    ///
    /// # Errors
    /// See [`AppendError`]; the event may be in the log all the same.
    fn reconcile(&self, event: NewEvent) -> BoxFuture<'_, Result<Appended, AppendError>>;
}

/// A screening that waits to be polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Kora's id.
    pub screening_id: String,
    /// Kora's id of its subject; empty where it is not known.
    pub subject_id: String,
    /// When it is due, to the millisecond.
    pub next_poll: Timestamp,
    /// How often it was polled.
    pub attempts: u32,
    /// Since when it waits.
    pub create_time: Timestamp,
}

/// Polls as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polls {
    /// What was written, the first that is due first.
    pub sound: Vec<Poll>,
    /// What differs from what was written, by the screening's id as it is now, which need not be a text.
    pub damaged: Vec<Vec<u8>>,
}

impl Poll {
    /// Over all of it.
    pub(super) fn checksum(&self) -> u64 {
        let mut hash = Xxh3::new();
        let format = if self.subject_id.is_empty() {
            FORMAT
        } else {
            FORMAT_WITH_SUBJECT
        };
        hash.update(&format.to_le_bytes());
        hash.update(&self.next_poll.as_millisecond().to_le_bytes());
        hash.update(&self.attempts.to_le_bytes());
        hash.update(&self.create_time.as_millisecond().to_le_bytes());
        if !self.subject_id.is_empty() {
            hash.update(&(self.subject_id.len() as u64).to_le_bytes());
            hash.update(self.subject_id.as_bytes());
        }
        hash.update(self.screening_id.as_bytes());
        hash.digest()
    }
}
