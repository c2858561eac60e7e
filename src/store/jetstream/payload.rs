//! A record as a message of the stream.

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use super::end::End;
use crate::{
    event::{Keys, LogId, Position},
    store::{ReadError, Record, record::FORMAT},
};

/// A record, and where the log was before it.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) record: Record,
    pub(super) before: End,
}

/// What a message of the stream holds. The sequence is the message's own.
#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(uint32, tag = "1")]
    format: u32,
    /// In milliseconds since 1970.
    #[prost(int64, tag = "2")]
    receive_time: i64,
    #[prost(uint64, tag = "3")]
    end_offset: u64,
    #[prost(string, tag = "4")]
    event_id: String,
    #[prost(string, tag = "5")]
    kind: String,
    #[prost(string, tag = "6")]
    screening_id: String,
    #[prost(string, tag = "7")]
    subject_id: String,
    #[prost(bytes = "bytes", tag = "8")]
    event: Bytes,
    #[prost(bytes = "bytes", tag = "9")]
    raw: Bytes,
    #[prost(fixed64, tag = "10")]
    checksum: u64,
    /// The checksum of the record before, by which the position before the oldest record is known.
    #[prost(fixed64, tag = "11")]
    previous: u64,
    /// The `receive_time` of the record before.
    #[prost(int64, tag = "12")]
    previous_time: i64,
    /// XXH3 over the checksums and that time.
    #[prost(fixed64, tag = "13")]
    link: u64,
}

/// What every version reads of a message.
#[derive(Clone, PartialEq, Message)]
struct Format {
    #[prost(uint32, tag = "1")]
    format: u32,
}

/// The message of a record that comes after `previous`.
pub(super) fn encode(record: &Record, previous: &End) -> Bytes {
    let mut stored = Stored {
        format: FORMAT,
        receive_time: record.receive_time.as_millisecond(),
        end_offset: record.end_offset,
        event_id: record.event_id.clone(),
        kind: record.keys.kind.clone(),
        screening_id: record.keys.screening_id.clone(),
        subject_id: record.keys.subject_id.clone(),
        event: record.event.clone(),
        raw: record.raw.clone(),
        checksum: record.checksum,
        previous: previous.position.checksum,
        previous_time: previous.receive_time.as_millisecond(),
        link: 0,
    };
    stored.link = stored.computed_link();
    stored.encode_to_vec().into()
}

/// The record of a message, if it is what was written.
///
/// # Errors
/// [`ReadError::Newer`] for a format of a newer version, [`ReadError::Corrupt`] for anything else that is no record.
pub(super) fn decode(log_id: LogId, sequence: u64, payload: Bytes) -> Result<Placed, ReadError> {
    let damaged = |what| ReadError::Corrupt { sequence, what };
    require_known_format(sequence, &payload)?;
    let stored = Stored::decode(payload).map_err(|_| damaged("it is no record"))?;
    if stored.format != FORMAT {
        return Err(damaged("its format is unknown"));
    }
    if stored.link != stored.computed_link() {
        return Err(damaged("its link differs"));
    }
    let size = (stored.event.len() + stored.raw.len()) as u64;
    let before = End {
        position: Position {
            sequence: sequence.saturating_sub(1),
            checksum: stored.previous,
        },
        receive_time: time(stored.previous_time),
        end_offset: stored.end_offset.saturating_sub(size),
    };
    let record = stored.into_record(sequence).verified(log_id)?;
    Ok(Placed { record, before })
}

/// What comes after a record, which is taken as it is stored: a damaged record must not stop the log for ever.
///
/// # Errors
/// [`ReadError::Newer`]: only a newer version can tell what comes after it.
pub(super) fn end_as_stored(sequence: u64, payload: Bytes) -> Result<End, ReadError> {
    require_known_format(sequence, &payload)?;
    let stored = Stored::decode(payload).unwrap_or_default();
    Ok((&stored.into_record(sequence)).into())
}

fn require_known_format(sequence: u64, payload: &Bytes) -> Result<(), ReadError> {
    // What does not even have a number is damaged, and found out by its checksums.
    let format = Format::decode(payload.clone()).unwrap_or_default().format;
    if format > FORMAT {
        Err(ReadError::Newer { sequence, format })
    } else {
        Ok(())
    }
}

/// A time that was stored. One that no clock tells is damaged, which the checksum shows.
fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Stored {
    fn computed_link(&self) -> u64 {
        let parts = [
            self.checksum.to_le_bytes(),
            self.previous.to_le_bytes(),
            self.previous_time.to_le_bytes(),
        ];
        xxh3_64(&parts.concat())
    }

    fn into_record(self, sequence: u64) -> Record {
        Record {
            sequence,
            receive_time: time(self.receive_time),
            end_offset: self.end_offset,
            event_id: self.event_id,
            keys: Keys {
                kind: self.kind,
                screening_id: self.screening_id,
                subject_id: self.subject_id,
            },
            event: self.event,
            raw: self.raw,
            checksum: self.checksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::tests::event;

    const LOG: LogId = LogId([1; 16]);

    fn before() -> End {
        End {
            position: Position {
                sequence: 4,
                checksum: 7,
            },
            receive_time: Timestamp::from_millisecond(1_600_000_000_000).unwrap(),
            end_offset: 1000,
        }
    }

    fn message() -> (Record, Bytes) {
        let time = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let record = Record::seal(LOG, (4, 1000), time, event("evt_1"));
        let message = encode(&record, &before());
        (record, message)
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_at_its_own_place_alone() {
        let (record, message) = message();
        let placed = decode(LOG, 5, message.clone()).unwrap();
        assert!(placed.record == record);
        assert_eq!(placed.before, before());
        assert!(decode(LOG, 6, message.clone()).is_err());
        assert!(decode(LogId([2; 16]), 5, message).is_err());
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let (_, message) = message();
        for bit in 0..message.len() * 8 {
            let mut flipped = message.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = decode(LOG, 5, flipped.into());
            assert!(
                matches!(
                    read,
                    Err(ReadError::Corrupt { sequence: 5, .. }
                        | ReadError::Newer { sequence: 5, .. })
                ),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_newer_format_is_no_damage_whatever_else_it_has() {
        let (_, message) = message();
        let newer = [&[0x08, 0x02][..], b"\x12\x01x"].concat();
        for newer in [newer, [&message[..], &[0x08, 0x7f]].concat()] {
            let read = decode(LOG, 5, newer.clone().into());
            assert!(matches!(read, Err(ReadError::Newer { sequence: 5, .. })));
            let end = end_as_stored(5, newer.into());
            assert!(matches!(end, Err(ReadError::Newer { .. })));
        }
        assert!(end_as_stored(5, Bytes::from_static(b"junk")).is_ok());
    }
}
