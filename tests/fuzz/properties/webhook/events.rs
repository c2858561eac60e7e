//! What holds for every body that Kora signed.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::{
    event::{BodyHash, Identity, Keys, MAX_EVENT_BYTES, NewEvent, SCREENING_COMPLETED, UNREADABLE},
    fuzzing::{members::Members, message},
    pb::{self, event::Payload},
    screening::MAX_ID_BYTES,
    webhook::envelope::{Detail, Envelope},
};

/// Where the name of an event is; the first that is not null counts.
const NAME_FIELDS: [&str; 4] = ["event", "eventType", "event_type", "type"];

/// Whatever a body is, it becomes an event, which holds it byte for byte, which clients can read, and which decides
/// nothing that it does not say.
pub fn webhook_event(body: &[u8]) {
    let Envelope {
        identity, content, ..
    } = Envelope::read(body, Detail::Full);
    check_identity(&identity, body);
    let kept = NewEvent::from_webhook(identity, content, body);
    // Any body can be compared with one that has the same id.
    assert_eq!(BodyHash::of_raw(&kept.raw), BodyHash::of_raw(&kept.raw));
    assert!(kept.content.len() <= MAX_EVENT_BYTES);
    let whole = [&kept.content[..], &kept.raw[..]].concat();
    let event = pb::Event::decode(&whole[..]).expect("clients can read what is kept");
    assert!(event.raw_json == body, "the body is not what was kept");
    assert_eq!(event.source(), pb::EventSource::Webhook);
    check_keys(&kept.keys, &event);
    check_told(&event, body);
    message::check_time(event.occur_time.as_ref());
    message::check(&event, body);
}

fn body_identity(body: &[u8]) -> Identity {
    Identity::Body(Sha256::digest(body).into())
}

/// An id is one that Kora signed and that the gateway never makes itself.
fn check_identity(identity: &Identity, body: &[u8]) {
    let Identity::Vendor(id) = identity else {
        assert_eq!(*identity, body_identity(body));
        return;
    };
    let envelope = Members::of(json_of(body)).expect("an id is in an object");
    let names = ["id", "event_id", "eventId"];
    assert!(
        names
            .iter()
            .any(|name| envelope.text(name).as_ref() == Some(id))
    );
    assert!((1..=MAX_ID_BYTES).contains(&id.len()));
    assert!(!id.contains(|letter: char| letter.is_control()));
    assert!(!id.starts_with("sha256-") && !id.starts_with("reconciled-"));
}

/// What filters look at is what clients see.
fn check_keys(keys: &Keys, event: &pb::Event) {
    assert_eq!(keys.kind, event.r#type);
    assert_eq!(keys.screening_id, event.screening_id);
    assert_eq!(keys.subject_id, event.subject_id);
    for id in [
        &event.screening_id,
        &event.subject_id,
        &event.case_id,
        &event.batch_id,
    ] {
        assert!(id.len() <= MAX_ID_BYTES);
    }
    assert!((1..=256).contains(&event.r#type.len()));
}

fn json_of(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// The ids are named in one way only.
fn check_plain<'a>(event: &pb::Event, objects: impl Iterator<Item = &'a Members<'a>>) {
    let ids = [
        ("screening_id", &event.screening_id),
        ("subject_id", &event.subject_id),
    ];
    for object in objects {
        for (name, id) in ids.into_iter().filter(|(_, id)| !id.is_empty()) {
            assert!(object.text(name).is_none_or(|told| told == *id), "{name}");
            assert!(!object.says_otherwise(name, id), "{name}");
        }
    }
}

/// The type and the payload are those that the body tells.
fn check_told(event: &pb::Event, body: &[u8]) {
    let envelope = Members::of(json_of(body));
    let name = envelope.as_ref().and_then(|envelope| {
        let field = NAME_FIELDS
            .iter()
            .find(|field| envelope.get(field).is_some())?;
        envelope.text(field)
    });
    assert!(event.r#type == UNREADABLE || Some(&event.r#type) == name.as_ref());
    let envelope = envelope.filter(|envelope| !envelope.repeats());
    let data = envelope
        .as_ref()
        .and_then(|envelope| Members::of(envelope.get("data")?))
        .filter(|data| !data.repeats());
    check_plain(event, envelope.iter().chain(&data));
    match &event.payload {
        None => {}
        Some(Payload::ScreeningUpdate(update)) => {
            let screening = update
                .screening
                .as_ref()
                .expect("an update has a screening");
            let decided = data
                .filter(|_| event.r#type == SCREENING_COMPLETED)
                .and_then(|data| data.decided(true));
            message::check_screening(screening, decided.as_deref());
            assert_eq!(screening.screening_id, event.screening_id);
            assert_eq!(screening.subject_id, event.subject_id);
        }
        Some(Payload::MatchFound(found)) => {
            assert_eq!(found.screening_id, event.screening_id);
            assert!(data.is_some_and(|data| !data.repeats() && data.get("match").is_some()));
        }
        Some(Payload::RiskThresholdBreached(breach)) => {
            assert_eq!(breach.subject_id, event.subject_id);
            assert!((0..=1000).contains(&breach.risk_score.unwrap_or_default()));
            assert!(data.is_some_and(|data| !data.repeats()));
        }
    }
}
