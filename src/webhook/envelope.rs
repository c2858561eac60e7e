//! What a signed body says (Kora docs: webhooks).
//!
//! Kora documents `event` and `data` alone. What its sibling products send beside them is understood where
//! it is there: another spelling of the name, an id, a time, ids beside `data`.

use super::payload::{self, Dropped};
use crate::{
    event::{BODY_ID_PREFIX, Content, Identity, Keys, RECONCILED_ID_PREFIX, UNREADABLE},
    screening::{KoraObject, MAX_ID_BYTES, OddFields, time},
};

/// How long an event's name may be.
const MAX_NAME_BYTES: usize = 256;

/// Where the name is; the first that is there counts.
const NAME_FIELDS: [&str; 4] = ["event", "eventType", "event_type", "type"];

/// Where the event's id is; the first that is usable counts.
const ID_FIELDS: [&str; 3] = ["id", "event_id", "eventId"];

/// Where the time is; the first that is one counts.
const TIME_FIELDS: [&str; 5] = [
    "timestamp",
    "occurred_at",
    "occurredAt",
    "created_at",
    "createdAt",
];

/// A body, read.
pub(super) struct Envelope {
    /// By what it is known.
    pub(super) identity: Identity,
    /// What it says.
    pub(super) content: Content,
    /// Whether it says more, which cannot be read.
    pub(super) is_payload_dropped: bool,
    /// Whether it names a screening, a subject, a status or a decision in two ways that differ. Then it has no
    /// payload and ends nothing: it has no id of a screening or subject.
    pub(super) is_contradictory: bool,
    /// The optional fields that were left out, because they could not be read.
    pub(super) odd_fields: OddFields,
}

/// How much of a body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// All of it.
    Full,
    /// Without what can be arbitrarily large: more would take more memory than there is for it.
    Reduced,
}

/// What `data` is.
pub(super) enum Data<'a> {
    /// Absent or null.
    None,
    /// An object that repeats a key.
    Contradictory,
    /// An object.
    Object(KoraObject<'a>),
}

impl Envelope {
    /// Reads a body. Whatever it is, it becomes an event.
    pub(super) fn read(body: &[u8], detail: Detail) -> Self {
        Self::read_signed(body, detail).unwrap_or_else(|| Envelope {
            identity: Identity::of_body(body),
            content: Content {
                keys: Keys {
                    kind: UNREADABLE.to_owned(),
                    ..Keys::default()
                },
                ..Content::default()
            },
            is_payload_dropped: false,
            is_contradictory: false,
            odd_fields: OddFields::default(),
        })
    }

    fn read_signed(body: &[u8], detail: Detail) -> Option<Self> {
        let envelope = KoraObject::read(body).ok()?;
        let kind = name(&envelope)?;
        let data = Data::of(&envelope)?;
        let mut odd_fields = OddFields::default();
        if KoraObject::has_byte_order_mark(body) {
            odd_fields.note("byte_order_mark");
        }
        let mut content = ids(kind, &envelope, &data);
        content.occur_time = TIME_FIELDS.iter().find_map(|field| time(&envelope, field));
        let has_time = || TIME_FIELDS.iter().any(|field| envelope.has(field));
        if content.occur_time.is_none() && has_time() {
            odd_fields.note("timestamp");
        }
        let payload = if are_ids_plain(&content.keys, &envelope, &data) {
            payload::read(&content.keys, &envelope, &data, detail, &mut odd_fields)
        } else {
            Err(Dropped::Contradictory)
        };
        let is_contradictory = matches!(payload, Err(Dropped::Contradictory));
        if is_contradictory {
            content.keys = Keys {
                kind: content.keys.kind,
                ..Keys::default()
            };
        }
        content.is_payload_omitted = matches!(payload, Err(Dropped::TooLarge));
        let is_payload_dropped = matches!(payload, Err(Dropped::Unreadable));
        content.payload = payload.unwrap_or_default();
        Some(Envelope {
            identity: vendor_id(&envelope)
                .map_or_else(|| Identity::of_body(body), Identity::Vendor),
            content,
            is_payload_dropped,
            is_contradictory,
            odd_fields,
        })
    }
}

impl<'a> Data<'a> {
    /// None where it has a shape that no event has.
    fn of(envelope: &KoraObject<'a>) -> Option<Self> {
        let raw = envelope.fields().find(|(name, _)| *name == "data");
        match raw.map(|(_, raw)| raw.get()) {
            None | Some("null") => Some(Data::None),
            Some(text) if text.starts_with('{') => Some(match KoraObject::read(text.as_bytes()) {
                Ok(object) => Data::Object(object),
                Err(_) => Data::Contradictory,
            }),
            Some(_) => None,
        }
    }

    /// The object, where it is one.
    pub(super) fn object(&self) -> Option<&KoraObject<'a>> {
        match self {
            Data::Object(object) => Some(object),
            Data::None | Data::Contradictory => None,
        }
    }
}

fn name(envelope: &KoraObject<'_>) -> Option<String> {
    let field = NAME_FIELDS.iter().find(|field| envelope.has(field))?;
    envelope
        .text_if_any(field)
        .filter(|name| (1..=MAX_NAME_BYTES).contains(&name.len()))
}

fn vendor_id(envelope: &KoraObject<'_>) -> Option<String> {
    ID_FIELDS
        .iter()
        .filter_map(|field| id_in(envelope, field))
        .find(|id| !id.chars().any(char::is_control) && !is_made_by_gateway(id))
}

/// An id that the gateway makes itself is not to be taken by a webhook.
fn is_made_by_gateway(id: &str) -> bool {
    [BODY_ID_PREFIX, RECONCILED_ID_PREFIX]
        .iter()
        .any(|prefix| id.starts_with(prefix))
}

/// The ids that an event concerns. What an event is about may call its own id `id`.
fn ids(kind: String, envelope: &KoraObject<'_>, data: &Data<'_>) -> Content {
    let id = |names: &[&str], is_about_it: bool| {
        let named = objects(envelope, data)
            .find_map(|object| names.iter().find_map(|name| id_in(object, name)));
        let own = || id_in(data.object().filter(|_| is_about_it)?, "id");
        named.or_else(own).unwrap_or_default()
    };
    let is_about_screening = payload::is_about_screening(&kind);
    Content {
        case_id: id(&["case_id", "caseId"], kind.starts_with("case.")),
        batch_id: id(&["batch_id", "batchId"], kind.starts_with("batch.")),
        keys: Keys {
            screening_id: id(&["screening_id"], is_about_screening),
            subject_id: id(&["subject_id"], kind.starts_with("subject.")),
            kind,
        },
        ..Content::default()
    }
}

/// Where an event names what it concerns, the more exact place first.
fn objects<'o, 'a>(
    envelope: &'o KoraObject<'a>,
    data: &'o Data<'a>,
) -> impl Iterator<Item = &'o KoraObject<'a>> {
    data.object().into_iter().chain([envelope])
}

/// Whether the screening and the subject are named in one way only, in `data` and beside it. The end of a screening
/// may not name its subject in another spelling alone, or so that it cannot be read: whoever waits for the end has to
/// know whose it is.
fn are_ids_plain(keys: &Keys, envelope: &KoraObject<'_>, data: &Data<'_>) -> bool {
    let is_end = keys.ended_screening().is_some();
    let ids = [
        ("screening_id", &keys.screening_id, false),
        ("subject_id", &keys.subject_id, is_end),
    ];
    ids.into_iter().all(|(field, id, is_exact_needed)| {
        objects(envelope, data).all(|object| {
            if id.is_empty() {
                let is_empty = object.text_if_any(field).is_some_and(|id| id.is_empty());
                let is_named = object.has_in_any_spelling(field) && !is_empty;
                return object.check_twins(field).is_ok() && !(is_exact_needed && is_named);
            }
            let is_same = !object.has(field) || object.text_if_any(field).as_ref() == Some(id);
            is_same && object.twins_say(field, id).is_ok()
        })
    })
}

fn id_in(object: &KoraObject<'_>, field: &str) -> Option<String> {
    object
        .text_if_any(field)
        .filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()))
}

#[cfg(test)]
mod tests;
