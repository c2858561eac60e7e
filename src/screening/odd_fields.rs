//! Optional fields in a form that cannot be read: they are left out, since the result beside them was paid for.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::KoraObject;

/// The names of the optional fields that Kora sent in a form that cannot be read. For a metric: they are names that
/// the gateway knows, never Kora's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OddFields(BTreeSet<&'static str>);

impl OddFields {
    /// The field as a `T`, if it is there and is one. If it is there and is none, that is noted.
    pub fn read<T: DeserializeOwned>(
        &mut self,
        object: &KoraObject<'_>,
        field: &'static str,
    ) -> Option<T> {
        let value = object.field(field);
        if value.is_err() {
            self.note(field);
        }
        value.ok().flatten()
    }

    /// Notes a field that is left out.
    pub fn note(&mut self, field: &'static str) {
        self.0.insert(field);
    }

    /// Notes the field if it is there and was not understood.
    pub fn note_unless(&mut self, is_read: bool, object: &KoraObject<'_>, field: &'static str) {
        if !is_read && object.has(field) {
            self.note(field);
        }
    }

    /// Notes those of another reading too.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }
}
