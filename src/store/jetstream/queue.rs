//! What waits for the writer.

use std::fmt;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::names::{hashed, hex};
use crate::{
    event::{Identity, NewEvent},
    store::{AppendError, Appended},
};

/// How many events the writer takes at a time.
const BATCH_EVENTS: usize = 256;

/// An event that waits to be in the stream.
pub(super) struct Waiting {
    pub(super) event: NewEvent,
    /// Whether it may only be appended while the log has no end of its screening.
    pub(super) is_reconciled: bool,
    /// By what the server knows it again.
    pub(super) id: MessageId,
    /// Whether an event with another body has the id that Kora gave it.
    pub(super) has_id_conflict: bool,
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// What became of an append, and where it is, as far as that is known.
pub(super) type Answer = Result<(Appended, Option<u64>), AppendError>;

/// By what the server knows an event again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MessageId {
    identity: String,
    /// The record that the server remembers for the identity, where that is not this event any more.
    after: Option<u64>,
}

impl MessageId {
    pub(super) fn of(identity: &Identity) -> Self {
        MessageId {
            identity: match identity {
                Identity::Vendor(id) => format!("id-{}", hashed(id)),
                Identity::Body(hash) => format!("body-{}", hex(hash)),
            },
            after: None,
        }
    }

    /// The same identity, once the record that the server remembers for it is another event's. All replicas get to the
    /// same one.
    pub(super) fn after(&self, sequence: u64) -> Self {
        MessageId {
            identity: self.identity.clone(),
            after: Some(sequence),
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after {
            None => out.write_str(&self.identity),
            Some(sequence) => write!(out, "{}-after-{sequence}", self.identity),
        }
    }
}

/// All events that wait, as many as fit.
pub(super) fn gather(first: Waiting, queue: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let mut batch = vec![first];
    while batch.len() < BATCH_EVENTS
        && let Ok(waiting) = queue.try_recv()
    {
        batch.push(waiting);
    }
    batch
}
