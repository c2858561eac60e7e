//! Whether two bodies say the same, and how events with one id and different bodies are told apart.
//!
//! Kora does not document that its `id` names an event: it may name the resource that the event is about. So an
//! event is a duplicate only if its body equals the kept one as a JSON value. The hash is SHA-256 over the canonical
//! form of the body, so that equal values have equal hashes:
//!
//! - no whitespace, and no byte order mark;
//! - the members of an object in the order of their names' UTF-8 bytes;
//! - names and strings with the shortest escapes that JSON allows (`é` is never `\u00e9`);
//! - numbers, `true`, `false` and `null` as they were written. `1`, `1.0` and `1e0` differ: comparing them by value
//!   needs arbitrary precision, and delivering an event twice is better than losing one.
//!
//! A body without a canonical form is hashed byte by byte: one that is not JSON, repeats a name in an object, has a
//! string that is not Unicode, or is nested deeper than [`MAX_DEPTH`].

use std::fmt::Write;

use prost::encoding::{decode_key, decode_varint};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::screening::KoraObject;

/// How many levels of objects and arrays are canonicalized. Each level reads its content once more.
const MAX_DEPTH: usize = 32;

/// How many bytes of the hash an id gets.
const ID_HASH_BYTES: usize = 8;

/// The SHA-256 over the canonical form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHash([u8; 32]);

impl BodyHash {
    /// Hashes a body that is encoded as the field `Event.raw_json`.
    pub fn of_raw(raw: &[u8]) -> Self {
        let body = body_of_raw(raw);
        let mut canonical = Sha256::new();
        let hash = match canonicalize_body(body, &mut canonical) {
            Some(()) => canonical.finalize(),
            None => Sha256::digest(body),
        };
        BodyHash(hash.into())
    }

    /// The event id of this body where an event with another body has `id`.
    pub fn qualify(&self, id: &str) -> String {
        let mut qualified = format!("{id}~");
        for byte in &self.0[..ID_HASH_BYTES] {
            write!(qualified, "{byte:02x}").expect("writing to a string does not fail");
        }
        qualified
    }
}

/// Whether two bodies, encoded as the field `Event.raw_json`, are equal as JSON values.
pub fn are_bodies_equal(one: &[u8], other: &[u8]) -> bool {
    one == other || BodyHash::of_raw(one) == BodyHash::of_raw(other)
}

/// The body without the tag and the length that precede it as a field.
fn body_of_raw(raw: &[u8]) -> &[u8] {
    let mut body = raw;
    match decode_key(&mut body).and_then(|_| decode_varint(&mut body)) {
        Ok(_) => body,
        Err(_) => raw,
    }
}

fn canonicalize_body(body: &[u8], out: &mut Sha256) -> Option<()> {
    let json: &RawValue = serde_json::from_slice(KoraObject::without_byte_order_mark(body)).ok()?;
    canonicalize(json.get(), MAX_DEPTH, out)
}

/// Feeds the canonical form to the hash; `None` if there is none.
fn canonicalize(json: &str, depth: usize, out: &mut Sha256) -> Option<()> {
    match json.as_bytes().first()? {
        b'{' => {
            let depth = depth.checked_sub(1)?;
            let object = KoraObject::read(json.as_bytes()).ok()?;
            out.update("{");
            for (at, (name, value)) in object.fields().enumerate() {
                if at > 0 {
                    out.update(",");
                }
                out.update(serde_json::to_string(name).ok()?);
                out.update(":");
                canonicalize(value.get(), depth, out)?;
            }
            out.update("}");
        }
        b'[' => {
            let depth = depth.checked_sub(1)?;
            let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            out.update("[");
            for (at, element) in elements.into_iter().enumerate() {
                if at > 0 {
                    out.update(",");
                }
                canonicalize(element.get(), depth, out)?;
            }
            out.update("]");
        }
        b'"' => {
            let text: String = serde_json::from_str(json).ok()?;
            out.update(serde_json::to_string(&text).ok()?);
        }
        _ => out.update(json),
    }
    Some(())
}
