//! A JSON object of Kora's, read without guessing.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use thiserror::Error;

use super::MAX_ID_BYTES;

/// The fields of a JSON object, each still as Kora wrote it. No name occurs twice: an object that says
/// one thing twice contradicts itself.
pub struct KoraObject<'a>(BTreeMap<String, &'a RawValue>);

/// What cannot be read, and where. Never the content, which can be personal data.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// It is no JSON object, or one that says a thing twice.
    #[error("it is not a JSON object without repeated keys (line {line}, column {column})")]
    NoObject {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A field has another shape than it should.
    #[error("`{field}` cannot be read")]
    Field {
        /// Its name.
        field: &'static str,
    },
    /// A field that has to be there is not.
    #[error("it has no `{field}`")]
    Absent {
        /// Its name.
        field: &'static str,
    },
    /// The answer is about something else.
    #[error("`{field}` is not the one that was asked for")]
    OtherId {
        /// Its name.
        field: &'static str,
    },
}

impl<'a> KoraObject<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// If it is none, or repeats a key.
    pub fn read(json: &'a [u8]) -> Result<Self, Unreadable> {
        serde_json::from_slice(json).map_err(|error| Unreadable::NoObject {
            line: error.line(),
            column: error.column(),
        })
    }

    /// The field's own object. Absent and null are the same.
    ///
    /// # Errors
    /// If it is no object, or one that repeats a key.
    pub fn object(&self, field: &'static str) -> Result<Option<Self>, Unreadable> {
        self.raw(field)
            .map(|raw| serde_json::from_str(raw.get()).map_err(|_| Unreadable::Field { field }))
            .transpose()
    }

    /// The field as a `T`. Absent and null are the same; any other shape is unreadable.
    ///
    /// # Errors
    /// If it has another shape.
    pub fn field<T: DeserializeOwned>(&self, field: &'static str) -> Result<Option<T>, Unreadable> {
        self.raw(field)
            .map(|raw| serde_json::from_str(raw.get()).map_err(|_| Unreadable::Field { field }))
            .transpose()
    }

    /// The field as a `T`, if it is there and is one. For what Kora has not documented.
    pub fn field_if_any<T: DeserializeOwned>(&self, field: &str) -> Option<T> {
        serde_json::from_str(self.raw(field)?.get()).ok()
    }

    /// The field as a text, if it is there and is one.
    pub fn text_if_any(&self, field: &str) -> Option<String> {
        self.field_if_any(field)
    }

    /// Whether the field is there and not null.
    pub fn has(&self, field: &str) -> bool {
        self.raw(field).is_some()
    }

    /// The id in `field`, else in `id` (Kora's sibling products differ in that). One that is empty, or too
    /// long for what carries it, is no id.
    ///
    /// # Errors
    /// If there is none.
    pub fn id(&self, field: &'static str) -> Result<String, Unreadable> {
        let id = match self.field(field)? {
            Some(id) => Some(id),
            None => self.field("id")?,
        };
        id.filter(|id: &String| (1..=MAX_ID_BYTES).contains(&id.len()))
            .ok_or(Unreadable::Absent { field })
    }

    /// The fields' names and values.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), *raw))
    }

    fn raw(&self, field: &str) -> Option<&'a RawValue> {
        self.0.get(field).copied().filter(|raw| raw.get() != "null")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for KoraObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueKeys(PhantomData))
    }
}

struct UniqueKeys<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for UniqueKeys<'a> {
    type Value = KoraObject<'a>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KoraObject<'a>, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            if fields.insert(name, value).is_some() {
                return Err(A::Error::custom("a key is repeated"));
            }
        }
        Ok(KoraObject(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_unreadable_however_it_is_escaped() {
        for json in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":null,"a":1}"#,
        ] {
            assert!(KoraObject::read(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn null_is_absent_and_another_shape_is_unreadable() {
        let object = KoraObject::read(br#"{"a":null,"b":7}"#).unwrap();
        assert!(!object.has("a") && object.has("b"));
        assert!(matches!(object.field::<String>("a"), Ok(None)));
        assert!(object.field::<String>("b").is_err());
        assert_eq!(object.text_if_any("b"), None);
    }

    #[test]
    fn the_id_of_its_own_name_wins() {
        let read = |json: &str| {
            KoraObject::read(json.as_bytes())
                .unwrap()
                .id("subject_id")
                .ok()
        };
        assert_eq!(read(r#"{"id":"x","subject_id":"y"}"#).as_deref(), Some("y"));
        assert_eq!(read(r#"{"id":"x"}"#).as_deref(), Some("x"));
        assert_eq!(read(r#"{"id":""}"#), None);
        assert_eq!(read(r#"{"subject_id":7,"id":"x"}"#), None);
    }
}
