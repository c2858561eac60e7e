//! What the emulator remembers of screenings and subjects: the newest of each.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use super::screening::Screening;
use super::subject::Subject;

/// Screenings kept. An older one is forgotten, and then not found.
const MAX_SCREENINGS: usize = 100_000;

/// Subjects kept, those described in a screening included. An older one is forgotten with its
/// `external_id`.
const MAX_SUBJECTS: usize = 100_000;

/// The time as Kora writes it: RFC 3339 in UTC, to the millisecond.
pub(super) fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

/// The screenings and subjects of one emulator.
pub(super) struct Ledger {
    screenings: Newest<Screening>,
    subjects: Newest<Subject>,
    /// The subject that holds an `external_id`.
    external_ids: HashMap<String, String>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            screenings: Newest::new(MAX_SCREENINGS),
            subjects: Newest::new(MAX_SUBJECTS),
            external_ids: HashMap::new(),
        }
    }
}

impl Ledger {
    /// Keeps a subject and claims its `external_id`. `false`, and nothing kept, when another
    /// subject holds that.
    pub(super) fn register(&mut self, subject: Subject) -> bool {
        if let Some(external_id) = subject.profile.external_id() {
            if self.external_ids.contains_key(external_id) {
                return false;
            }
            self.external_ids
                .insert(external_id.to_owned(), subject.subject_id.clone());
        }
        self.keep(subject);
        true
    }

    /// Keeps a subject described in a screening. It claims no `external_id`: the same one may be
    /// screened again.
    pub(super) fn keep(&mut self, subject: Subject) {
        let forgotten = self.subjects.insert(subject.subject_id.clone(), subject);
        let Some(forgotten) = forgotten else { return };
        let Some(external_id) = forgotten.profile.external_id() else {
            return;
        };
        if self.external_ids.get(external_id) == Some(&forgotten.subject_id) {
            self.external_ids.remove(external_id);
        }
    }

    pub(super) fn subject(&self, subject_id: &str) -> Option<&Subject> {
        self.subjects.by_id.get(subject_id)
    }

    /// Keeps a screening.
    pub(super) fn file(&mut self, screening: Screening) {
        self.screenings
            .insert(screening.screening_id.clone(), screening);
    }

    pub(super) fn screening_mut(&mut self, screening_id: &str) -> Option<&mut Screening> {
        self.screenings.by_id.get_mut(screening_id)
    }
}

/// A map that forgets its oldest entry to keep within its limit.
struct Newest<T> {
    limit: usize,
    by_id: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Newest<T> {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            by_id: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Adds an entry under an id that was never used before. Returns the one forgotten for it.
    fn insert(&mut self, id: String, entry: T) -> Option<T> {
        let forgotten = if self.order.len() == self.limit {
            self.order.pop_front().and_then(|id| self.by_id.remove(&id))
        } else {
            None
        };
        self.order.push_back(id.clone());
        self.by_id.insert(id, entry);
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::emulator::subject::Profile;

    fn subject(external_id: &str) -> Subject {
        let fields = json!({"type": "ENTITY", "name": "Any", "external_id": external_id});
        let fields: Map<_, _> = serde_json::from_value(fields).unwrap();
        Subject::new(Profile::read(fields, "").ok().unwrap())
    }

    #[test]
    fn a_full_ledger_forgets_the_oldest_subject_and_frees_its_external_id() {
        let mut ledger = Ledger {
            subjects: Newest::new(2),
            ..Ledger::default()
        };
        let (first, second) = (subject("first"), subject("second"));
        let (first_id, second_id) = (first.subject_id.clone(), second.subject_id.clone());
        assert!(ledger.register(first));
        assert!(ledger.register(second));
        assert!(!ledger.register(subject("first")));

        assert!(ledger.register(subject("third")));
        assert!(ledger.subject(&first_id).is_none());
        assert!(ledger.subject(&second_id).is_some());
        assert!(ledger.register(subject("first")));
        assert!(!ledger.register(subject("third")));
    }

    #[test]
    fn a_forgotten_screened_subject_frees_nobody_elses_external_id() {
        let mut ledger = Ledger {
            subjects: Newest::new(2),
            ..Ledger::default()
        };
        ledger.keep(subject("shared"));
        assert!(ledger.register(subject("shared")));
        ledger.keep(subject("other"));
        assert!(!ledger.register(subject("shared")));
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let now = now();
        assert_eq!(now.len(), "2026-01-31T12:00:00.000Z".len(), "{now}");
        assert!(now.ends_with('Z'));
    }
}
