//! Reads a subject out of Kora's JSON, whose shape Kora has not documented but for its id.
//!
//! A field that fits the API's type becomes that; everything else stays in `additional_fields`, so that
//! nothing is lost and nothing guessed.

use serde_json::Value;

use crate::screening::{
    Identifier, JsonObject, KoraObject, RiskBand, Subject, SubjectProfile, SubjectType, Unreadable,
    time,
};

/// Reads the subject that was created.
pub(super) fn created(body: &[u8]) -> Result<Subject, Unreadable> {
    let answer = KoraObject::read(body)?;
    let risk_band = answer
        .text_if_any("risk_band")
        .as_deref()
        .map(RiskBand::from_code);
    let (create_time, update_time) = (time(&answer, "created_at"), time(&answer, "updated_at"));
    let taken = [
        ("subject_id", true),
        ("id", true),
        ("risk_band", risk_band.is_some()),
        ("created_at", create_time.is_some()),
        ("updated_at", update_time.is_some()),
    ];
    let taken = taken
        .iter()
        .filter(|(_, fits)| *fits)
        .map(|(name, _)| *name);
    Ok(Subject {
        subject_id: answer.id("subject_id")?,
        profile: profile(&answer, &taken.collect::<Vec<_>>())?,
        risk_band,
        create_time,
        update_time,
    })
}

/// Reads the subject that was asked for by id.
pub(super) fn found(body: &[u8], subject_id: &str) -> Result<Subject, Unreadable> {
    let subject = created(body)?;
    if subject.subject_id != subject_id {
        return Err(Unreadable::OtherId {
            field: "subject_id",
        });
    }
    Ok(subject)
}

fn profile(answer: &KoraObject<'_>, taken: &[&str]) -> Result<SubjectProfile, Unreadable> {
    let mut fields = JsonObject::new();
    for (name, raw) in answer.fields().filter(|(name, _)| !taken.contains(name)) {
        let value =
            serde_json::from_str(raw.get()).map_err(|_| Unreadable::Field { field: "subject" })?;
        fields.insert(name.to_owned(), value);
    }
    let kind = fields
        .get("type")
        .and_then(|kind| SubjectType::from_code(kind.as_str()?));
    if kind.is_some() {
        fields.remove("type");
    }
    Ok(SubjectProfile {
        kind,
        name: take_text(&mut fields, "name"),
        date_of_birth: take_text(&mut fields, "date_of_birth"),
        nationality: take_text(&mut fields, "nationality"),
        country: take_text(&mut fields, "country"),
        identifiers: take_identifiers(&mut fields),
        external_id: take_text(&mut fields, "external_id"),
        additional_fields: fields,
    })
}

/// The field, if it is a text; null is as good as absent.
fn take_text(fields: &mut JsonObject, name: &str) -> String {
    if fields
        .get(name)
        .is_some_and(|value| value.is_string() || value.is_null())
        && let Some(Value::String(text)) = fields.remove(name)
    {
        return text;
    }
    String::new()
}

/// The identifiers, if every one of them is made of nothing but the three documented texts.
fn take_identifiers(fields: &mut JsonObject) -> Vec<Identifier> {
    let Some(Value::Array(elements)) = fields.get("identifiers") else {
        return Vec::new();
    };
    let Some(identifiers) = elements.iter().map(identifier).collect() else {
        return Vec::new();
    };
    fields.remove("identifiers");
    identifiers
}

fn identifier(element: &Value) -> Option<Identifier> {
    let mut fields = element.as_object()?.clone();
    let identifier = Identifier {
        kind: take_text(&mut fields, "type"),
        value: take_text(&mut fields, "value"),
        country: take_text(&mut fields, "country"),
    };
    fields.is_empty().then_some(identifier)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(answer: Value) -> Subject {
        created(answer.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn known_fields_are_typed_and_others_kept() {
        let subject = read(json!({
            "id": "subj_1", "type": "ENTITY", "name": "Acme", "country": "IR",
            "identifiers": [{"type": "LEI", "value": "1"}],
            "tags": ["a"], "risk_band": "HIGH", "created_at": "2026-01-02T03:04:05Z"
        }));
        assert_eq!(subject.subject_id, "subj_1");
        assert_eq!(subject.profile.kind, Some(SubjectType::Entity));
        assert_eq!(subject.profile.identifiers.len(), 1);
        assert!(subject.create_time.is_some());
        assert_eq!(
            Value::Object(subject.profile.additional_fields),
            json!({"tags": ["a"]})
        );
    }

    #[test]
    fn what_does_not_fit_is_kept_as_it_came() {
        let odd = json!({
            "type": "TRUST", "name": {"first": "A"}, "nationality": null,
            "risk_band": {"band": "LOW"}, "created_at": "yesterday",
            "identifiers": [{"type": "LEI", "value": 7}]
        });
        let mut answer = odd.clone();
        answer["subject_id"] = json!("subj_1");
        let subject = read(answer);
        assert_eq!(subject.profile.kind, None);
        assert!(subject.profile.name.is_empty() && subject.profile.identifiers.is_empty());
        let mut kept = odd;
        kept.as_object_mut().unwrap().remove("nationality");
        assert_eq!(Value::Object(subject.profile.additional_fields), kept);
    }

    #[test]
    fn another_subject_is_not_the_answer() {
        assert!(found(br#"{"subject_id":"b"}"#, "a").is_err());
        assert!(found(br#"{"subject_id":"a"}"#, "a").is_ok());
    }
}
