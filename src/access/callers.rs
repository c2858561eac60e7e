//! All callers, and who of them calls.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use tokio::sync::watch;

use super::{Caller, Credential, TokenHash, credential::Shown};

/// Who may call. Clones share what was configured last.
#[derive(Clone, Debug)]
pub struct Callers {
    current: watch::Sender<Arc<Table>>,
}

/// The times at which callers are replaced.
#[derive(Debug)]
pub struct Changes(watch::Receiver<Arc<Table>>);

/// Something that makes a caller known belongs to two of them, or is there twice.
#[derive(Debug, PartialEq, Eq)]
pub struct Ambiguous {
    /// The place of the second one in the list.
    pub position: usize,
    /// Whether it is a token; else a certificate's name.
    pub is_token: bool,
}

#[derive(Debug)]
enum Table {
    /// Nobody is asked who it is.
    Everyone(Arc<Caller>),
    /// Nobody else.
    Only(Known),
}

/// By what callers are known.
#[derive(Debug, Default)]
struct Known {
    all: Vec<Arc<Caller>>,
    by_token: HashMap<TokenHash, Arc<Caller>>,
    by_certificate: HashMap<String, Arc<Caller>>,
    count_by_tenant: HashMap<String, usize>,
}

impl Callers {
    /// Whoever calls is this one.
    pub fn everyone(caller: Caller) -> Self {
        Self::of(Table::Everyone(Arc::new(caller)))
    }

    /// These, and nobody else.
    ///
    /// # Errors
    /// If two of them cannot be told apart.
    pub fn only(callers: Vec<Caller>) -> Result<Self, Ambiguous> {
        Ok(Self::of(Table::Only(Known::new(callers)?)))
    }

    fn of(table: Table) -> Self {
        Callers {
            current: watch::Sender::new(Arc::new(table)),
        }
    }

    /// From now on these, and nobody else.
    ///
    /// # Errors
    /// If two of them cannot be told apart. Then everything stays as it was.
    pub fn replace(&self, callers: Vec<Caller>) -> Result<(), Ambiguous> {
        let known = Known::new(callers)?;
        self.current.send_replace(Arc::new(Table::Only(known)));
        Ok(())
    }

    /// Whether nobody is asked who it is.
    pub fn are_everyone(&self) -> bool {
        matches!(&**self.current.borrow(), Table::Everyone(_))
    }

    /// Who shows this; `None` if it is nobody, or does not agree with itself.
    pub fn identify(&self, credential: &Credential) -> Option<Arc<Caller>> {
        let table = Arc::clone(&self.current.borrow());
        match &*table {
            Table::Everyone(caller) => Some(Arc::clone(caller)),
            Table::Only(known) => known.identify(credential),
        }
    }

    /// How many share the gateway.
    pub fn count(&self) -> usize {
        match &**self.current.borrow() {
            Table::Everyone(_) => 1,
            Table::Only(known) => known.all.len(),
        }
    }

    /// How many of them may act for this tenant.
    pub fn count_of_tenant(&self, name: &str) -> usize {
        match &**self.current.borrow() {
            Table::Everyone(_) => 1,
            Table::Only(known) => known.count_by_tenant.get(name).copied().unwrap_or_default(),
        }
    }

    /// Those that are listed, in that order; `None` if nobody is asked who it is.
    pub fn listed(&self) -> Option<Vec<Arc<Caller>>> {
        match &**self.current.borrow() {
            Table::Everyone(_) => None,
            Table::Only(known) => Some(known.all.clone()),
        }
    }

    /// Tells, from now on, whether the callers have been replaced.
    pub fn changes(&self) -> Changes {
        Changes(self.current.subscribe())
    }
}

impl Changes {
    /// Waits for the next one. False if there can be none any more.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }

    /// Whether there was one since this was asked last.
    pub fn have_happened(&mut self) -> bool {
        let have_happened = self.0.has_changed().unwrap_or(false);
        if have_happened {
            self.0.mark_unchanged();
        }
        have_happened
    }
}

impl Known {
    fn new(callers: Vec<Caller>) -> Result<Self, Ambiguous> {
        let mut known = Known::default();
        for (position, caller) in callers.into_iter().enumerate() {
            let caller = Arc::new(caller);
            let ambiguous = |is_token| Ambiguous { position, is_token };
            for hash in &caller.tokens {
                match known.by_token.entry(*hash) {
                    Entry::Occupied(_) => return Err(ambiguous(true)),
                    Entry::Vacant(place) => place.insert(Arc::clone(&caller)),
                };
            }
            for name in &caller.certificate_names {
                match known.by_certificate.entry(name.clone()) {
                    Entry::Occupied(_) => return Err(ambiguous(false)),
                    Entry::Vacant(place) => place.insert(Arc::clone(&caller)),
                };
            }
            for tenant in &caller.tenants {
                *known.count_by_tenant.entry(tenant.clone()).or_default() += 1;
            }
            known.all.push(caller);
        }
        Ok(known)
    }

    /// A wrong token is not made good by a certificate. A certificate that no caller is known by says nothing: it may be
    /// there for the connection alone.
    fn identify(&self, credential: &Credential) -> Option<Arc<Caller>> {
        let by_token = match credential.token() {
            Shown::Nothing => None,
            Shown::Unreadable => return None,
            Shown::Token(hash) => Some(self.by_token.get(&hash)?),
        };
        let by_certificate = credential.certificate_names();
        let by_certificate = by_certificate.filter_map(|name| self.by_certificate.get(&name));
        let mut all = by_token.into_iter().chain(by_certificate);
        let caller = all.next()?;
        let is_one = all.all(|other| Arc::ptr_eq(other, caller));
        is_one.then(|| Arc::clone(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::ANONYMOUS;

    fn caller(name: &str, tokens: &[&str], certificate_names: &[&str]) -> Caller {
        Caller {
            name: name.into(),
            tokens: tokens
                .iter()
                .map(|token| TokenHash::of(token.as_bytes()))
                .collect(),
            certificate_names: certificate_names.iter().map(ToString::to_string).collect(),
            ..Caller::anonymous(["t".to_owned()])
        }
    }

    fn two() -> Callers {
        let a = caller("a", &["ta", "ta2"], &["spiffe://bank/a", "a.internal"]);
        Callers::only(vec![a, caller("b", &["tb"], &["spiffe://bank/b"])]).unwrap()
    }

    fn shown(authorization: &[&str], names: &[&str]) -> Credential {
        let names = names.iter().map(ToString::to_string).collect();
        Credential::new(authorization.iter().map(|value| value.as_bytes()), names)
    }

    #[test]
    fn only_who_agrees_with_itself_is_somebody() {
        let callers = two();
        let (a, b) = ("spiffe://bank/a", "spiffe://bank/b");
        for (authorization, names, expected) in [
            (&[][..], &[][..], None),
            (&["Bearer ta"], &[], Some("a")),
            (&["Bearer ta2"], &[], Some("a")),
            (&["Bearer tb"], &[], Some("b")),
            (&["Bearer nope"], &[], None),
            (&["Bearer nope"], &[a], None),
            (&["ta"], &[a], None),
            (&["Bearer ta", "Bearer ta"], &[a], None),
            (&[], &[a], Some("a")),
            (&[], &["A.Internal"], Some("a")),
            (&[], &["spiffe://bank/A"], None),
            (&[], &["x.a.internal"], None),
            (&[], &[a, "a.internal", "other"], Some("a")),
            (&[], &[a, b], None),
            (&["Bearer ta"], &[a], Some("a")),
            (&["Bearer ta"], &["node.internal"], Some("a")),
            (&["Bearer ta"], &[b], None),
        ] {
            let found = callers.identify(&shown(authorization, names));
            let name = found.as_ref().map(|caller| &*caller.name);
            assert_eq!(name, expected, "{authorization:?} {names:?}");
        }
    }

    #[test]
    fn whoever_calls_is_the_same_one_where_nobody_is_configured() {
        let callers = Callers::everyone(Caller::anonymous(["t".to_owned()]));
        let found = callers.identify(&shown(&["Basic x"], &["y"])).unwrap();
        assert_eq!((&*found.name, callers.count()), (ANONYMOUS, 1));
        assert!(callers.are_everyone() && !two().are_everyone());
        assert!(callers.listed().is_none());
        let listed = two().listed().unwrap();
        let names: Vec<_> = listed.iter().map(|caller| &*caller.name).collect();
        assert_eq!((names, two().count()), (vec!["a", "b"], 2));
        let counts = ["t", "u"].map(|tenant| two().count_of_tenant(tenant));
        assert_eq!((counts, callers.count_of_tenant("t")), ([2, 0], 1));
    }

    #[test]
    fn those_that_are_replaced_are_nobody_and_everybody_hears_of_it() {
        let callers = two();
        let mut changes = callers.clone().changes();
        assert!(!changes.have_happened());
        callers.replace(vec![caller("b", &["tb"], &[])]).unwrap();
        assert!(changes.have_happened() && !changes.have_happened());
        assert!(callers.identify(&shown(&["Bearer ta"], &[])).is_none());
        assert!(callers.identify(&shown(&["Bearer tb"], &[])).is_some());
    }

    #[test]
    fn what_is_there_twice_is_refused_and_changes_nothing() {
        let callers = two();
        let is_token = |is_token| {
            Err(Ambiguous {
                position: 1,
                is_token,
            })
        };
        let a = caller("a", &["same"], &["same"]);
        assert_eq!(
            callers.replace(vec![a.clone(), caller("b", &["same"], &[])]),
            is_token(true)
        );
        assert_eq!(
            callers.replace(vec![a, caller("b", &[], &["same"])]),
            is_token(false)
        );
        assert!(callers.identify(&shown(&["Bearer ta"], &[])).is_some());
    }
}
