//! What a valid field is, and the list of those that are not.
//!
//! Only what is certain is checked. Names and identifiers are Kora's to judge, and Kora knows country
//! codes that ISO 3166 does not.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use prost_types::Struct;
use uuid::Uuid;

use super::{
    JsonObject,
    fields::{names_the_same_field, object_from_wire},
    visible::has_visible_character,
};
use crate::error::{CallError, MAX_VIOLATIONS, Violation};

/// How many bytes an id of Kora's may have. Kora's own have about 20.
pub const MAX_ID_BYTES: usize = 1024;

/// Kora would send results to this URL, past the signature check and the durable log.
const CALLBACK_URL: &str = "callback_url";

/// Nobody who was born before is alive; the year 0 or 1 is what some systems write for "not known".
const EARLIEST_BIRTH: Date = Date::constant(1850, 1, 1);

/// Where a new day begins first: a date that is in the future there is in the future everywhere.
const EARLIEST_TIME_ZONE: SignedDuration = SignedDuration::from_hours(14);

pub(super) const REQUIRED: &str = "is required";
const CONTROL_CHARACTER: &str = "has a control character (category Cc)";
pub(super) const NO_SUCH_VALUE: &str = "is not a value of this enum";

/// The bad fields found so far.
#[derive(Default)]
pub(super) struct Violations {
    bad: Vec<Violation>,
    /// Those that break a rule which was added since requests are recorded.
    late: Vec<Violation>,
}

impl Violations {
    pub(super) fn add(&mut self, field: impl Into<String>, description: &'static str) {
        push(&mut self.bad, field, description);
    }

    /// Adds a field that breaks a rule which was added since requests are recorded: a request that was taken before
    /// gets its recorded answer when it is repeated.
    pub(super) fn add_late(&mut self, field: impl Into<String>, description: &'static str) {
        push(&mut self.late, field, description);
    }

    /// The violations of late rules, if nothing else was bad.
    pub(super) fn only_late(self) -> Result<Vec<Violation>, CallError> {
        if self.bad.is_empty() {
            return Ok(self.late);
        }
        let mut violations = self.bad;
        violations.extend(self.late);
        violations.truncate(MAX_VIOLATIONS);
        Err(CallError::invalid(violations))
    }

    /// The value, if nothing was bad.
    pub(super) fn none_or<T>(self, value: T) -> Result<T, CallError> {
        match self.only_late()? {
            late if late.is_empty() => Ok(value),
            late => Err(CallError::invalid(late)),
        }
    }

    /// Checks a text that has to be made of characters: none of category Cc.
    pub(super) fn check_text(&mut self, field: impl Into<String>, text: &str) {
        if text.chars().any(char::is_control) {
            self.add_late(field, CONTROL_CHARACTER);
        }
    }

    /// The same of a text that has to be seen. What other rule an empty one breaks is not said twice.
    pub(super) fn check_visible_text(&mut self, field: impl Into<String>, text: &str) {
        if text.chars().any(char::is_control) {
            self.add_late(field, CONTROL_CHARACTER);
        } else if !text.is_empty() && !has_visible_character(text) {
            self.add_late(field, "has no character that can be seen");
        }
    }

    pub(super) fn check_id(&mut self, field: &str, id: &str) {
        if id.is_empty() {
            self.add(field, REQUIRED);
        } else if id.len() > MAX_ID_BYTES {
            self.add(field, "is longer than 1,024 bytes");
        }
    }

    /// The same for an id that is sent in a URL's path, which has no spelling of `.` and `..` that still
    /// means one segment.
    pub(super) fn check_path_id(&mut self, field: &str, id: &str) {
        self.check_id(field, id);
        if matches!(id, "." | "..") {
            self.add(field, "cannot be an id");
        }
    }

    pub(super) fn check_request_id(&mut self, text: &str) -> Option<Uuid> {
        if text.is_empty() {
            return None;
        }
        // The parser also takes spellings without hyphens or in braces, which other readers would not.
        let id = Uuid::try_parse(text)
            .ok()
            .filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH);
        if id.is_none() {
            self.add("request_id", "is not a UUID of 36 characters");
        }
        id
    }

    pub(super) fn check_country(&mut self, field: impl Into<String>, code: &str) {
        let two_letters = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        if !code.is_empty() && !two_letters {
            self.add(field, "is not two letters A to Z");
        }
    }

    pub(super) fn check_past_date(&mut self, field: &str, text: &str, now: Timestamp) {
        if text.is_empty() {
            return;
        }
        match date(text) {
            None => self.add(field, "is not a date that exists, as YYYY-MM-DD"),
            Some(date) if date > newest_date(now) => self.add(field, "is in the future"),
            Some(date) if date < EARLIEST_BIRTH => self.add_late(field, "is before 1850-01-01"),
            Some(_) => {}
        }
    }

    /// Reads `additional_fields`, refusing names of typed fields unless `except` makes room for one.
    pub(super) fn check_additional(
        &mut self,
        path: &str,
        wire: Option<Struct>,
        typed: &[&str],
        except: impl Fn(&str) -> bool,
    ) -> JsonObject {
        let Ok(object) = object_from_wire(wire.unwrap_or_default()) else {
            self.add(path, "holds a value that JSON does not have");
            return JsonObject::new();
        };
        for name in object.keys().filter(|name| !except(name)) {
            let is_typed = typed.iter().any(|field| names_the_same_field(field, name));
            let path = || Violation::path(path, name);
            if is_typed {
                self.add(path(), "has a typed field of its own; set that one");
            } else if names_the_same_field(CALLBACK_URL, name) {
                self.add(path(), "is not accepted: results come as events");
            }
        }
        object
    }
}

fn push(violations: &mut Vec<Violation>, field: impl Into<String>, description: &'static str) {
    if violations.len() < MAX_VIOLATIONS {
        violations.push(Violation {
            field: field.into(),
            description: description.into(),
        });
    }
}

fn date(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    let is_shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !is_shaped {
        return None;
    }
    let (year, month, day) = (&text[..4], &text[5..7], &text[8..]);
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

fn newest_date(now: Timestamp) -> Date {
    now.saturating_add(EARLIEST_TIME_ZONE)
        .unwrap_or(now)
        .to_zoned(TimeZone::UTC)
        .date()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date_complaint(text: &str) -> Option<String> {
        let mut bad = Violations::default();
        let now = "2026-02-27T12:00:00Z".parse().unwrap();
        bad.check_past_date("d", text, now);
        bad.bad
            .first()
            .or(bad.late.first())
            .map(|violation| violation.description.to_string())
    }

    #[test]
    fn dates_exist_and_have_come() {
        for good in ["", "1990-01-15", "2024-02-29", "2026-02-27", "2026-02-28"] {
            assert_eq!(date_complaint(good), None, "{good}");
        }
        for absent in [
            "2025-02-29",
            "1990-13-01",
            "1990-00-10",
            "90-01-15",
            "1990-1-15",
        ] {
            assert!(
                date_complaint(absent).unwrap().contains("exists"),
                "{absent}"
            );
        }
        for odd in [
            "+990-01-15",
            "1990/01/15",
            "19900115",
            "1990-01-15T00",
            "１９９０-01",
        ] {
            assert!(date_complaint(odd).unwrap().contains("exists"), "{odd}");
        }
        assert!(date_complaint("2026-03-01").unwrap().contains("future"));
        for old in ["0000-01-01", "0001-01-01", "1849-12-31"] {
            assert!(date_complaint(old).unwrap().contains("1850"), "{old}");
        }
        assert_eq!(date_complaint("1850-01-01"), None);
    }

    #[test]
    fn a_request_id_is_a_uuid_whatever_its_case() {
        let mut bad = Violations::default();
        let lower = bad.check_request_id("67e55044-10b1-426f-9247-bb680e5fe0c8");
        let upper = bad.check_request_id("67E55044-10B1-426F-9247-BB680E5FE0C8");
        assert!(lower.is_some() && lower == upper && bad.bad.is_empty());
        for odd in [
            "67e5504410b1426f9247bb680e5fe0c8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "1",
        ] {
            assert_eq!(bad.check_request_id(odd), None, "{odd}");
        }
        assert_eq!(bad.bad.len(), 3);
    }

    #[test]
    fn twenty_bad_fields_are_named_and_no_more() {
        let mut bad = Violations::default();
        for position in 0..100 {
            bad.check_country(format!("identifiers[{position}]"), "gb");
        }
        let error = bad.none_or(()).unwrap_err();
        assert_eq!(error.violations.len(), MAX_VIOLATIONS);
    }
}
