//! What a request means, as 32 bytes: equal for two requests that ask for the same, whatever their encoding.
//!
//! Each part is written with its length, so that no two meanings make the same text. `request_id` and
//! `include_raw_json` are no part of it. The order of `checks` means nothing, nor does saying one twice; nor does
//! the order of the names of a JSON object.

use std::collections::BTreeSet;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    screening::{
        CheckType, CreateSubject, JsonObject, Mode, Party, Purpose, ScreenRequest, SubjectProfile,
        SubjectType, TimeoutPolicy,
    },
    store::RequestContent,
};

/// Changes when the meaning of the text changes, so that a newer gateway refuses rather than mistakes what an
/// older one recorded.
const FORMAT: &str = "1";

/// A text that is hashed while it is written.
struct Text(Sha256);

/// What a screening asks for.
pub(super) fn screening(request: &ScreenRequest) -> RequestContent {
    let mut text = Text::new();
    text.part(Mode::code(request.mode));
    text.part(match request.on_timeout {
        TimeoutPolicy::Fail => "FAIL",
        TimeoutPolicy::ContinueAsync => "CONTINUE_ASYNC",
    });
    text.part(request.purpose.map_or("", Purpose::code));
    let checks: BTreeSet<_> = request.checks.iter().map(|c| CheckType::code(*c)).collect();
    text.count(checks.len());
    for check in checks {
        text.part(check);
    }
    match &request.party {
        Party::Inline(profile) => {
            text.part("subject");
            text.profile(profile);
        }
        Party::Known(id) => {
            text.part("subject_id");
            text.part(id);
        }
    }
    text.object(&request.additional_fields);
    text.content_of("Screen")
}

/// What a new subject asks for.
pub(super) fn subject(request: &CreateSubject) -> RequestContent {
    let mut text = Text::new();
    text.profile(&request.subject);
    text.content_of("CreateSubject")
}

impl Text {
    fn new() -> Self {
        let mut text = Text(Sha256::new());
        text.part(FORMAT);
        text
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_le_bytes());
    }

    fn part(&mut self, part: &str) {
        self.count(part.len());
        self.0.update(part);
    }

    fn profile(&mut self, profile: &SubjectProfile) {
        self.part(profile.kind.map_or("", SubjectType::code));
        for part in [
            &profile.name,
            &profile.date_of_birth,
            &profile.nationality,
            &profile.country,
            &profile.external_id,
        ] {
            self.part(part);
        }
        self.count(profile.identifiers.len());
        for identifier in &profile.identifiers {
            self.part(&identifier.kind);
            self.part(&identifier.value);
            self.part(&identifier.country);
        }
        self.object(&profile.additional_fields);
    }

    fn object(&mut self, object: &JsonObject) {
        let mut fields: Vec<_> = object.iter().collect();
        fields.sort_by_key(|(name, _)| *name);
        self.count(fields.len());
        for (name, value) in fields {
            self.part(name);
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Array(items) => {
                self.part("array");
                self.count(items.len());
                for item in items {
                    self.value(item);
                }
            }
            Value::Object(object) => {
                self.part("object");
                self.object(object);
            }
            Value::String(text) => {
                self.part("string");
                self.part(text);
            }
            scalar => self.part(&scalar.to_string()),
        }
    }

    fn content_of(self, rpc: &str) -> RequestContent {
        RequestContent {
            rpc: rpc.to_owned(),
            fingerprint: self.0.finalize().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::screening::Identifier;

    fn object(value: Value) -> JsonObject {
        value.as_object().unwrap().clone()
    }

    fn request() -> ScreenRequest {
        let identifier = Identifier {
            kind: "PASSPORT".to_owned(),
            value: "X1".to_owned(),
            country: "GB".to_owned(),
        };
        ScreenRequest {
            party: Party::Inline(SubjectProfile {
                kind: Some(SubjectType::Individual),
                name: "A".to_owned(),
                identifiers: vec![identifier],
                ..SubjectProfile::default()
            }),
            mode: Mode::Sync,
            purpose: Some(Purpose::Onboarding),
            checks: vec![CheckType::Sanctions, CheckType::Pep],
            request_id: None,
            on_timeout: TimeoutPolicy::Fail,
            additional_fields: object(json!({"a": {"x": 1, "y": [1, "2"]}, "b": null})),
            late_violations: Vec::new(),
            include_raw_json: false,
        }
    }

    fn with(change: impl FnOnce(&mut ScreenRequest)) -> RequestContent {
        let mut request = request();
        change(&mut request);
        screening(&request)
    }

    fn profile(request: &mut ScreenRequest) -> &mut SubjectProfile {
        match &mut request.party {
            Party::Inline(profile) => profile,
            Party::Known(_) => unreachable!("the request names a party"),
        }
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let first = screening(&request());
        assert_eq!(with(|r| r.request_id = Some(uuid::Uuid::nil())), first);
        assert_eq!(with(|r| r.include_raw_json = true), first);
        assert_eq!(with(|r| r.checks.reverse()), first);
        assert_eq!(with(|r| r.checks.push(CheckType::Pep)), first);
    }

    #[test]
    fn every_part_counts() {
        type Change = fn(&mut ScreenRequest);
        let changes: [Change; 22] = [
            |_| {},
            |r| r.mode = Mode::Async,
            |r| r.on_timeout = TimeoutPolicy::ContinueAsync,
            |r| r.purpose = Some(Purpose::Periodic),
            |r| r.checks.truncate(1),
            |r| r.party = Party::Known("A".to_owned()),
            |r| profile(r).kind = Some(SubjectType::Entity),
            |r| profile(r).name.push('B'),
            |r| (profile(r).name, profile(r).date_of_birth) = (String::new(), "A".to_owned()),
            |r| profile(r).date_of_birth = "2000-01-01".to_owned(),
            |r| profile(r).nationality = "GB".to_owned(),
            |r| profile(r).country = "GB".to_owned(),
            |r| profile(r).external_id = "A".to_owned(),
            |r| profile(r).identifiers[0].kind.push('2'),
            |r| profile(r).identifiers[0].value.push('2'),
            |r| profile(r).identifiers[0].country.push('2'),
            |r| profile(r).additional_fields = object(json!({"a": 1})),
            |r| r.additional_fields = object(json!({"a": {"x": 1, "y": [1, 2]}, "b": null})),
            // The same words in another place.
            |r| r.additional_fields = object(json!({"a": [[1], 2]})),
            |r| r.additional_fields = object(json!({"a": [[1, 2]]})),
            |r| r.additional_fields = object(json!({"a": {"b": 1}, "c": 2})),
            |r| r.additional_fields = object(json!({"a": {"b": 1, "c": 2}})),
        ];
        let all: BTreeSet<_> = changes.map(|change| with(change).fingerprint).into();
        assert_eq!(all.len(), changes.len());
    }

    #[test]
    fn the_rpc_and_its_subject_count() {
        let Party::Inline(profile) = request().party else {
            unreachable!("the request names a party")
        };
        let mut create = CreateSubject {
            subject: profile,
            request_id: None,
            late_violations: Vec::new(),
        };
        let first = subject(&create);
        assert_eq!(first.rpc, "CreateSubject");
        create.subject.name.push('B');
        assert_ne!(subject(&create), first);
        assert_eq!(screening(&request()).rpc, "Screen");
    }
}
