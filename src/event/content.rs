//! What an event says, and its form on the wire.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};
use sha2::{Digest, Sha256};

use super::{Keys, fit::fit_event};
use crate::{
    pb,
    screening::{
        Cuts, JsonObject, MAX_MESSAGE_BYTES, Match, Part, RiskBand, Screening, object_to_wire,
        risk_band_to_wire, timestamp_to_wire,
    },
};

/// How large an event may be without its raw body. Of one that is larger, parts of the payload are left out.
pub const MAX_EVENT_BYTES: usize = MAX_MESSAGE_BYTES;

/// The number of `Event.raw_json`.
pub const RAW_JSON_TAG: u32 = 11;

/// What the event ids begin with that are made of a body's hash. No id of Kora's may begin so.
pub const BODY_ID_PREFIX: &str = "sha256-";

/// What the event ids begin with that the gateway made for what it read from Kora. No id of Kora's may begin so.
pub const RECONCILED_ID_PREFIX: &str = "reconciled-";

/// By what an event is known when it comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The id that Kora signed, or that the gateway made for what it read from Kora.
    Vendor(String),
    /// The SHA-256 of the body, where Kora gave no id.
    Body([u8; 32]),
}

/// What an event says. Anything but the type can be missing.
#[derive(Clone, Default)]
pub struct Content {
    /// The type, and the ids that a filter looks at.
    pub keys: Keys,
    /// When it happened.
    pub occur_time: Option<Timestamp>,
    /// The case it concerns.
    pub case_id: String,
    /// The batch it concerns.
    pub batch_id: String,
    /// What the types with a message of their own say.
    pub payload: Option<Payload>,
    /// Whether that is missing because reading it would have taken too much memory.
    pub is_payload_omitted: bool,
}

/// The content of the types that have a message of their own.
#[derive(Clone)]
pub enum Payload {
    /// News of a screening.
    Screening(Box<Screening>),
    /// A new match.
    Match {
        /// The screening; empty where the event does not say.
        screening_id: String,
        /// The match.
        found: Match,
    },
    /// A subject's risk passed a threshold.
    RiskThreshold {
        /// The subject; empty where the event does not say.
        subject_id: String,
        /// 0 to 1000.
        risk_score: Option<i32>,
        /// The risk's band.
        risk_band: Option<RiskBand>,
        /// The whole `data` object.
        fields: JsonObject,
    },
}

/// An event that is ready to be kept: everything but what the log adds (its id, where the identity does not
/// give it, and the time) is encoded.
#[derive(Clone)]
pub struct NewEvent {
    /// By what it is known.
    pub identity: Identity,
    /// What filters look at.
    pub keys: Keys,
    /// `Event` without `event_id`, `receive_time` and `raw_json`.
    pub content: Bytes,
    /// The exact body of the webhook, or of Kora's answer, encoded as the field `Event.raw_json`.
    pub raw: Bytes,
    /// What was left out of it because it was too large.
    pub cuts: Cuts,
}

impl Identity {
    /// What a body without an id is known by.
    pub fn of_body(body: &[u8]) -> Self {
        Identity::Body(Sha256::digest(body).into())
    }
}

impl NewEvent {
    /// Encodes an event that came by webhook with this body.
    pub fn from_webhook(identity: Identity, content: Content, body: &[u8]) -> Self {
        Self::encode(identity, content, pb::EventSource::Webhook, body)
    }

    /// Encodes what Kora answered, with this body, when the gateway asked for the screening of the keys.
    pub fn reconciled(content: Content, body: &[u8]) -> Self {
        let id = reconciled_id(&content.keys.screening_id);
        let source = pb::EventSource::Reconciled;
        Self::encode(Identity::Vendor(id), content, source, body)
    }

    fn encode(identity: Identity, content: Content, source: pb::EventSource, body: &[u8]) -> Self {
        let keys = content.keys.clone();
        let mut event = pb::Event {
            source: source.into(),
            ..content.into()
        };
        let mut cuts = fit_event(&mut event, MAX_EVENT_BYTES);
        if event.payload_omitted {
            cuts.add(Part::Payload);
        }
        NewEvent {
            identity,
            keys,
            content: event.encode_to_vec().into(),
            raw: raw_json(body),
            cuts,
        }
    }

    /// Makes it fit into a store that takes so many bytes of an event, and says what was left out for that. The body of
    /// a RECONCILED event goes first; that of a webhook, which Kora signed, never goes.
    pub fn fit(&mut self, max_bytes: usize) -> Cuts {
        let mut cuts = Cuts::default();
        if self.size() <= max_bytes {
            return cuts;
        }
        let Ok(mut event) = pb::Event::decode(&self.content[..]) else {
            return cuts;
        };
        if event.source() == pb::EventSource::Reconciled {
            self.raw = raw_json(&[]);
            event.raw_json_omitted = true;
            cuts.add(Part::RawJson);
        }
        let room = max_bytes.saturating_sub(self.raw.len());
        cuts.extend(fit_event(&mut event, room));
        self.content = event.encode_to_vec().into();
        cuts
    }

    /// The same, as one that replaces another.
    #[must_use]
    pub fn superseding(self, event_id: &str) -> Self {
        let supersedes = pb::Event {
            supersedes_event_id: event_id.to_owned(),
            ..Default::default()
        };
        // Parts of a message that are laid end to end make one message.
        let content = [self.content.to_vec(), supersedes.encode_to_vec()].concat();
        NewEvent {
            content: content.into(),
            ..self
        }
    }

    /// How much it takes.
    pub fn size(&self) -> usize {
        self.content.len() + self.raw.len()
    }
}

/// The id of the one event of a screening that the gateway read from Kora itself.
pub fn reconciled_id(screening_id: &str) -> String {
    let hash = Sha256::digest(screening_id);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{RECONCILED_ID_PREFIX}{hex}")
}

impl From<Content> for pb::Event {
    fn from(content: Content) -> Self {
        pb::Event {
            r#type: content.keys.kind,
            occur_time: content.occur_time.map(timestamp_to_wire),
            screening_id: content.keys.screening_id,
            subject_id: content.keys.subject_id,
            case_id: content.case_id,
            batch_id: content.batch_id,
            payload: content.payload.map(pb::event::Payload::from),
            payload_omitted: content.is_payload_omitted,
            ..Default::default()
        }
    }
}

impl From<Payload> for pb::event::Payload {
    fn from(payload: Payload) -> Self {
        match payload {
            Payload::Screening(screening) => {
                pb::event::Payload::ScreeningUpdate(pb::ScreeningUpdate {
                    screening: Some((*screening).into()),
                })
            }
            Payload::Match {
                screening_id,
                found,
            } => pb::event::Payload::MatchFound(pb::MatchFound {
                screening_id,
                r#match: Some(found.into()),
            }),
            Payload::RiskThreshold {
                subject_id,
                risk_score,
                risk_band,
                fields,
            } => {
                let (risk_band, risk_band_code) = risk_band_to_wire(risk_band);
                pb::event::Payload::RiskThresholdBreached(pb::RiskThresholdBreached {
                    subject_id,
                    risk_score,
                    risk_band,
                    risk_band_code,
                    fields: Some(object_to_wire(fields)),
                    fields_omitted: false,
                })
            }
        }
    }
}

/// The body as the field of an event; parts of a message that are laid end to end make one message.
fn raw_json(body: &[u8]) -> Bytes {
    let size = key_len(RAW_JSON_TAG) + encoded_len_varint(body.len() as u64) + body.len();
    let mut field = Vec::with_capacity(size);
    encode_key(RAW_JSON_TAG, WireType::LengthDelimited, &mut field);
    encode_varint(body.len() as u64, &mut field);
    field.extend_from_slice(body);
    field.into()
}

impl fmt::Debug for Content {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Content")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Payload::Screening(_) => "Screening(..)",
            Payload::Match { .. } => "Match(..)",
            Payload::RiskThreshold { .. } => "RiskThreshold(..)",
        })
    }
}

impl fmt::Debug for NewEvent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("NewEvent")
            .field("identity", &self.identity)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn content(kind: &str) -> Content {
        Content {
            keys: Keys {
                kind: kind.to_owned(),
                ..Keys::default()
            },
            ..Content::default()
        }
    }

    #[test]
    fn the_parts_laid_end_to_end_are_the_event() {
        let body = br#"{"event":"case.closed"}"#;
        let event = NewEvent::from_webhook(Identity::Body([7; 32]), content("case.closed"), body);
        let whole = [&event.content[..], &event.raw[..]].concat();
        let read = pb::Event::decode(&whole[..]).unwrap();
        assert_eq!(read.r#type, "case.closed");
        assert_eq!(read.raw_json, body);
        assert_eq!(read.source(), pb::EventSource::Webhook);
    }

    #[test]
    fn what_makes_an_event_too_large_for_clients_is_left_out() {
        let of_size = |size: usize| {
            let fields = json!({ "text": "x".repeat(size) });
            let mut content = content("risk.threshold_breached");
            content.payload = Some(Payload::RiskThreshold {
                subject_id: "subj_1".to_owned(),
                risk_score: None,
                risk_band: None,
                fields: serde_json::from_value(fields).unwrap(),
            });
            NewEvent::from_webhook(Identity::Body([0; 32]), content, b"")
        };
        let fits = of_size(MAX_EVENT_BYTES / 2);
        assert!(
            pb::Event::decode(&fits.content[..])
                .unwrap()
                .payload
                .is_some()
        );
        let large = of_size(MAX_EVENT_BYTES);
        let read = pb::Event::decode(&large.content[..]).unwrap();
        let Some(pb::event::Payload::RiskThresholdBreached(breach)) = read.payload else {
            panic!("no payload");
        };
        assert!(breach.fields.is_none() && breach.fields_omitted);
        assert_eq!(breach.subject_id, "subj_1");
        assert_eq!(large.cuts.to_string(), "event_fields");
        assert_eq!(read.r#type, "risk.threshold_breached");
    }

    #[test]
    fn a_store_with_less_room_gets_a_webhook_with_its_body() {
        let body = vec![b'x'; 1000];
        let fields = json!({ "text": "x".repeat(100) });
        let mut content = content("screening.match_found");
        content.payload = Some(Payload::Match {
            screening_id: "scr_1".to_owned(),
            found: Match::from_kora(fields.as_object().unwrap().clone()),
        });
        let mut event = NewEvent::from_webhook(Identity::Body([0; 32]), content, &body);
        let whole = event.size();
        assert!(event.fit(whole).is_empty());
        let cuts = event.fit(whole - 1);
        assert_eq!(cuts.to_string(), "match_fields");
        assert!(event.raw.ends_with(&body));
        let cuts = event.fit(event.raw.len());
        assert_eq!(cuts.to_string(), "match_fields,payload");
        let read = pb::Event::decode(&event.content[..]).unwrap();
        assert!(read.payload.is_none() && read.payload_omitted);
        assert!(event.raw.ends_with(&body));
    }

    #[test]
    fn a_store_with_less_room_gets_a_reconciled_event_without_its_body() {
        let mut event = NewEvent::reconciled(content("screening.completed"), &[b'x'; 1000]);
        let cuts = event.fit(900);
        assert_eq!(cuts.to_string(), "raw_json");
        let whole = [&event.content[..], &event.raw[..]].concat();
        let read = pb::Event::decode(&whole[..]).unwrap();
        assert!(read.raw_json.is_empty() && read.raw_json_omitted);
        assert_eq!(read.r#type, "screening.completed");
    }
}
