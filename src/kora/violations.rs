//! Finds the fields of the API that Kora complains about.
//!
//! Kora names fields of its JSON (`details[].field`; Kora docs: error-codes). Callers get the proto path.
//! A name that is neither a field of the API nor one that the caller sent is not repeated: it could hold
//! anything.

use serde_json::Value;

use crate::{
    error::{MAX_VIOLATIONS, Violation},
    screening::{JsonObject, SCREEN_FIELDS, SUBJECT_FIELDS, names_the_same_field},
};

/// The fields of an identifier.
const IDENTIFIER_NAMES: [&str; 3] = ["type", "value", "country"];

/// Which fields were sent.
#[derive(Default)]
pub(super) struct Sent<'a> {
    /// The screening's own additional fields; `None` where no screening was asked for.
    pub(super) screening: Option<&'a JsonObject>,
    /// The subject's additional fields; `None` where no subject was described.
    pub(super) subject: Option<&'a JsonObject>,
}

/// The violations in an error's `details`; at least one, without a field where none can be named.
pub(super) fn named_by_kora(details: Option<&Value>, sent: &Sent<'_>) -> Vec<Violation> {
    let mut violations: Vec<Violation> = Vec::new();
    for detail in details.and_then(Value::as_array).into_iter().flatten() {
        let path = detail.get("field").and_then(Value::as_str);
        if let Some(field) = path.and_then(|path| proto_path(path, sent))
            && violations.len() < MAX_VIOLATIONS
            && !violations.iter().any(|known| known.field == field)
        {
            violations.push(Violation {
                field,
                description: "was refused by Kora".into(),
            });
        }
    }
    if violations.is_empty() {
        violations.push(Violation {
            field: String::new(),
            description: "Kora refused the request without naming one of its fields".into(),
        });
    }
    violations
}

/// `subject.dateOfBirth`, `$.subject.identifiers[0].value`, `/name` → the path in the request message.
fn proto_path(json_path: &str, sent: &Sent<'_>) -> Option<String> {
    let steps: Vec<&str> = json_path
        .split(['.', '/', '[', ']'])
        .filter(|step| !step.is_empty() && *step != "$")
        .collect();
    let (first, rest) = steps.split_first()?;
    match sent.screening {
        Some(additional) if *first != "subject" => {
            if let Some(name) = one_of(&SCREEN_FIELDS, first) {
                return Some(with_index(name.to_owned(), rest));
            }
            sent.subject
                .and_then(|fields| subject_path(&steps, fields))
                .or_else(|| additional_path("additional_fields", first, additional))
        }
        _ if *first == "subject" && rest.is_empty() => {
            let field = if sent.subject.is_some() {
                "subject"
            } else {
                "subject_id"
            };
            Some(field.to_owned())
        }
        _ => {
            let steps = if *first == "subject" { rest } else { &steps };
            subject_path(steps, sent.subject?)
        }
    }
}

fn subject_path(steps: &[&str], additional: &JsonObject) -> Option<String> {
    let (first, rest) = steps.split_first()?;
    let Some(name) = one_of(&SUBJECT_FIELDS, first) else {
        return additional_path("subject.additional_fields", first, additional);
    };
    let mut path = format!("subject.{name}");
    if name == "identifiers" {
        path = with_index(path, rest);
        if let Some(part) = rest.get(1).and_then(|step| one_of(&IDENTIFIER_NAMES, step)) {
            path = format!("{path}.{part}");
        }
    }
    Some(path)
}

fn additional_path(prefix: &str, name: &str, sent: &JsonObject) -> Option<String> {
    sent.contains_key(name)
        .then(|| Violation::path(prefix, name))
}

fn one_of(names: &[&'static str], step: &str) -> Option<&'static str> {
    names
        .iter()
        .find(|name| names_the_same_field(name, step))
        .copied()
}

fn with_index(path: String, rest: &[&str]) -> String {
    match rest.first().and_then(|step| step.parse::<u32>().ok()) {
        Some(index) => format!("{path}[{index}]"),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_paths_become_proto_paths() {
        let (Value::Object(additional), Value::Object(more)) =
            (json!({"list": 1}), json!({"alias": 1}))
        else {
            unreachable!("both are objects")
        };
        let screening = Sent {
            screening: Some(&additional),
            subject: Some(&more),
        };
        let subject = Sent {
            screening: None,
            subject: Some(&more),
        };
        for (sent, json, proto) in [
            (
                &screening,
                "subject.date_of_birth",
                Some("subject.date_of_birth"),
            ),
            (
                &screening,
                "subject.dateOfBirth",
                Some("subject.date_of_birth"),
            ),
            (
                &screening,
                "$.subject.identifiers[0].value",
                Some("subject.identifiers[0].value"),
            ),
            (
                &screening,
                "/subject/identifiers/2",
                Some("subject.identifiers[2]"),
            ),
            (&screening, "name", Some("subject.name")),
            (&screening, "checks[1]", Some("checks[1]")),
            (&screening, "list.x", Some("additional_fields.list")),
            (
                &screening,
                "subject.alias",
                Some("subject.additional_fields.alias"),
            ),
            (&screening, "subject", Some("subject")),
            (&screening, "Jane Smith", None),
            (&screening, "", None),
            (&subject, "name", Some("subject.name")),
            (&subject, "subject.name", Some("subject.name")),
            (&subject, "mode", None),
        ] {
            assert_eq!(proto_path(json, sent).as_deref(), proto, "{json}");
        }
    }

    #[test]
    fn there_is_always_a_violation() {
        for details in [
            None,
            Some(json!({"retryAfter": 3})),
            Some(json!(["x", {"field": 7}])),
        ] {
            let violations = named_by_kora(details.as_ref(), &Sent::default());
            assert_eq!(violations.len(), 1);
            assert!(violations[0].field.is_empty());
        }
    }

    #[test]
    fn twenty_fields_are_named_once_each() {
        let detail = |field: &str| json!({ "field": field });
        let mut details: Vec<_> = (0..30).map(|at| detail(&format!("checks[{at}]"))).collect();
        details.insert(0, detail("checks[0]"));
        let empty = JsonObject::new();
        let sent = Sent {
            screening: Some(&empty),
            subject: None,
        };
        let violations = named_by_kora(Some(&Value::Array(details)), &sent);
        assert_eq!(violations.len(), MAX_VIOLATIONS);
        assert_eq!(violations[0].field, "checks[0]");
        assert_eq!(violations[1].field, "checks[1]");
    }
}
