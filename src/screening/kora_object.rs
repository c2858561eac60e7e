//! A JSON object of Kora's, read without guessing.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};
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
    /// A twin of a field has another value than the field.
    #[error("`{field}` is there twice, in two spellings with two values")]
    Contradicted {
        /// The field's own name.
        field: &'static str,
    },
}

/// What a text file from Windows may begin with, and JSON may not.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl<'a> KoraObject<'a> {
    /// Reads an object. A byte order mark before it is skipped.
    ///
    /// # Errors
    /// If it is none, or repeats a key.
    pub fn read(json: &'a [u8]) -> Result<Self, Unreadable> {
        serde_json::from_slice(Self::without_byte_order_mark(json)).map_err(|error| {
            Unreadable::NoObject {
                line: error.line(),
                column: error.column(),
            }
        })
    }

    /// The JSON after the byte order mark, where there is one.
    pub fn without_byte_order_mark(json: &[u8]) -> &[u8] {
        json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json)
    }

    /// Whether a byte order mark stands before the JSON.
    pub fn has_byte_order_mark(json: &[u8]) -> bool {
        json.starts_with(BYTE_ORDER_MARK)
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

    /// The elements of the field, each still as Kora wrote it, if it is there and is a list.
    pub fn list_if_any(&self, field: &str) -> Option<Vec<&'a RawValue>> {
        serde_json::from_str(self.raw(field)?.get()).ok()
    }

    /// The object without a field that is a list, and how many elements that has. What is no list counts as one.
    pub fn without_list(&self, field: &str) -> (Self, u32) {
        let count = match self.list_if_any(field) {
            Some(elements) => elements.len(),
            None => usize::from(self.has(field)),
        };
        let rest = self.0.iter().filter(|(name, _)| *name != field);
        let rest = rest.map(|(name, raw)| (name.clone(), *raw)).collect();
        (KoraObject(rest), u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Whether the field is there and is an object, though it may repeat a key.
    pub fn is_object(&self, field: &str) -> bool {
        self.raw(field)
            .is_some_and(|raw| raw.get().starts_with('{'))
    }

    /// Whether the field is there and not null.
    pub fn has(&self, field: &str) -> bool {
        self.raw(field).is_some()
    }

    /// The id in `field`, else in `id` (Kora's sibling products differ in that). One that is empty, or too
    /// long for what carries it, is no id.
    ///
    /// # Errors
    /// If there is none, or a twin of `field` names another.
    pub fn id(&self, field: &'static str) -> Result<String, Unreadable> {
        let id = match self.field(field)? {
            Some(id) => Some(id),
            None => self.field("id")?,
        };
        let id = id
            .filter(|id: &String| (1..=MAX_ID_BYTES).contains(&id.len()))
            .ok_or(Unreadable::Absent { field })?;
        self.twins_say(field, &id)?;
        Ok(id)
    }

    /// The values of the field's twins: members whose names equal the field's once case and `_` are dropped. A reader
    /// that is more lenient than this one might take any of them for the field, so a twin may contradict the field
    /// and never supply it. Null says nothing.
    pub fn twins(&self, field: &str) -> impl Iterator<Item = &'a RawValue> {
        self.fields()
            .filter(move |(name, _)| *name != field && is_twin(name, field))
            .map(|(_, raw)| raw)
            .filter(|raw| raw.get() != "null")
    }

    /// Whether the field, or a twin of it, is there and not null.
    pub fn has_in_any_spelling(&self, field: &str) -> bool {
        self.has(field) || self.twins(field).next().is_some()
    }

    /// Checks that every twin of a field that holds a text says this text.
    ///
    /// # Errors
    /// `Contradicted`, if one does not.
    pub fn twins_say(&self, field: &'static str, text: &str) -> Result<(), Unreadable> {
        let says = |raw: &RawValue| {
            serde_json::from_str::<String>(raw.get()).is_ok_and(|twin| twin == text)
        };
        match self.twins(field).all(says) {
            true => Ok(()),
            false => Err(Unreadable::Contradicted { field }),
        }
    }

    /// Checks that a field which is there has no twin with another value. A field that is not there has nothing that
    /// a twin could contradict.
    ///
    /// # Errors
    /// `Contradicted`, if there is one.
    pub fn check_twins(&self, field: &'static str) -> Result<(), Unreadable> {
        let Some(value) = self.raw(field) else {
            return Ok(());
        };
        match self.twins(field).all(|twin| is_same_json(value, twin)) {
            true => Ok(()),
            false => Err(Unreadable::Contradicted { field }),
        }
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

fn is_twin(name: &str, field: &str) -> bool {
    let letters = |name: &str| {
        // To upper case first: some letters have no lower case but share their upper case with one that has.
        name.chars()
            .filter(|letter| *letter != '_')
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    letters(name) == letters(field)
}

/// Whether two values are equal, whatever their blanks and the order of their members. An object that repeats a key
/// equals nothing but its own text.
fn is_same_json(one: &RawValue, other: &RawValue) -> bool {
    fn value(raw: &RawValue) -> Option<Value> {
        let repeats_a_key =
            raw.get().starts_with('{') && KoraObject::read(raw.get().as_bytes()).is_err();
        serde_json::from_str(raw.get())
            .ok()
            .filter(|_| !repeats_a_key)
    }
    one.get() == other.get() || value(one).is_some_and(|one| Some(one) == value(other))
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

    #[test]
    fn a_twin_may_contradict_and_never_supplies() {
        let contradicts = |json: &str| {
            let object = KoraObject::read(json.as_bytes()).unwrap();
            let checked = object.check_twins("subject_id");
            matches!(checked, Err(Unreadable::Contradicted { .. }))
        };
        for name in [
            "subjectId",
            "SUBJECT_ID",
            "subjectid",
            "_subject__id_",
            "\u{17f}ubjectId",
        ] {
            assert!(
                contradicts(&format!(r#"{{"subject_id":"a","{name}":"b"}}"#)),
                "{name}"
            );
            assert!(
                !contradicts(&format!(r#"{{"subject_id":"a","{name}":"a"}}"#)),
                "{name}"
            );
            assert!(
                !contradicts(&format!(r#"{{"subject_id":"a","{name}":null}}"#)),
                "{name}"
            );
            let alone = format!(r#"{{"id":"x","{name}":"b"}}"#);
            let alone = KoraObject::read(alone.as_bytes()).unwrap();
            assert!(!alone.has("subject_id") && alone.has_in_any_spelling("subject_id"));
            assert!(alone.id("subject_id").is_err(), "{name}");
        }
        for other in ["subject-id", "subject", "subject_ids"] {
            assert!(
                !contradicts(&format!(r#"{{"subject_id":"a","{other}":"b"}}"#)),
                "{other}"
            );
        }
        assert!(contradicts(r#"{"subject_id":"a","subjectId":["a"]}"#));
    }

    #[test]
    fn equal_objects_are_equal_whatever_their_order_unless_they_repeat_a_key() {
        let is_same = |twin: &str| {
            let json = format!(r#"{{"decision":{{"outcome":"BLOCK","x":1}},"Decision":{twin}}}"#);
            let object = KoraObject::read(json.as_bytes()).unwrap();
            object.check_twins("decision").is_ok()
        };
        assert!(is_same(r#"{ "x": 1, "outcome": "BLOCK" }"#));
        assert!(!is_same(r#"{"outcome":"APPROVE","x":1}"#));
        assert!(!is_same(r#"{"outcome":"APPROVE","outcome":"BLOCK","x":1}"#));
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let json = b"\xef\xbb\xbf{\"a\":1}";
        assert!(KoraObject::has_byte_order_mark(json));
        assert!(KoraObject::read(json).unwrap().has("a"));
    }
}
