//! What a log is made of, wherever it is kept.

use std::{fmt, ops::AddAssign};

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    event::Keys,
    store::{Poll, Record, StoredRequest},
};

/// One piece of a log. All events come first, in their order.
#[derive(Debug)]
pub(in crate::store) enum Item {
    Event(MovedEvent),
    Request(StoredRequest),
    Poll(Poll),
}

/// What of a record stays the same in another log.
#[derive(Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct MovedEvent {
    pub(in crate::store) receive_time: Timestamp,
    pub(in crate::store) event_id: String,
    pub(in crate::store) keys: Keys,
    pub(in crate::store) event: Bytes,
    pub(in crate::store) raw: Bytes,
}

/// How much of each there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Records of requests.
    pub requests: u64,
    /// Screenings that wait for their end.
    pub polls: u64,
}

impl From<&Record> for MovedEvent {
    fn from(record: &Record) -> Self {
        MovedEvent {
            receive_time: record.receive_time,
            event_id: record.event_id.clone(),
            keys: record.keys.clone(),
            event: record.event.clone(),
            raw: record.raw.clone(),
        }
    }
}

impl AddAssign<&Item> for Counts {
    fn add_assign(&mut self, item: &Item) {
        match item {
            Item::Event(_) => self.events += 1,
            Item::Request(_) => self.requests += 1,
            Item::Poll(_) => self.polls += 1,
        }
    }
}

impl fmt::Debug for MovedEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("MovedEvent")
            .field("event_id", &self.event_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} events, {} request records, {} polls",
            self.events, self.requests, self.polls
        )
    }
}
