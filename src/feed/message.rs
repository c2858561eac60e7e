//! One message of a stream, assembled from the stored parts of its events.

use std::{collections::VecDeque, fmt, sync::Arc};

use bytes::Bytes;
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use crate::{
    event::{MAX_EVENT_BYTES, ResumeToken},
    memory::{Charge, FREE_BYTES},
    pb::{self, watch_events_response::Signal},
    store::Record,
};

/// How many events one message has at most.
pub(super) const MAX_EVENTS: usize = 100;

/// After how many bytes of events a message ends. One event can be larger.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// How much a message copies at most. Parts of events that are larger than [`FREE_BYTES`] are not copied: all streams
/// share them, and they are charged by whoever brought them into memory.
pub(super) const MAX_COPIED_BYTES: usize = MAX_BYTES + 2 * FREE_BYTES;

/// The number of `WatchEventsResponse.events`.
const EVENTS_TAG: u32 = 1;

/// `Event.raw_json_omitted`, field 12, set.
static RAW_JSON_OMITTED: Bytes = Bytes::from_static(&[12 << 3, 1]);

static NOTHING: Bytes = Bytes::new();

/// A `WatchEventsResponse`.
pub struct Message {
    events: Vec<Arc<Record>>,
    include_raw_json: bool,
    /// Everything but the events.
    rest: pb::WatchEventsResponse,
    /// For what it copies, where that is not free.
    memory: Option<Charge>,
}

impl Message {
    /// Events, and the position after them. `memory` has to cover what is copied of them, if that is more than
    /// [`FREE_BYTES`]; what is not needed is released.
    pub(super) fn events(
        events: Vec<Arc<Record>>,
        include_raw_json: bool,
        token: ResumeToken,
        memory: Option<Charge>,
    ) -> Self {
        let copied = events
            .iter()
            .map(|record| copied_len(record, include_raw_json))
            .sum();
        let needed = memory.filter(|_| copied > FREE_BYTES);
        Message {
            memory: needed.map(|mut charge| charge.split(copied)),
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
            memory: None,
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

    /// How long it is as protobuf.
    pub fn encoded_len(&self) -> usize {
        let events = self.events.iter().map(|record| {
            let size = event_len(record, self.include_raw_json);
            key_len(EVENTS_TAG) + encoded_len_varint(size as u64) + size
        });
        events.sum::<usize>() + self.rest.encoded_len()
    }

    /// The message as protobuf, after `head`, in chunks: large parts of events as they lie in memory, and what stands
    /// between them.
    pub fn into_chunks(self, head: &[u8]) -> VecDeque<Bytes> {
        let mut writer = ChunkWriter::default();
        writer.copied.extend_from_slice(head);
        for record in &self.events {
            let out = &mut writer.copied;
            encode_key(EVENTS_TAG, WireType::LengthDelimited, out);
            encode_varint(event_len(record, self.include_raw_json) as u64, out);
            writer.put(&record.event);
            writer.put(body_of(record, self.include_raw_json));
        }
        self.rest.encode_raw(&mut writer.copied);
        writer.finish(self.memory)
    }
}

/// Writes small parts into one buffer and keeps large ones as they are.
#[derive(Default)]
struct ChunkWriter {
    copied: Vec<u8>,
    /// Each comes after so many bytes of what is copied.
    shared: Vec<(usize, Bytes)>,
}

impl ChunkWriter {
    fn put(&mut self, part: &Bytes) {
        if is_shared(part) {
            self.shared.push((self.copied.len(), part.clone()));
        } else {
            self.copied.extend_from_slice(part);
        }
    }

    fn finish(self, memory: Option<Charge>) -> VecDeque<Bytes> {
        let mut copied = match memory {
            Some(charge) => charge.attach(self.copied),
            None => self.copied.into(),
        };
        let (mut chunks, mut begin) = (VecDeque::new(), 0);
        for (end, part) in self.shared {
            chunks.push_back(copied.split_to(end - begin));
            chunks.push_back(part);
            begin = end;
        }
        chunks.push_back(copied);
        chunks.retain(|chunk| !chunk.is_empty());
        chunks
    }
}

/// How large an event of a message is.
pub(super) fn event_len(record: &Record, include_raw_json: bool) -> usize {
    record.event.len() + body_of(record, include_raw_json).len()
}

/// How much of an event a message copies.
pub(super) fn copied_len(record: &Record, include_raw_json: bool) -> usize {
    let parts = [&record.event, body_of(record, include_raw_json)];
    let copied = parts.into_iter().filter(|part| !is_shared(part));
    copied.map(Bytes::len).sum()
}

fn is_shared(part: &Bytes) -> bool {
    part.len() > FREE_BYTES
}

/// What a message has of an event's body. One that would make it too large for clients is left out, and that is told.
fn body_of(record: &Record, include_raw_json: bool) -> &Bytes {
    if !include_raw_json {
        return &NOTHING;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Keys, LogId, Position},
        memory::Budget,
    };

    fn record(event: usize, raw: usize) -> Arc<Record> {
        Arc::new(Record {
            sequence: 1,
            receive_time: jiff::Timestamp::UNIX_EPOCH,
            end_offset: 0,
            event_id: "evt_1".to_owned(),
            keys: Keys::default(),
            event: vec![1; event].into(),
            raw: vec![2; raw].into(),
            checksum: 0,
        })
    }

    fn message(events: &[Arc<Record>], memory: Option<Charge>) -> Message {
        let token = ResumeToken {
            log_id: LogId([1; 16]),
            position: Position::default(),
        };
        Message::events(events.to_vec(), true, token, memory)
    }

    #[test]
    fn large_parts_are_shared_and_small_ones_copied() {
        let events = [
            record(10, FREE_BYTES + 1),
            record(FREE_BYTES + 1, 10),
            record(10, FREE_BYTES),
        ];
        let chunks = message(&events, None).into_chunks(b"head");
        let is_of = |chunk: &Bytes, part: &Bytes| chunk.as_ptr() == part.as_ptr();
        assert_eq!(chunks.len(), 5);
        assert!(chunks[0].starts_with(b"head"));
        assert!(is_of(&chunks[1], &events[0].raw) && is_of(&chunks[3], &events[1].event));
        let lengths: usize = chunks.iter().map(Bytes::len).sum();
        assert_eq!(lengths, 4 + message(&events, None).encoded_len());
    }

    #[test]
    fn what_is_copied_is_charged_until_its_last_chunk_is_gone() {
        let budget = Budget::default();
        let charge = || budget.streams.try_charge(MAX_COPIED_BYTES);
        let small = message(&[record(10, 10)], charge());
        assert_eq!(budget.streams.used(), 0, "it is free");
        drop(small);
        let events = vec![record(100, 1000); 50];
        let mut chunks = message(&events, charge()).into_chunks(&[]);
        let used = budget.streams.used();
        assert!((50 * 1100..60 * 1100).contains(&used), "{used}");
        let mut last = chunks.pop_back().unwrap();
        drop(chunks);
        let piece = last.split_to(1);
        drop(last);
        assert_eq!(budget.streams.used(), used);
        drop(piece);
        assert_eq!(budget.streams.used(), 0);
    }
}
