//! What holds for everything that is read back from where it is kept.

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Poll, RequestContent, RequestKey, StoredRequest, StoredState, Summary, jetstream, record,
    sqlite, transfer,
};
use crate::{
    event::{Content, Identity, Keys, NewEvent},
    fuzzing::input::Input,
};

/// What is read is what was written, or nothing: messages and values on NATS, rows of the file, and files of a log
/// that moves.
pub fn stored_record(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 10 {
        0 => jetstream::properties::any_message(&mut input),
        1 => jetstream::properties::changed_message(&mut input),
        2 => jetstream::properties::any_value(&mut input),
        3 => jetstream::properties::changed_values(&mut input),
        4 => sqlite::properties::changed_event(&mut input),
        5 => sqlite::properties::changed_request(&mut input),
        6 => sqlite::properties::changed_poll(&mut input),
        7 => transfer::properties::any_file(input.rest()),
        8 => transfer::properties::changed_file(&mut input),
        _ => event_id(&mut input),
    }
}

/// An event id tells a body's hash if, and only if, it was made of one.
fn event_id(input: &mut Input<'_>) {
    let hash = input.array();
    assert_eq!(
        record::identity_of(&record::body_id(&hash, time(input))),
        Identity::Body(hash)
    );
    let id = input.text();
    match record::identity_of(&id) {
        Identity::Vendor(told) => assert_eq!(told, id),
        Identity::Body(hash) => assert!(id.starts_with(&record::body_id_prefix(&hash)), "{id}"),
    }
}

/// A copy with one bit flipped, or cut; the same where the input tells no place in it.
pub(super) fn changed(input: &mut Input<'_>, bytes: &[u8]) -> Vec<u8> {
    let (kind, at) = (input.byte(), u16::from_le_bytes(input.array()).into());
    let mut changed = bytes.to_vec();
    if kind & 8 != 0 {
        changed.truncate(at);
    } else if let Some(byte) = changed.get_mut(at) {
        *byte ^= 1 << (kind & 7);
    }
    changed
}

/// A time of a clock, to the millisecond.
pub(super) fn time(input: &mut Input<'_>) -> Timestamp {
    let milliseconds = 1 + i64::from(u32::from_le_bytes(input.array()));
    Timestamp::from_millisecond(milliseconds).expect("32 bits of milliseconds end in 1970")
}

pub(super) fn event(input: &mut Input<'_>) -> NewEvent {
    let identity = match input.byte() & 1 {
        0 => Identity::Vendor(input.text()),
        _ => Identity::Body(input.array()),
    };
    let content = Content {
        keys: Keys {
            kind: input.text(),
            screening_id: input.text(),
            subject_id: input.text(),
        },
        ..Content::default()
    };
    NewEvent::from_webhook(identity, content, input.part())
}

pub(super) fn request(input: &mut Input<'_>) -> StoredRequest {
    let state = 1 + i64::from(input.byte() % 5);
    let state = StoredState::from_number(state).expect("1 to 5 are states");
    let has_ended = !matches!(state, StoredState::InFlight | StoredState::Abandoned);
    let is_evicted = has_ended && input.byte() & 1 != 0;
    StoredRequest {
        key: RequestKey {
            caller: input.text(),
            request_id: Uuid::from_bytes(input.array()),
        },
        content: RequestContent {
            rpc: input.text(),
            fingerprint: input.array(),
        },
        attempt: Uuid::from_bytes(input.array()),
        state,
        answer: match has_ended && !is_evicted {
            true => input.part().to_vec().into(),
            false => Default::default(),
        },
        summary: match has_ended {
            true => Summary {
                result_id: input.text(),
                reason: input.text(),
            },
            false => Default::default(),
        },
        is_evicted,
        create_time: time(input),
        finish_time: has_ended.then(|| time(input)),
        is_held_elsewhere: false,
    }
}

pub(super) fn poll(input: &mut Input<'_>) -> Poll {
    Poll {
        screening_id: input.text(),
        subject_id: input.text(),
        next_poll: time(input),
        attempts: u32::from_le_bytes(input.array()),
        create_time: time(input),
    }
}
