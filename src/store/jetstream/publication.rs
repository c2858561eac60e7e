//! Events into the stream, one after the other: each is published for the place right after the one before.
//!
//! The next is not sent before the last one is acknowledged. The server compares sequences alone, so an event that was
//! sent ahead could land right after somebody else's event, although it was sealed to follow one of ours.

use std::{error::Error, time::Duration};

use async_nats::jetstream::{
    self, ErrorCode,
    context::{PublishError, PublishErrorKind},
    message::PublishMessage,
    publish::PublishAck,
};
use jiff::Timestamp;

use tokio::time::{Instant, timeout};

use super::{end::End, events::Events, payload, queue::Waiting, supersession::Place, turns::Turns};
use crate::store::{AppendError, Record, record::receive_time};

/// How long NATS has to acknowledge an event before it is published again. It may be stored already: the server knows
/// it again, and refuses a copy that comes late for its place.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// What became of an event.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// It is in the stream, and this is its end.
    Stored(End),
    /// The server knows its identity, from the record with this sequence.
    KnownAs(u64),
    /// Its screening had ended before.
    Ended,
    /// Something else is at its place.
    Overtaken,
    /// It was not published this time.
    NotSent,
    /// It is not in the stream, for a reason that concerns it alone.
    Refused(AppendError),
    /// It may be in the stream. With the cause, for the operator.
    Failed(String),
}

/// Publishes events after `head`, in their order, until one of them fails or is overtaken, or it is another gateway's
/// turn.
pub(super) async fn publish(
    events: &Events,
    turns: &Turns,
    head: End,
    now: Timestamp,
    waiting: &[Waiting],
    places: &[Place],
) -> Vec<Fate> {
    let mut fates = vec![Fate::NotSent; waiting.len()];
    let mut last = head;
    for ((waiting, place), fate) in waiting.iter().zip(places).zip(&mut fates) {
        if turns.is_paused() {
            break;
        }
        *fate = publish_one(events, last, now, waiting, place).await;
        match fate {
            Fate::Stored(end) => last = *end,
            Fate::KnownAs(_) | Fate::Ended | Fate::Refused(_) => {}
            Fate::Overtaken | Fate::Failed(_) | Fate::NotSent => break,
        }
    }
    fates
}

async fn publish_one(
    events: &Events,
    last: End,
    now: Timestamp,
    waiting: &Waiting,
    place: &Place,
) -> Fate {
    if place.is_taken {
        return Fate::Ended;
    }
    if waiting.answer.is_closed() {
        return Fate::NotSent;
    }
    let (end, message) = seal(events, last, now, waiting, place);
    let sent = Instant::now();
    let fate = send(events, end, place, message).await;
    match fate {
        Fate::Stored(_) | Fate::KnownAs(_) => events.connection.write_succeeded(),
        Fate::Failed(_) => events.connection.write_failed(sent).await,
        Fate::Overtaken | Fate::Refused(_) | Fate::Ended | Fate::NotSent => {}
    }
    fate
}

async fn send(events: &Events, end: End, place: &Place, message: PublishMessage) -> Fate {
    let jetstream = &events.connection.jetstream;
    match jetstream.send_publish(place.subject.clone(), message).await {
        Ok(acknowledgement) => match timeout(ACK_TIMEOUT, acknowledgement).await {
            Ok(Ok(acknowledged)) => fate(events, end, &acknowledged),
            Ok(Err(error)) => failed(events, &error),
            Err(_) => Fate::Failed("NATS did not acknowledge an event".to_owned()),
        },
        Err(error) => failed(events, &error),
    }
}

/// The record of an event right after `last`, as a message for that place alone.
fn seal(
    events: &Events,
    last: End,
    now: Timestamp,
    waiting: &Waiting,
    place: &Place,
) -> (End, PublishMessage) {
    let receive_time = receive_time(now, last.receive_time, &waiting.event.identity);
    let record = Record::seal(
        events.id,
        (last.position.sequence, last.end_offset),
        receive_time,
        place.event(&waiting.event),
    );
    let message = PublishMessage::build()
        .payload(payload::encode(&record, &last))
        .message_id(waiting.id.to_string())
        .expected_stream(&events.names.events)
        .expected_last_sequence(last.position.sequence);
    ((&record).into(), message)
}

fn fate(events: &Events, end: End, acknowledged: &PublishAck) -> Fate {
    match (acknowledged.duplicate, acknowledged.sequence) {
        (false, sequence) if sequence == end.position.sequence => Fate::Stored(end),
        (false, _) => {
            events.break_for("an event was stored at another place than it was published for");
            Fate::Failed("the log is broken".to_owned())
        }
        // The server knows the identity of something that it has not stored.
        (true, 0) => Fate::Failed("NATS is storing the same event at this moment".to_owned()),
        (true, sequence) => Fate::KnownAs(sequence),
    }
}

fn failed(events: &Events, error: &PublishError) -> Fate {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => Fate::Overtaken,
        // It fitted when it was queued: max_payload was lowered since, and whoever repeats it has it cut anew.
        PublishErrorKind::MaxPayloadExceeded => Fate::Refused(AppendError::Unavailable),
        PublishErrorKind::Other if exceeds_stream_limit(error) => {
            let log = &events.names.events;
            tracing::error!(
                log,
                "an event is larger than max_msg_size of the stream allows"
            );
            Fate::Refused(AppendError::TooLarge)
        }
        _ => Fate::Failed(format!("an event could not be published: {error}")),
    }
}

/// Whether somebody gave the stream a `max_msg_size` since it was opened.
fn exceeds_stream_limit(error: &PublishError) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &jetstream::Error| {
        cause.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
    })
}
