//! One message of a stream, assembled from the stored parts of its events.

use std::{fmt, sync::Arc};

use bytes::BufMut;
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use crate::{
    event::{MAX_EVENT_BYTES, ResumeToken},
    pb::{self, watch_events_response::Signal},
    store::Record,
};

/// How many events one message has at most.
pub(super) const MAX_EVENTS: usize = 100;

/// After how many bytes of events a message ends. One event can be larger.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// The number of `WatchEventsResponse.events`.
const EVENTS_TAG: u32 = 1;

/// `Event.raw_json_omitted`, field 12, set.
const RAW_JSON_OMITTED: [u8; 2] = [12 << 3, 1];

/// A `WatchEventsResponse`.
pub struct Message {
    events: Vec<Arc<Record>>,
    include_raw_json: bool,
    /// Everything but the events.
    rest: pb::WatchEventsResponse,
}

impl Message {
    /// Events, and the position after them.
    pub(super) fn events(
        events: Vec<Arc<Record>>,
        include_raw_json: bool,
        token: ResumeToken,
    ) -> Self {
        Message {
            events,
            include_raw_json,
            rest: pb::WatchEventsResponse {
                resume_token: token.encode(),
                ..Default::default()
            },
        }
    }

    /// A signal, and the position that the stream has passed.
    pub(super) fn signal(signal: Signal, token: ResumeToken) -> Self {
        Message {
            events: Vec::new(),
            include_raw_json: false,
            rest: pb::WatchEventsResponse {
                resume_token: token.encode(),
                signal: Some(signal),
                ..Default::default()
            },
        }
    }

    /// How many events it has.
    pub fn event_count(&self) -> usize {
        self.events.len()
    }

    /// The events whose bodies were asked for and left out, because clients could not take them.
    pub(super) fn without_bodies(&self) -> impl Iterator<Item = &Record> {
        let events = self.events.iter().map(Arc::as_ref);
        events.filter(|record| self.include_raw_json && is_too_large(record))
    }

    /// How many bytes [`Message::encode`] writes.
    pub fn encoded_len(&self) -> usize {
        let events = self.events.iter().map(|record| {
            let size = event_len(record, self.include_raw_json);
            key_len(EVENTS_TAG) + encoded_len_varint(size as u64) + size
        });
        events.sum::<usize>() + self.rest.encoded_len()
    }

    /// Writes the message as protobuf.
    pub fn encode(&self, out: &mut impl BufMut) {
        for record in &self.events {
            encode_key(EVENTS_TAG, WireType::LengthDelimited, out);
            encode_varint(event_len(record, self.include_raw_json) as u64, out);
            out.put_slice(&record.event);
            out.put_slice(body_of(record, self.include_raw_json));
        }
        self.rest.encode_raw(out);
    }
}

/// How large an event of a message is.
pub(super) fn event_len(record: &Record, include_raw_json: bool) -> usize {
    record.event.len() + body_of(record, include_raw_json).len()
}

/// What a message has of an event's body. One that would make it too large for clients is left out, and that is told.
fn body_of(record: &Record, include_raw_json: bool) -> &[u8] {
    if !include_raw_json {
        return &[];
    }
    if is_too_large(record) {
        return &RAW_JSON_OMITTED;
    }
    &record.raw
}

fn is_too_large(record: &Record) -> bool {
    record.event.len() + record.raw.len() > MAX_EVENT_BYTES
}

impl fmt::Debug for Message {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Message({} events)", self.events.len())
    }
}
