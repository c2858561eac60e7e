//! Which events a stream carries.

use std::fmt;

use super::{SCREENING_COMPLETED, SCREENING_FAILED, WordSet};
use crate::{
    error::{CallError, MAX_VIOLATIONS, Reason, Violation},
    pb,
    screening::MAX_ID_BYTES,
};

/// How many values of one kind a filter may have.
const MAX_VALUES: usize = 1000;

/// What follows the group's name in a pattern.
const WHOLE_GROUP: &str = ".*";

/// What a filter looks at. An id that an event does not have is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// The type, such as `screening.completed`.
    pub kind: String,
    /// Kora's id of the screening.
    pub screening_id: String,
    /// Kora's id of the subject.
    pub subject_id: String,
}

impl Keys {
    /// The screening that is over with this event, if one is.
    pub fn ended_screening(&self) -> Option<&str> {
        let is_end = matches!(self.kind.as_str(), SCREENING_COMPLETED | SCREENING_FAILED);
        (is_end && !self.screening_id.is_empty()).then_some(&self.screening_id)
    }
}

/// A valid filter. Kinds of conditions are AND-ed, values of one kind OR-ed; no values: no condition.
#[derive(Clone, Default)]
pub struct Filter {
    types: WordSet,
    /// With the dot at the end.
    groups: WordSet,
    subject_ids: WordSet,
    screening_ids: WordSet,
}

/// The values of a filter's narrowest kind: every event that passes has one of them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum FilterKeys {
    /// Screenings' ids.
    Screenings(WordSet),
    /// Subjects' ids.
    Subjects(WordSet),
    /// Names.
    Types {
        /// Of types.
        types: WordSet,
        /// Of groups of types, with the dot at the end.
        groups: WordSet,
    },
}

impl Filter {
    /// By what to find the events that may pass; `None` where that may be all.
    pub fn keys(&self) -> Option<FilterKeys> {
        if !self.screening_ids.is_empty() {
            return Some(FilterKeys::Screenings(self.screening_ids.clone()));
        }
        if !self.subject_ids.is_empty() {
            return Some(FilterKeys::Subjects(self.subject_ids.clone()));
        }
        let (types, groups) = (self.types.clone(), self.groups.clone());
        let is_any = types.is_empty() && groups.is_empty();
        (!is_any).then_some(FilterKeys::Types { types, groups })
    }

    /// All of its sets of values, to be shared with other filters.
    pub fn word_sets(&mut self) -> [&mut WordSet; 4] {
        [
            &mut self.types,
            &mut self.groups,
            &mut self.subject_ids,
            &mut self.screening_ids,
        ]
    }

    /// Reads a filter.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with every bad value, up to the limit of an error.
    pub fn from_wire(filter: pb::EventFilter) -> Result<Self, CallError> {
        let mut violations = Vec::new();
        let lists = [
            ("filter.types", &filter.types),
            ("filter.subject_ids", &filter.subject_ids),
            ("filter.screening_ids", &filter.screening_ids),
        ];
        for (field, values) in lists {
            if values.len() > MAX_VALUES {
                violations.push(bad(field.to_owned(), "has more than 1,000 values"));
                continue;
            }
            for (place, value) in values.iter().enumerate() {
                let field_at = || format!("{field}[{place}]");
                if value.is_empty() {
                    violations.push(bad(field_at(), "is empty"));
                } else if value.len() > MAX_ID_BYTES {
                    violations.push(bad(field_at(), "is longer than 1,024 bytes"));
                } else if field == "filter.types" && !is_name(group_of(value).unwrap_or(value)) {
                    violations.push(bad(
                        field_at(),
                        "is neither a whole name nor a group such as screening.*",
                    ));
                }
            }
        }
        violations.truncate(MAX_VIOLATIONS);
        if !violations.is_empty() {
            return Err(CallError {
                violations,
                ..CallError::new(Reason::InvalidRequest)
            });
        }
        let (groups, types): (Vec<_>, Vec<_>) = filter
            .types
            .into_iter()
            .partition(|pattern| group_of(pattern).is_some());
        Ok(Filter {
            types: types.into_iter().collect(),
            groups: groups
                .into_iter()
                .map(|pattern| pattern.trim_end_matches('*').to_owned())
                .collect(),
            subject_ids: filter.subject_ids.into_iter().collect(),
            screening_ids: filter.screening_ids.into_iter().collect(),
        })
    }

    /// Whether an event with these keys passes.
    pub fn matches(&self, keys: &Keys) -> bool {
        let is_of_type = (self.types.is_empty() && self.groups.is_empty())
            || self.types.contains(&keys.kind)
            || self.groups.iter().any(|group| keys.kind.starts_with(group));
        is_of_type
            && allows(&self.subject_ids, &keys.subject_id)
            && allows(&self.screening_ids, &keys.screening_id)
    }
}

fn allows(ids: &WordSet, id: &str) -> bool {
    ids.is_empty() || ids.contains(id)
}

/// The group of a pattern for one.
fn group_of(pattern: &str) -> Option<&str> {
    pattern.strip_suffix(WHOLE_GROUP)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('*')
}

fn bad(field: String, description: &'static str) -> Violation {
    Violation {
        field,
        description: description.into(),
    }
}

/// Without the type, in which a sender could write anything.
impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Keys")
            .field("screening_id", &self.screening_id)
            .field("subject_id", &self.subject_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Filter(..)")
    }
}

impl fmt::Debug for FilterKeys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterKeys::Screenings(ids) => write!(out, "Screenings({})", ids.len()),
            FilterKeys::Subjects(ids) => write!(out, "Subjects({})", ids.len()),
            FilterKeys::Types { types, groups } => {
                write!(out, "Types({})", types.len() + groups.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(types: &[&str], subjects: &[&str], screenings: &[&str]) -> Result<Filter, CallError> {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        Filter::from_wire(pb::EventFilter {
            types: owned(types),
            subject_ids: owned(subjects),
            screening_ids: owned(screenings),
        })
    }

    fn keys(kind: &str, subject_id: &str, screening_id: &str) -> Keys {
        Keys {
            kind: kind.to_owned(),
            screening_id: screening_id.to_owned(),
            subject_id: subject_id.to_owned(),
        }
    }

    #[test]
    fn kinds_are_and_ed_and_values_or_ed() {
        let all = filter(&[], &[], &[]).unwrap();
        assert!(all.matches(&keys("anything at all", "", "")));

        let some = filter(&["screening.*", "case.closed"], &["s1", "s2"], &[]).unwrap();
        assert!(some.matches(&keys("screening.completed", "s1", "x")));
        assert!(some.matches(&keys("case.closed", "s2", "")));
        assert!(!some.matches(&keys("case.opened", "s2", "")));
        assert!(!some.matches(&keys("screening.completed", "s3", "")));
        assert!(!some.matches(&keys("screening.completed", "", "")));

        let one = filter(&[], &[], &["scr_1"]).unwrap();
        assert!(one.matches(&keys("x", "", "scr_1")));
        assert!(!one.matches(&keys("x", "scr_1", "")));
    }

    #[test]
    fn a_group_ends_at_its_dot() {
        let group = filter(&["screening.*"], &[], &[]).unwrap();
        assert!(!group.matches(&keys("screenings.completed", "", "")));
        assert!(!group.matches(&keys("screening", "", "")));
        assert!(group.matches(&keys("screening.a.b", "", "")));
    }

    #[test]
    fn any_other_pattern_is_refused_by_its_place() {
        for bad in ["*", ".*", "screening*", "*.completed", "a.*.b", "a.*.*", ""] {
            let error = filter(&["case.closed", bad], &[], &[]).unwrap_err();
            assert_eq!(error.reason, Reason::InvalidRequest, "{bad}");
            assert_eq!(error.violations[0].field, "filter.types[1]", "{bad}");
        }
        let long = "x".repeat(MAX_ID_BYTES + 1);
        assert!(filter(&[], &[&long], &[]).is_err());
        assert!(filter(&[], &[], &[""]).is_err());
        assert!(filter(&[], &vec!["x"; MAX_VALUES + 1], &[]).is_err());
    }

    #[test]
    fn the_largest_filter_is_read_and_a_bad_one_named_up_to_the_limit() {
        let longest = "x".repeat(MAX_ID_BYTES);
        assert!(filter(&[], &vec![longest.as_str(); MAX_VALUES], &[&longest]).is_ok());
        let error = filter(&vec!["*"; MAX_VALUES], &[], &[]).unwrap_err();
        assert_eq!(error.violations.len(), MAX_VIOLATIONS);
    }

    #[test]
    fn what_is_asked_for_is_not_printed() {
        let keys = Keys {
            kind: "MARKER".to_owned(),
            ..Keys::default()
        };
        let filter = filter(&["MARKER", "MARKER.*"], &[], &[]).unwrap();
        for printed in [
            format!("{keys:?}"),
            format!("{filter:?}"),
            format!("{:?}", filter.keys()),
        ] {
            assert!(!printed.contains("MARKER"), "{printed}");
        }
    }
}
