//! A poll as a value of the bucket.

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;

use super::names::hex;
use crate::store::Poll;

/// What the keys of polls begin with.
pub(super) const PREFIX: &str = "poll.";

/// How long an id may be: it is in the key, whose length NATS limits.
pub(super) const MAX_ID_BYTES: usize = 512;

/// The poll. The number of its form is in its checksum.
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

/// The key of a screening's poll. NATS has no empty part of a key, and an id can be empty.
pub(super) fn key(screening_id: &[u8]) -> String {
    format!("{PREFIX}x{}", hex(screening_id))
}

/// The screening that a key is of.
pub(super) fn screening_of(key: &str) -> Option<Vec<u8>> {
    let digits = key.strip_prefix(PREFIX)?.strip_prefix('x')?.as_bytes();
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
pub(super) fn decode(value: Bytes) -> Option<Poll> {
    let value = Value::decode(value).ok()?;
    let poll = Poll {
        screening_id: value.screening_id,
        subject_id: value.subject_id,
        next_poll: Timestamp::from_millisecond(value.next_poll).ok()?,
        attempts: value.attempts,
        create_time: Timestamp::from_millisecond(value.create_time).ok()?,
    };
    let of_subject = if poll.subject_id.is_empty() {
        0
    } else {
        poll.checksum()
    };
    let is_sound = without_subject(&poll).checksum() == value.checksum
        && of_subject == value.checksum_with_subject;
    is_sound.then_some(poll)
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
        assert_eq!(decode(value.clone()), Some(poll));
        for bit in 0..value.len() * 8 {
            let mut flipped = value.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(flipped.into()), None, "bit {bit}");
        }
    }
}
