//! One `[[callers]]` of the file. What is wrong with it is told by its key, and never with a value: a token can stand
//! where its hash should.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use super::{CALLERS, Surroundings};
use crate::{
    access::{ANONYMOUS, Caller, Right, Rights, TokenHash, certificate_name},
    config::reader::Problem,
};

/// The keys of an entry.
const KEYS: [&str; 6] = ["name", "ids_of", "token_sha256", "san", "tenants", "rights"];

/// How many tokens, and how many names in certificates, one caller may have: enough for every rotation.
const MAX_CREDENTIALS: usize = 64;

/// How long a caller's name may be.
const MAX_NAME_BYTES: usize = 64;

/// How long a name in a certificate may be.
const MAX_CERTIFICATE_NAME_BYTES: usize = 2048;

const NOT_A_NAME: &str = "is not 1 to 64 letters, digits, -, _ and .";

/// What is said of what is no token's hash, and no name in a certificate.
const NO_HASH: &str =
    "has something that is no SHA-256 in hex (`kora-gateway token new` makes one)";
const NO_NAME: &str =
    "has something that is neither a URI such as spiffe://bank/ledger nor a DNS name";

/// Reads an entry, and remembers what is wrong with it.
pub(super) struct Entry<'a> {
    number: usize,
    value: &'a toml::Value,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Entry<'a> {
    pub(super) fn new(
        number: usize,
        value: &'a toml::Value,
        problems: &'a mut Vec<Problem>,
    ) -> Self {
        Entry {
            number,
            value,
            problems,
        }
    }

    pub(super) fn problem(&mut self, key: &str, what: &str) {
        self.problems.push(Problem {
            key: format!("{CALLERS}[{}].{key}", self.number),
            what: what.to_owned(),
        });
    }

    /// The caller, if nothing is wrong with it.
    pub(super) fn caller(&mut self, around: &Surroundings) -> Option<Caller> {
        let before = self.problems.len();
        self.refuse_unknown_keys();
        let name = self.name();
        let ids_of = self.ids_of();
        let tokens = self.list("token_sha256", NO_HASH, token_hash);
        let certificate_names = self.list("san", NO_NAME, san);
        if tokens.is_empty() && certificate_names.is_empty() {
            self.problem(
                "token_sha256",
                "is missing, and so is san: nobody could be this caller",
            );
        }
        if !certificate_names.is_empty() && !around.has_client_ca {
            self.problem(
                "san",
                "needs --tls-client-ca: nobody could show a certificate",
            );
        }
        let tenants = self.tenants(around);
        let rights = self.rights();
        (self.problems.len() == before).then_some(Caller {
            name: name?.into(),
            ids_of,
            tokens,
            certificate_names,
            tenants,
            rights,
        })
    }

    fn refuse_unknown_keys(&mut self) {
        let keys = self
            .value
            .as_table()
            .into_iter()
            .flat_map(toml::Table::keys);
        let unknown: Vec<_> = keys.filter(|key| !KEYS.contains(&key.as_str())).collect();
        for key in unknown {
            self.problem(key, "is nothing that a caller has");
        }
    }

    fn name(&mut self) -> Option<String> {
        match self.value.get("name").map(toml::Value::as_str) {
            None => self.problem("name", "is missing"),
            Some(Some(ANONYMOUS)) => self.problem("name", "stands for callers without a name"),
            Some(Some(name)) if is_name(name) => return Some(name.to_owned()),
            Some(_) => self.problem("name", NOT_A_NAME),
        }
        None
    }

    /// The scope of its ids, where it is not the name.
    fn ids_of(&mut self) -> Option<Arc<str>> {
        match self.value.get("ids_of").map(toml::Value::as_str) {
            None => {}
            Some(Some(scope)) if is_name(scope) => return Some(scope.into()),
            Some(_) => self.problem("ids_of", NOT_A_NAME),
        }
        None
    }

    /// What is listed under a key; nothing if nothing is, or after a problem. `no_text` is said of what is no text.
    fn list<T>(
        &mut self,
        key: &str,
        no_text: &'static str,
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Vec<T> {
        match self.value.get(key) {
            None => Vec::new(),
            Some(toml::Value::Array(values)) if values.len() > MAX_CREDENTIALS => {
                self.problem(key, "has more than 64 entries");
                Vec::new()
            }
            Some(toml::Value::Array(values)) => {
                let read: Result<Vec<_>, _> = values
                    .iter()
                    .map(|value| value.as_str().ok_or(no_text).and_then(&read))
                    .collect();
                read.unwrap_or_else(|what| {
                    self.problem(key, what);
                    Vec::new()
                })
            }
            Some(_) => {
                self.problem(key, "is not a list: write [\"…\"]");
                Vec::new()
            }
        }
    }

    fn tenants(&mut self, around: &Surroundings) -> BTreeSet<String> {
        let known = &around.tenants;
        match self.value.get("tenants") {
            None if known.len() == 1 => return known.clone(),
            None => self.problem("tenants", "is missing: the gateway has several"),
            Some(listed) => {
                let names = listed.as_array().into_iter().flatten();
                let names: Option<BTreeSet<_>> = names
                    .map(|name| known.get(name.as_str()?).cloned())
                    .collect();
                match names {
                    Some(names) if !names.is_empty() => return names,
                    Some(_) => self.problem("tenants", "is not a list of names of tenants"),
                    None => self.problem("tenants", "names a tenant that there is not"),
                }
            }
        }
        BTreeSet::new()
    }

    fn rights(&mut self) -> Rights {
        let listed = self.value.get("rights").and_then(toml::Value::as_array);
        let listed = listed.into_iter().flatten();
        let rights: Option<Vec<_>> = listed
            .map(|name| name.as_str().and_then(Right::named))
            .collect();
        match rights {
            Some(rights) if !rights.is_empty() => return rights.into_iter().collect(),
            _ => self.problem(
                "rights",
                "is not a list of some of \"screen\", \"subjects\", \"watch\", \"raw_json\"",
            ),
        }
        Rights::default()
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_plain)
}

fn token_hash(text: &str) -> Result<TokenHash, &'static str> {
    match TokenHash::from_hex(text) {
        None => Err(NO_HASH),
        // What a script makes of a variable that is not set.
        Some(hash) if hash == TokenHash::of(b"") => Err("has one that is the hash of nothing"),
        Some(hash) => Ok(hash),
    }
}

/// A name in a certificate. No pattern: each name is one caller's.
fn san(text: &str) -> Result<String, &'static str> {
    if text.contains('*') {
        return Err("has a *, and there are no patterns: each name is compared whole");
    }
    // Some would pass for URIs.
    if text.parse::<IpAddr>().is_ok() {
        return Err("has an IP address, by which nobody is known: it takes a URI or a DNS name");
    }
    let is_uri = text.split_once(':').is_some_and(|(scheme, rest)| {
        let is_scheme = scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let is_rest = rest.bytes().all(|byte| byte.is_ascii_graphic());
        is_scheme && is_rest && !scheme.is_empty() && !rest.is_empty()
    });
    let is_dns = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let has_length = (1..=MAX_CERTIFICATE_NAME_BYTES).contains(&text.len());
    if !has_length || !(is_uri || is_dns) {
        return Err(NO_NAME);
    }
    if is_dns && text.ends_with('.') {
        return Err("has a DNS name that ends with a dot, which no certificate's does");
    }
    Ok(certificate_name(text))
}
