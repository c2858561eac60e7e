//! A poll as a value of the bucket.

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;

use super::{
    names::{hashed, hex},
    unreadable::Unreadable,
};
use crate::store::Poll;

/// The number of this form of a value. It is not written: a value without a number has this form.
const FORMAT: u32 = 1;

/// What the keys of polls begin with.
pub(super) const PREFIX: &str = "poll.";

/// How long an id may be that is in its key, whose length NATS limits. A longer one is hashed.
const MAX_PLAIN_ID_BYTES: usize = 512;

/// What a key of each kind has after the prefix.
const PLAIN: char = 'x';
const HASHED: char = 'h';

/// The poll.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    screening_id: String,
    /// In milliseconds since 1970.
    #[prost(int64, tag = "2")]
    next_poll: i64,
    #[prost(uint32, tag = "3")]
    attempts: u32,
    /// The same.
    #[prost(int64, tag = "4")]
    create_time: i64,
    /// Of all but the subject, so that gateways of older versions on the same log read the rest.
    #[prost(fixed64, tag = "5")]
    checksum: u64,
    #[prost(string, tag = "6")]
    subject_id: String,
    /// Of all of it; 0 without a subject.
    #[prost(fixed64, tag = "7")]
    checksum_with_subject: u64,
}

/// What every version reads of a value.
#[derive(Clone, PartialEq, Message)]
struct Format {
    #[prost(uint32, tag = "8")]
    format: u32,
}

/// The key of a screening's poll. NATS has no empty part of a key, and an id can be empty.
pub(super) fn key(screening_id: &[u8]) -> String {
    if screening_id.len() <= MAX_PLAIN_ID_BYTES {
        format!("{PREFIX}{PLAIN}{}", hex(screening_id))
    } else {
        format!("{PREFIX}{HASHED}{}", hashed(screening_id))
    }
}

/// The screening that a key is of; `None` where its id is hashed.
pub(super) fn screening_of(key: &str) -> Option<Vec<u8>> {
    let digits = key.strip_prefix(PREFIX)?.strip_prefix(PLAIN)?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let id: Vec<u8> = digits.chunks(2).map(byte).collect::<Option<_>>()?;
    // The parser also takes capitals, signs and half a byte, which the gateway does not write.
    (self::key(&id) == key).then_some(id)
}

pub(super) fn encode(poll: &Poll) -> Bytes {
    let value = Value {
        screening_id: poll.screening_id.clone(),
        next_poll: poll.next_poll.as_millisecond(),
        attempts: poll.attempts,
        create_time: poll.create_time.as_millisecond(),
        checksum: without_subject(poll).checksum(),
        subject_id: poll.subject_id.clone(),
        checksum_with_subject: if poll.subject_id.is_empty() {
            0
        } else {
            poll.checksum()
        },
    };
    value.encode_to_vec().into()
}

/// The poll, if it is what was written.
pub(super) fn decode(value: Bytes) -> Result<Poll, Unreadable> {
    let format = Format::decode(value.clone())
        .map_err(|_| Unreadable::Damaged)?
        .format;
    if format > FORMAT {
        return Err(Unreadable::Newer { format });
    }
    let value = Value::decode(value).map_err(|_| Unreadable::Damaged)?;
    value.into_poll().ok_or(Unreadable::Damaged)
}

impl Value {
    /// `None` if a part is none, or is not what was written.
    fn into_poll(self) -> Option<Poll> {
        let poll = Poll {
            screening_id: self.screening_id,
            subject_id: self.subject_id,
            next_poll: Timestamp::from_millisecond(self.next_poll).ok()?,
            attempts: self.attempts,
            create_time: Timestamp::from_millisecond(self.create_time).ok()?,
        };
        let of_subject = if poll.subject_id.is_empty() {
            0
        } else {
            poll.checksum()
        };
        let is_sound = without_subject(&poll).checksum() == self.checksum
            && of_subject == self.checksum_with_subject;
        is_sound.then_some(poll)
    }
}

fn without_subject(poll: &Poll) -> Poll {
    Poll {
        subject_id: String::new(),
        ..poll.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_its_screening_and_any_flipped_bit_is_seen() {
        for id in ["scr_1", "", "é.>*"] {
            assert_eq!(screening_of(&key(id.as_bytes())).unwrap(), id.as_bytes());
        }
        let long = [b'x'; MAX_PLAIN_ID_BYTES + 1];
        assert_eq!(screening_of(&key(&long)), None);
        assert_ne!(key(&long), key(&long[1..]));
        for other in [
            "poll.x7B",
            "poll.x+f",
            "poll.x6",
            "poll.x6g",
            "poll.",
            "request.x61",
        ] {
            assert_eq!(screening_of(other), None, "{other}");
        }
        let poll = Poll {
            screening_id: "scr_1".to_owned(),
            subject_id: "subj_1".to_owned(),
            next_poll: Timestamp::from_millisecond(1_700_000_000_000).unwrap(),
            attempts: 3,
            create_time: Timestamp::from_millisecond(1_600_000_000_000).unwrap(),
        };
        let value = encode(&poll);
        assert_eq!(decode(value.clone()), Ok(poll));
        for bit in 0..value.len() * 8 {
            let mut flipped = value.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(flipped.into()).is_err(), "bit {bit}");
        }
    }
}
