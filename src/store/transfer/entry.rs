//! What a frame holds: the header, an item, or the trailer.

use bytes::Bytes;
use jiff::Timestamp;
use prost::{Message, Oneof};
use uuid::Uuid;

use super::item::{Counts, Item, MovedEvent};
use crate::{
    event::Keys,
    store::{Poll, RequestContent, RequestKey, StoredRequest, StoredState, Summary},
};

/// The number of this form of a file. Files of form 1 have records without summaries, those of form 2 polls without
/// subjects; they are read as well.
pub(super) const FORMAT: u32 = 3;

/// One frame's content. Times are in milliseconds since 1970.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5")]
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "1")]
    Header(Header),
    #[prost(message, tag = "2")]
    Event(Event),
    #[prost(message, tag = "3")]
    Request(Request),
    #[prost(message, tag = "4")]
    Poll(Waiting),
    #[prost(message, tag = "5")]
    Trailer(Trailer),
}

/// What the file holds.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Header {
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    #[prost(string, tag = "2")]
    pub(super) tenant: String,
    /// When the newest event was received that the log did not keep.
    #[prost(int64, optional, tag = "3")]
    pub(super) trimmed_time: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(int64, tag = "1")]
    receive_time: i64,
    #[prost(string, tag = "2")]
    event_id: String,
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(string, tag = "4")]
    screening_id: String,
    #[prost(string, tag = "5")]
    subject_id: String,
    #[prost(bytes = "bytes", tag = "6")]
    event: Bytes,
    #[prost(bytes = "bytes", tag = "7")]
    raw: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(string, tag = "1")]
    caller: String,
    #[prost(bytes = "bytes", tag = "2")]
    request_id: Bytes,
    #[prost(string, tag = "3")]
    rpc: String,
    #[prost(bytes = "bytes", tag = "4")]
    fingerprint: Bytes,
    #[prost(bytes = "bytes", tag = "5")]
    attempt: Bytes,
    #[prost(int64, tag = "6")]
    state: i64,
    #[prost(bytes = "bytes", tag = "7")]
    answer: Bytes,
    #[prost(int64, tag = "8")]
    create_time: i64,
    #[prost(int64, optional, tag = "9")]
    finish_time: Option<i64>,
    #[prost(string, tag = "10")]
    result_id: String,
    #[prost(string, tag = "11")]
    reason: String,
    #[prost(bool, tag = "12")]
    is_evicted: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Waiting {
    #[prost(string, tag = "1")]
    screening_id: String,
    #[prost(int64, tag = "2")]
    next_poll: i64,
    #[prost(uint32, tag = "3")]
    attempts: u32,
    #[prost(int64, tag = "4")]
    create_time: i64,
    #[prost(string, tag = "5")]
    subject_id: String,
}

/// How much came before, so that a file without its end is known.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Trailer {
    #[prost(uint64, tag = "1")]
    events: u64,
    #[prost(uint64, tag = "2")]
    requests: u64,
    #[prost(uint64, tag = "3")]
    polls: u64,
}

impl From<Kind> for Entry {
    fn from(kind: Kind) -> Self {
        Entry { kind: Some(kind) }
    }
}

impl From<Counts> for Trailer {
    fn from(counts: Counts) -> Self {
        Trailer {
            events: counts.events,
            requests: counts.requests,
            polls: counts.polls,
        }
    }
}

impl From<Item> for Kind {
    fn from(item: Item) -> Self {
        match item {
            Item::Event(event) => Kind::Event(event.into()),
            Item::Request(request) => Kind::Request(request.into()),
            Item::Poll(poll) => Kind::Poll(poll.into()),
        }
    }
}

impl From<MovedEvent> for Event {
    fn from(event: MovedEvent) -> Self {
        Event {
            receive_time: event.receive_time.as_millisecond(),
            event_id: event.event_id,
            kind: event.keys.kind,
            screening_id: event.keys.screening_id,
            subject_id: event.keys.subject_id,
            event: event.event,
            raw: event.raw,
        }
    }
}

impl From<StoredRequest> for Request {
    fn from(request: StoredRequest) -> Self {
        let bytes_of = |id: Uuid| Bytes::copy_from_slice(id.as_bytes());
        Request {
            caller: request.key.caller,
            request_id: bytes_of(request.key.request_id),
            rpc: request.content.rpc,
            fingerprint: Bytes::copy_from_slice(&request.content.fingerprint),
            attempt: bytes_of(request.attempt),
            state: request.state.number(),
            answer: request.answer,
            create_time: request.create_time.as_millisecond(),
            finish_time: request.finish_time.map(Timestamp::as_millisecond),
            result_id: request.summary.result_id,
            reason: request.summary.reason,
            is_evicted: request.is_evicted,
        }
    }
}

impl From<Poll> for Waiting {
    fn from(poll: Poll) -> Self {
        Waiting {
            screening_id: poll.screening_id,
            next_poll: poll.next_poll.as_millisecond(),
            attempts: poll.attempts,
            create_time: poll.create_time.as_millisecond(),
            subject_id: poll.subject_id,
        }
    }
}

impl Event {
    /// `None` if it is none that a log had.
    pub(super) fn into_item(self) -> Option<Item> {
        Some(Item::Event(MovedEvent {
            receive_time: Timestamp::from_millisecond(self.receive_time).ok()?,
            event_id: self.event_id,
            keys: Keys {
                kind: self.kind,
                screening_id: self.screening_id,
                subject_id: self.subject_id,
            },
            event: self.event,
            raw: self.raw,
        }))
    }
}

impl Request {
    /// The same.
    pub(super) fn into_item(self) -> Option<Item> {
        Some(Item::Request(StoredRequest {
            key: RequestKey {
                caller: self.caller,
                request_id: Uuid::from_slice(&self.request_id).ok()?,
            },
            content: RequestContent {
                rpc: self.rpc,
                fingerprint: self.fingerprint[..].try_into().ok()?,
            },
            attempt: Uuid::from_slice(&self.attempt).ok()?,
            state: StoredState::from_number(self.state)?,
            answer: self.answer,
            summary: Summary {
                result_id: self.result_id,
                reason: self.reason,
            },
            is_evicted: self.is_evicted,
            create_time: Timestamp::from_millisecond(self.create_time).ok()?,
            finish_time: match self.finish_time {
                Some(time) => Some(Timestamp::from_millisecond(time).ok()?),
                None => None,
            },
            is_held_elsewhere: false,
        }))
    }
}

impl Waiting {
    /// The same.
    pub(super) fn into_item(self) -> Option<Item> {
        Some(Item::Poll(Poll {
            screening_id: self.screening_id,
            subject_id: self.subject_id,
            next_poll: Timestamp::from_millisecond(self.next_poll).ok()?,
            attempts: self.attempts,
            create_time: Timestamp::from_millisecond(self.create_time).ok()?,
        }))
    }
}
