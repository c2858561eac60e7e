//! One caller, and what it may do.

use std::{collections::BTreeSet, sync::Arc};

use super::{ANONYMOUS, TokenHash};

/// What a caller can be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// To screen, and to read screenings.
    Screen,
    /// To create and to read subjects.
    Subjects,
    /// To watch events.
    Watch,
    /// To get Kora's own bodies along with any of these.
    RawJson,
}

/// What a caller may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights(BTreeSet<Right>);

/// A caller as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name, for logs, metrics and fairness.
    pub name: Arc<str>,
    /// The scope that its request ids are kept in, where that is not its name: the name that it had before.
    pub ids_of: Option<Arc<str>>,
    /// The hashes of its tokens.
    pub tokens: Vec<TokenHash>,
    /// The names that its certificates have: URIs, and DNS names in lower case.
    pub certificate_names: Vec<String>,
    /// The tenants that it may act for.
    pub tenants: BTreeSet<String>,
    /// What it may do for them.
    pub rights: Rights,
}

impl Right {
    /// All of them.
    pub const ALL: [Right; 4] = [Right::Screen, Right::Subjects, Right::Watch, Right::RawJson];

    /// The name in the configuration and in errors.
    pub fn name(self) -> &'static str {
        match self {
            Right::Screen => "screen",
            Right::Subjects => "subjects",
            Right::Watch => "watch",
            Right::RawJson => "raw_json",
        }
    }

    /// The right with this name.
    pub fn named(name: &str) -> Option<Self> {
        Right::ALL.into_iter().find(|right| right.name() == name)
    }
}

impl Rights {
    /// Every right.
    pub fn all() -> Self {
        Right::ALL.into_iter().collect()
    }

    /// Whether this one is among them.
    pub fn include(&self, right: Right) -> bool {
        self.0.contains(&right)
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        Rights(rights.into_iter().collect())
    }
}

impl Caller {
    /// Whoever calls, where no callers are configured: it may do everything, for all of these tenants.
    pub fn anonymous(tenants: impl IntoIterator<Item = String>) -> Self {
        Caller {
            name: ANONYMOUS.into(),
            ids_of: None,
            tokens: Vec::new(),
            certificate_names: Vec::new(),
            tenants: tenants.into_iter().collect(),
            rights: Rights::all(),
        }
    }

    /// What its request records and idempotency keys are kept under. It must never change for a caller whose ids are
    /// known: a known id in another scope is a new one, and is sent again.
    pub fn scope(&self) -> &Arc<str> {
        self.ids_of.as_ref().unwrap_or(&self.name)
    }

    /// The tenant that it acts for where it names none: its only one.
    pub fn only_tenant(&self) -> Option<&str> {
        let mut tenants = self.tenants.iter();
        let only = tenants.next()?;
        tenants.next().is_none().then_some(only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_have_the_names_that_they_are_configured_by() {
        for right in Right::ALL {
            assert_eq!(Right::named(right.name()), Some(right));
            assert!(Rights::all().include(right));
            assert!(!Rights::default().include(right));
        }
        for unknown in ["", "Screen", "admin", "raw-json"] {
            assert_eq!(Right::named(unknown), None);
        }
    }

    #[test]
    fn only_a_single_tenant_goes_without_saying() {
        let caller = |tenants: &[&str]| Caller::anonymous(tenants.iter().map(ToString::to_string));
        assert_eq!(caller(&["a"]).only_tenant(), Some("a"));
        assert_eq!(caller(&["a", "b"]).only_tenant(), None);
        assert_eq!(caller(&[]).only_tenant(), None);
    }
}
