//! A request record as a value of the bucket.

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::{names::hex, unreadable::Unreadable};
use crate::store::{RequestContent, RequestKey, StoredRequest, StoredState, Summary};

/// The number of this form of a value. The record's own checksum has that of the record.
const FORMAT: u32 = 1;

/// A record, and the process that begun it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) record: StoredRequest,
    pub(super) owner: Uuid,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "bytes", tag = "2")]
    owner: Bytes,
    #[prost(string, tag = "3")]
    caller: String,
    #[prost(bytes = "bytes", tag = "4")]
    request_id: Bytes,
    #[prost(string, tag = "5")]
    rpc: String,
    #[prost(bytes = "bytes", tag = "6")]
    fingerprint: Bytes,
    #[prost(bytes = "bytes", tag = "7")]
    attempt: Bytes,
    #[prost(int64, tag = "8")]
    state: i64,
    #[prost(bytes = "bytes", tag = "9")]
    answer: Bytes,
    /// In milliseconds since 1970.
    #[prost(int64, tag = "10")]
    create_time: i64,
    /// The same.
    #[prost(int64, optional, tag = "11")]
    finish_time: Option<i64>,
    /// XXH3 over the record's own checksum and its owner.
    #[prost(fixed64, tag = "12")]
    checksum: u64,
    #[prost(string, tag = "13")]
    result_id: String,
    #[prost(string, tag = "14")]
    reason: String,
    #[prost(bool, tag = "15")]
    is_evicted: bool,
}

/// What every version reads of a value.
#[derive(Clone, PartialEq, Message)]
struct Format {
    #[prost(uint32, tag = "1")]
    format: u32,
}

/// What the keys of requests begin with.
pub(super) const PREFIX: &str = "request.";

/// The key of a request. A caller's name can have any letters.
pub(super) fn key(key: &RequestKey) -> String {
    format!("{PREFIX}{}.{}", hex(key.caller.as_bytes()), key.request_id)
}

/// What matches the keys of all requests of a scope.
pub(super) fn any_in(scope: &str) -> String {
    format!("{PREFIX}{}.*", hex(scope.as_bytes()))
}

impl Owned {
    pub(super) fn encode(&self) -> Bytes {
        let bytes_of = |id: Uuid| Bytes::copy_from_slice(id.as_bytes());
        let record = &self.record;
        let value = Value {
            format: FORMAT,
            owner: bytes_of(self.owner),
            caller: record.key.caller.clone(),
            request_id: bytes_of(record.key.request_id),
            rpc: record.content.rpc.clone(),
            fingerprint: Bytes::copy_from_slice(&record.content.fingerprint),
            attempt: bytes_of(record.attempt),
            state: record.state.number(),
            answer: record.answer.clone(),
            create_time: record.create_time.as_millisecond(),
            finish_time: record.finish_time.map(Timestamp::as_millisecond),
            checksum: self.checksum(),
            result_id: record.summary.result_id.clone(),
            reason: record.summary.reason.clone(),
            is_evicted: record.is_evicted,
        };
        value.encode_to_vec().into()
    }

    /// The record that was asked for by this key, if the value is what was written.
    pub(super) fn decode(key: &RequestKey, value: Bytes) -> Result<Self, Unreadable> {
        Self::decode_at(&self::key(key), value)
    }

    /// The record of a key of the bucket, if the value is what was written.
    pub(super) fn decode_at(key: &str, value: Bytes) -> Result<Self, Unreadable> {
        let format = Format::decode(value.clone())
            .map_err(|_| Unreadable::Damaged)?
            .format;
        if format > FORMAT {
            return Err(Unreadable::Newer { format });
        }
        let value = Value::decode(value).map_err(|_| Unreadable::Damaged)?;
        let checksum = value.checksum;
        let owned = value.into_owned().ok_or(Unreadable::Damaged)?;
        if owned.checksum() == checksum && self::key(&owned.record.key) == key {
            Ok(owned)
        } else {
            Err(Unreadable::Damaged)
        }
    }

    fn checksum(&self) -> u64 {
        let record = self.record.checksum().to_le_bytes();
        xxh3_64(&[&record, &self.owner.as_bytes()[..]].concat())
    }
}

impl Value {
    /// `None` if a part is none.
    fn into_owned(self) -> Option<Owned> {
        if self.format != FORMAT {
            return None;
        }
        let record = StoredRequest {
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
        };
        Some(Owned {
            record,
            owner: Uuid::from_slice(&self.owner).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_seen() {
        let key = RequestKey {
            caller: "caller".to_owned(),
            request_id: Uuid::from_u128(7),
        };
        let owned = Owned {
            record: StoredRequest {
                key: key.clone(),
                content: RequestContent {
                    rpc: "Screen".to_owned(),
                    fingerprint: [3; 32],
                },
                attempt: Uuid::from_u128(8),
                state: StoredState::Succeeded,
                answer: Bytes::from_static(b"answer"),
                summary: Summary {
                    result_id: "scr_1".to_owned(),
                    reason: String::new(),
                },
                is_evicted: false,
                create_time: Timestamp::from_millisecond(1_700_000_000_000).unwrap(),
                finish_time: Some(Timestamp::from_millisecond(1_700_000_000_001).unwrap()),
                is_held_elsewhere: false,
            },
            owner: Uuid::from_u128(9),
        };
        let value = owned.encode();
        assert_eq!(Owned::decode(&key, value.clone()).unwrap(), owned);
        for bit in 0..value.len() * 8 {
            let mut flipped = value.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Owned::decode(&key, flipped.into()).is_err(), "bit {bit}");
        }
        let other = RequestKey {
            request_id: Uuid::from_u128(6),
            ..key
        };
        assert!(Owned::decode(&other, value).is_err(), "another's key");
    }
}
