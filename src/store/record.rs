//! One record: an event as it is kept, and the checksum that shows that it is what was written.

use std::fmt;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use prost::Message;
use xxhash_rust::xxh3::Xxh3;

use super::{ReadError, transfer::MovedEvent};
use crate::{
    event::{BODY_ID_PREFIX, Identity, Keys, LogId, NewEvent, Position},
    memory::{Charge, FREE_BYTES},
    pb,
    screening::timestamp_to_wire,
};

/// The number of this form of a record. It is kept beside each.
pub(super) const FORMAT: u32 = 1;

/// An event in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place: 1, 2, 3, …
    pub sequence: u64,
    /// When it was received, to the millisecond.
    pub receive_time: Timestamp,
    /// How many bytes of events the log has had up to here, this one included.
    pub end_offset: u64,
    /// By what subscribers know it.
    pub event_id: String,
    /// What filters look at.
    pub keys: Keys,
    /// The encoded `Event`, without `raw_json`.
    pub event: Bytes,
    /// The encoded field `Event.raw_json`.
    pub raw: Bytes,
    /// Over all of the above, the format and the log.
    pub checksum: u64,
}

impl Record {
    /// Gives an event its place after `last`, and its id where Kora gave none.
    pub(super) fn seal(
        log_id: LogId,
        last: (u64, u64),
        receive_time: Timestamp,
        event: NewEvent,
    ) -> Self {
        let event_id = match event.identity {
            Identity::Vendor(id) => id,
            Identity::Body(hash) => body_id(&hash, receive_time),
        };
        let stamp = pb::Event {
            event_id: event_id.clone(),
            receive_time: Some(timestamp_to_wire(receive_time)),
            ..Default::default()
        };
        // Parts of a message that are laid end to end make one message.
        let event_part: Bytes = [stamp.encode_to_vec(), event.content.to_vec()]
            .concat()
            .into();
        let event = MovedEvent {
            receive_time,
            event_id,
            keys: event.keys,
            event: event_part,
            raw: event.raw,
        };
        Self::seal_moved(log_id, last, event)
    }

    /// Gives an event of another log its place after `last`.
    pub(super) fn seal_moved(log_id: LogId, last: (u64, u64), event: MovedEvent) -> Self {
        let (last_sequence, last_offset) = last;
        let size = (event.event.len() + event.raw.len()) as u64;
        let mut record = Record {
            sequence: last_sequence + 1,
            receive_time: event.receive_time,
            end_offset: last_offset + size,
            event_id: event.event_id,
            keys: event.keys,
            event: event.event,
            raw: event.raw,
            checksum: 0,
        };
        record.checksum = record.computed_checksum(log_id);
        record
    }

    /// Hands a record that was read on, if it is what was written.
    pub(super) fn verified(self, log_id: LogId) -> Result<Self, ReadError> {
        match self.computed_checksum(log_id) == self.checksum {
            true => Ok(self),
            false => Err(ReadError::Corrupt {
                sequence: self.sequence,
                what: "its checksum differs",
            }),
        }
    }

    /// Right after it.
    pub fn position(&self) -> Position {
        Position {
            sequence: self.sequence,
            checksum: self.checksum,
        }
    }

    /// How much memory it takes, roughly.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.event.len() + self.raw.len()
    }

    /// How many bytes its large parts have, which are charged to the memory budget.
    pub(super) fn large_bytes(&self) -> usize {
        let parts = [&self.event, &self.raw].into_iter();
        let large = parts.filter(|part| part.len() > FREE_BYTES);
        large.map(Bytes::len).sum()
    }

    /// Ties a part of the charge to each of its large parts.
    pub(super) fn attach(&mut self, charge: &mut Charge) {
        for part in [&mut self.event, &mut self.raw] {
            if part.len() > FREE_BYTES {
                let of_part = charge.split(part.len());
                *part = of_part.attach(std::mem::take(part));
            }
        }
    }

    /// Each part with its length, so that no two records make the same text.
    fn computed_checksum(&self, log_id: LogId) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&FORMAT.to_le_bytes());
        hash.update(&log_id.0);
        hash.update(&self.sequence.to_le_bytes());
        hash.update(&self.receive_time.as_millisecond().to_le_bytes());
        hash.update(&self.end_offset.to_le_bytes());
        for part in [
            self.event_id.as_bytes(),
            self.keys.kind.as_bytes(),
            self.keys.screening_id.as_bytes(),
            self.keys.subject_id.as_bytes(),
            &self.event,
            &self.raw,
        ] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.digest()
    }
}

/// The `receive_time` of an event after one with the time `last`. A log's time never goes back, although clocks can be set
/// back and those of several machines differ. The id of an event that Kora gave none is made of its time, so that time has
/// to be new: an earlier event with the same body and time may be trimmed by now, and still be known to subscribers.
pub(super) fn receive_time(now: Timestamp, last: Timestamp, identity: &Identity) -> Timestamp {
    const ONE_MILLISECOND: SignedDuration = SignedDuration::from_millis(1);
    // As a record keeps it, so that memory and disk tell the same time.
    let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(Timestamp::UNIX_EPOCH);
    match identity {
        Identity::Body(_) if now <= last => last.checked_add(ONE_MILLISECOND).unwrap_or(last),
        _ => now.max(last),
    }
}

/// The id of an event that Kora gave none.
pub(super) fn body_id(hash: &[u8; 32], receive_time: Timestamp) -> String {
    body_id_prefix(hash) + &receive_time.as_millisecond().to_string()
}

/// By what an event is known that has this id.
pub(super) fn identity_of(event_id: &str) -> Identity {
    let hash = || {
        let (hex, _) = event_id.strip_prefix(BODY_ID_PREFIX)?.split_once('-')?;
        let byte = |at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
        let hash = <[u8; 32]>::try_from(bytes?).ok()?;
        // The parser also takes capitals and signs, which the gateway does not write.
        event_id.starts_with(&body_id_prefix(&hash)).then_some(hash)
    };
    hash().map_or_else(|| Identity::Vendor(event_id.to_owned()), Identity::Body)
}

/// What the ids of a body's events begin with; the time of the event follows.
pub(super) fn body_id_prefix(hash: &[u8; 32]) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{BODY_ID_PREFIX}{hex}-")
}

impl fmt::Debug for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Record")
            .field("sequence", &self.sequence)
            .field("event_id", &self.event_id)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::Content;

    pub(crate) fn event(id: &str) -> NewEvent {
        let content = Content {
            keys: Keys {
                kind: "screening.completed".to_owned(),
                screening_id: "scr_1".to_owned(),
                subject_id: "subj_1".to_owned(),
            },
            ..Content::default()
        };
        NewEvent::from_webhook(Identity::Vendor(id.to_owned()), content, b"{}")
    }

    const LOG: LogId = LogId([1; 16]);

    fn record() -> Record {
        let time = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        Record::seal(LOG, (4, 1000), time, event("evt_1"))
    }

    #[test]
    fn time_never_goes_back_and_is_new_where_an_id_is_made_of_it() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        let nanoseconds = SignedDuration::from_nanos(999_999);
        let (vendor, body) = (
            Identity::Vendor("evt_1".to_owned()),
            Identity::Body([1; 32]),
        );
        for (now, last, identity, expected) in [
            (at(7) + nanoseconds, at(5), &vendor, at(7)),
            (at(7) + nanoseconds, at(5), &body, at(7)),
            (at(5) + nanoseconds, at(5), &vendor, at(5)),
            (at(5) + nanoseconds, at(5), &body, at(6)),
            (at(3), at(5), &vendor, at(5)),
            (at(3), at(5), &body, at(6)),
        ] {
            assert_eq!(receive_time(now, last, identity), expected);
        }
    }

    #[test]
    fn a_sealed_record_reads_as_its_event() {
        let record = record();
        assert_eq!((record.sequence, record.position().sequence), (5, 5));
        assert_eq!(
            record.end_offset as usize,
            1000 + record.event.len() + record.raw.len()
        );
        let whole = [&record.event[..], &record.raw[..]].concat();
        let event = pb::Event::decode(&whole[..]).unwrap();
        assert_eq!(event.event_id, "evt_1");
        assert_eq!(event.r#type, "screening.completed");
        assert_eq!(event.raw_json, b"{}");
        let time = event.receive_time.unwrap();
        assert_eq!((time.seconds, time.nanos), (1_700_000_000, 123_000_000));
        assert!(record.verified(LOG).is_ok());
    }

    #[test]
    fn any_change_is_seen() {
        let changes: [fn(&mut Record); 10] = [
            |record| record.sequence += 1,
            |record| record.end_offset += 1,
            |record| record.receive_time = Timestamp::UNIX_EPOCH,
            |record| record.event_id.push('x'),
            |record| record.keys.kind.push('x'),
            |record| record.keys.screening_id = String::new(),
            |record| std::mem::swap(&mut record.keys.subject_id, &mut record.keys.screening_id),
            // The same bytes, cut at another place.
            |record| record.keys.kind.push(record.keys.screening_id.remove(0)),
            |record| record.event = record.event.slice(1..),
            |record| record.raw = Bytes::new(),
        ];
        for (place, change) in changes.iter().enumerate() {
            let mut changed = record();
            change(&mut changed);
            assert!(changed.verified(LOG).is_err(), "change {place}");
        }
        assert!(record().verified(LogId([2; 16])).is_err());
    }

    #[test]
    fn an_event_without_an_id_gets_one_of_its_body_and_time() {
        let mut event = event("");
        event.identity = Identity::Body([0xab; 32]);
        let time = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let record = Record::seal(LOG, (0, 0), time, event);
        let expected = format!("sha256-{}-1700000000123", "ab".repeat(32));
        assert_eq!(record.event_id, expected);
        assert_eq!(identity_of(&expected), Identity::Body([0xab; 32]));
        let capitals = format!("sha256-{}-1", "AB".repeat(32));
        let signs = format!("sha256-{}-1", "+a".repeat(32));
        for other in [
            "evt_1",
            "sha256-",
            "sha256-abab-1",
            &expected[..40],
            &capitals,
            &signs,
        ] {
            assert_eq!(identity_of(other), Identity::Vendor(other.to_owned()));
        }
    }
}
