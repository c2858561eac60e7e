//! What holds for every message of the stream and every value of the buckets.

use bytes::Bytes;
use uuid::Uuid;

use super::{end::End, payload, poll_value, request_value};
use crate::{
    event::{LogId, Position},
    fuzzing::input::Input,
    store::{Record, properties},
};

const LOG: LogId = LogId([1; 16]);

/// A message of any bytes: what is taken for a record is read again as the same.
pub(in crate::store) fn any_message(input: &mut Input<'_>) {
    let sequence = input.number();
    let message = Bytes::copy_from_slice(input.rest());
    let end = payload::end_as_stored(sequence, message.clone());
    if let Ok(end) = &end {
        assert_eq!(end.position.sequence, sequence);
    }
    if let Ok(read) = payload::decode(LOG, sequence, message) {
        assert_eq!(End::from(&read.record), end.expect("its format is known"));
        let written = payload::encode(&read.record, &read.before);
        let again = payload::decode(LOG, sequence, written).expect("it was taken once");
        assert!(again.record == read.record && again.before == read.before);
    }
}

/// A record as it was written, and then changed: it is read as it was, or not at all.
pub(in crate::store) fn changed_message(input: &mut Input<'_>) {
    let before = End {
        position: Position {
            sequence: input.number() >> 1,
            checksum: input.number(),
        },
        receive_time: properties::time(input),
        end_offset: input.number() >> 1,
    };
    let last = (before.position.sequence, before.end_offset);
    let (time, event) = (properties::time(input), properties::event(input));
    let record = Record::seal(LOG, last, time, event);
    let message = payload::encode(&record, &before);
    let changed = properties::changed(input, &message);
    let is_same = changed[..] == message[..];
    match payload::decode(LOG, record.sequence, changed.into()) {
        Ok(read) => assert!(read.record == record && read.before == before),
        Err(_) => assert!(!is_same, "what was written cannot be read"),
    }
    let other = LogId([2; 16]);
    assert!(payload::decode(other, record.sequence, message).is_err());
}

/// Values and keys of any bytes: what is taken is read again as the same.
pub(in crate::store) fn any_value(input: &mut Input<'_>) {
    let key = input.text();
    if let Some(id) = poll_value::screening_of(&key) {
        assert_eq!(poll_value::key(&id), key);
    }
    let value = Bytes::copy_from_slice(input.rest());
    if let Ok(poll) = poll_value::decode(value.clone()) {
        assert_eq!(poll_value::decode(poll_value::encode(&poll)), Ok(poll));
    }
    if let Ok(owned) = request_value::Owned::decode_at(&key, value) {
        let again = request_value::Owned::decode_at(&key, owned.encode());
        assert_eq!(again.expect("it was taken once"), owned);
    }
}

/// Values as they were written, and then changed: they are read as they were, or not at all.
pub(in crate::store) fn changed_values(input: &mut Input<'_>) {
    let owned = request_value::Owned {
        record: properties::request(input),
        owner: Uuid::from_bytes(input.array()),
    };
    let (key, value) = (request_value::key(&owned.record.key), owned.encode());
    let changed = properties::changed(input, &value);
    let is_same = changed[..] == value[..];
    match request_value::Owned::decode_at(&key, changed.into()) {
        Ok(read) => assert_eq!(read, owned),
        Err(_) => assert!(!is_same, "what was written cannot be read"),
    }
    let poll = properties::poll(input);
    let id = poll.screening_id.as_bytes();
    if let Some(screening) = poll_value::screening_of(&poll_value::key(id)) {
        assert_eq!(screening, id);
    }
    let value = poll_value::encode(&poll);
    let changed = properties::changed(input, &value);
    let is_same = changed[..] == value[..];
    match poll_value::decode(changed.into()) {
        Ok(read) => assert_eq!(read, poll),
        Err(_) => assert!(!is_same, "what was written cannot be read"),
    }
}
