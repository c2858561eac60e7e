//! Fields of Kora's that the API has no typed field for: JSON objects here, `google.protobuf.Struct` on
//! the wire.

use prost_types::{ListValue, Struct, Value as WireValue, value::Kind};
use serde_json::{Map, Number, Value};

/// A JSON object.
pub type JsonObject = Map<String, Value>;

/// How deep an object may nest on the wire. Every level costs three levels of protobuf messages, and
/// clients refuse a message with more than 100. What is deeper travels as a string of JSON.
const MAX_WIRE_DEPTH: usize = 24;

/// Whole numbers up to here are exact in a double, and so are sent to Kora without a fraction.
const MAX_EXACT_WHOLE: f64 = 9_007_199_254_740_992.0;

/// The typed fields of a request for a screening: names that its `additional_fields` may not have.
pub const SCREEN_FIELDS: [&str; 9] = [
    "subject",
    "subject_id",
    "mode",
    "purpose",
    "checks",
    "request_id",
    "on_timeout",
    "additional_fields",
    "include_raw_json",
];

/// The same of a subject's profile.
pub const SUBJECT_FIELDS: [&str; 8] = [
    "type",
    "name",
    "date_of_birth",
    "nationality",
    "country",
    "identifiers",
    "external_id",
    "additional_fields",
];

/// A value that JSON cannot hold: a number that is not finite, or a value without a kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// Whether two JSON names mean one field to a lenient reader: Kora might match names without regard to
/// case, or in camel case, and then a second spelling would replace a validated field.
pub fn names_the_same_field(one: &str, other: &str) -> bool {
    let letters = |name: &str| {
        name.chars()
            .filter(|letter| !matches!(letter, '_' | '-'))
            .flat_map(char::to_lowercase)
            .collect::<String>()
    };
    letters(one) == letters(other)
}

pub(super) fn object_from_wire(wire: Struct) -> Result<JsonObject, NotJson> {
    wire.fields
        .into_iter()
        .map(|(name, value)| Ok((name, value_from_wire(value)?)))
        .collect()
}

fn value_from_wire(wire: WireValue) -> Result<Value, NotJson> {
    Ok(match wire.kind.ok_or(NotJson)? {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(truth) => Value::Bool(truth),
        Kind::StringValue(text) => Value::String(text),
        Kind::NumberValue(number) => Value::Number(number_from_wire(number)?),
        Kind::StructValue(object) => Value::Object(object_from_wire(object)?),
        Kind::ListValue(list) => Value::Array(
            list.values
                .into_iter()
                .map(value_from_wire)
                .collect::<Result<_, _>>()?,
        ),
    })
}

fn number_from_wire(number: f64) -> Result<Number, NotJson> {
    if number.fract() == 0.0 && number.abs() <= MAX_EXACT_WHOLE {
        Ok(Number::from(number as i64))
    } else {
        Number::from_f64(number).ok_or(NotJson)
    }
}

/// The object as a message; what is nested too deep for clients becomes text.
pub fn object_to_wire(object: JsonObject) -> Struct {
    struct_at_depth(object, 1)
}

fn struct_at_depth(object: JsonObject, depth: usize) -> Struct {
    Struct {
        fields: object
            .into_iter()
            .map(|(name, value)| (name, value_to_wire(value, depth)))
            .collect(),
    }
}

fn value_to_wire(value: Value, depth: usize) -> WireValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(truth),
        Value::String(text) => Kind::StringValue(text),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        nested if depth >= MAX_WIRE_DEPTH => Kind::StringValue(nested.to_string()),
        Value::Object(object) => Kind::StructValue(struct_at_depth(object, depth + 1)),
        Value::Array(values) => Kind::ListValue(ListValue {
            values: values
                .into_iter()
                .map(|value| value_to_wire(value, depth + 1))
                .collect(),
        }),
    };
    WireValue { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;
    use serde_json::json;

    use super::*;
    use crate::pb;

    fn object(value: Value) -> JsonObject {
        match value {
            Value::Object(object) => object,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn an_object_comes_back_as_it_went() {
        let fields = object(json!({
            "text": "x", "whole": 7, "part": 0.5, "no": false, "nothing": null,
            "list": [1, "two", {"three": 3}], "object": {"a": {"b": []}}
        }));
        assert_eq!(object_from_wire(object_to_wire(fields.clone())), Ok(fields));
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        for kind in [
            None,
            Some(Kind::NumberValue(f64::NAN)),
            Some(Kind::NumberValue(f64::INFINITY)),
        ] {
            assert_eq!(value_from_wire(WireValue { kind }), Err(NotJson));
        }
    }

    #[test]
    fn deep_nesting_becomes_text_before_clients_refuse_it() {
        let mut value = json!("bottom");
        for _ in 0..100 {
            value = json!({ "in": value });
        }
        let mut wire = value_to_wire(value, 0);
        let mut depth = 0;
        while let Some(Kind::StructValue(mut inner)) = wire.kind {
            wire = inner.fields.remove("in").unwrap();
            depth += 1;
        }
        assert_eq!(depth, MAX_WIRE_DEPTH);
        assert!(matches!(wire.kind, Some(Kind::StringValue(text)) if text.contains("bottom")));
    }

    #[test]
    fn other_spellings_of_a_name_are_the_same_field() {
        assert!(names_the_same_field("subject_id", "subjectId"));
        assert!(names_the_same_field("mode", "MODE"));
        assert!(names_the_same_field("date_of_birth", "Date-Of-Birth"));
        assert!(!names_the_same_field("subject", "subjects"));
    }

    #[test]
    fn the_typed_fields_are_those_of_the_messages() {
        let pool = DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
        for (message, listed) in [
            ("ScreenRequest", &SCREEN_FIELDS[..]),
            ("SubjectProfile", &SUBJECT_FIELDS[..]),
        ] {
            let descriptor = pool
                .get_message_by_name(&format!("{}.{message}", pb::PACKAGE))
                .unwrap();
            let fields: BTreeSet<_> = descriptor.fields().map(|f| f.name().to_owned()).collect();
            let listed: BTreeSet<_> = listed.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(fields, listed, "{message}");
        }
    }
}
