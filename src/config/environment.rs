//! The environment, handed in, and what in it was probably meant to be a setting.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
};

use super::{
    settings::{Kind, SETTINGS},
    sources::CONFIG_ENV,
};

/// What the names of the gateway's variables begin with.
const PREFIXES: [&str; 2] = ["GATEWAY_", "KORA_"];

/// What Kubernetes sets for each service, with other variables of the same prefix.
const SERVICE_HOST: &str = "_SERVICE_HOST";

/// How many letters may be wrong in a name that is told apart from one that was never meant.
const MAX_TYPOS: usize = 3;

/// The variables of a process.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// Those whose values are not UTF-8.
    unreadable: BTreeSet<String>,
}

impl Environment {
    /// One without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a variable.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn get(&self, name: &str) -> Result<Option<&str>, NotUtf8> {
        if self.unreadable.contains(name) {
            return Err(NotUtf8);
        }
        Ok(self.variables.get(name).map(String::as_str))
    }

    /// The variables of settings that are not UTF-8.
    pub(super) fn unreadable_settings(&self) -> Vec<String> {
        let known = known_names();
        let names = self.unreadable.iter();
        names
            .filter(|name| known.contains(*name))
            .cloned()
            .collect()
    }

    /// A sentence about each variable that looks like a setting's, and is none.
    pub(super) fn unknown(&self) -> Vec<String> {
        let known = known_names();
        let all = self.variables.keys().chain(&self.unreadable);
        let unknown = all.filter(|name| {
            PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                && !known.contains(*name)
                && !self.is_of_kubernetes(name)
        });
        let sentence = |name: &String| match nearest(name, &known) {
            Some(other) => format!("the variable {name} is no setting: is {other} meant?"),
            None => format!("the variable {name} is no setting"),
        };
        unknown.map(sentence).collect()
    }

    /// Whether it is one of those that Kubernetes sets for a service whose name begins as the gateway's settings do.
    fn is_of_kubernetes(&self, name: &str) -> bool {
        let services = self.variables.keys();
        let mut services = services.filter_map(|name| name.strip_suffix(SERVICE_HOST));
        services.any(|service| {
            let rest = name.strip_prefix(service);
            rest.is_some_and(|rest| rest.starts_with("_SERVICE_") || rest.starts_with("_PORT"))
        })
    }
}

/// Why a variable has no value.
#[derive(Debug, PartialEq, Eq)]
pub struct NotUtf8;

/// A variable whose name is not UTF-8 is none of the gateway's.
impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let (name, value): (OsString, OsString) = (name.into(), value.into());
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(environment.variables.insert(name, value)),
                (Ok(name), Err(_)) => drop(environment.unreadable.insert(name)),
                (Err(_), _) => {}
            }
        }
        environment
    }
}

impl<const N: usize> From<[(String, String); N]> for Environment {
    fn from(variables: [(String, String); N]) -> Self {
        Environment {
            variables: variables.into(),
            unreadable: BTreeSet::new(),
        }
    }
}

fn known_names() -> BTreeSet<String> {
    let settings = SETTINGS.iter().map(|setting| setting.env.to_owned());
    let secrets = SETTINGS
        .iter()
        .filter(|setting| setting.kind == Kind::Secret);
    let files = secrets.map(|setting| setting.file_env());
    settings
        .chain(files)
        .chain([CONFIG_ENV.to_owned()])
        .collect()
}

fn nearest<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    let distances = known
        .iter()
        .map(|other| (strsim::osa_distance(name, other), other));
    let (distance, other) = distances.min()?;
    (distance <= MAX_TYPOS).then_some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables.iter();
        let environment: Environment = variables
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect();
        environment.unknown()
    }

    #[test]
    fn a_misspelt_variable_is_named_with_what_was_meant() {
        assert_eq!(
            unknown(&[
                ("GATEWAY_TLS_CRT", "x"),
                ("GATEWAY_CONFIG", "x"),
                ("KORA_API_KEY_FILE", "x"),
                ("KORA_APIKEY", "x"),
                ("KORA_SOMETHING_ELSE", "x"),
                ("GATEWAY_TLS_CERT_FILE", "x"),
                ("HOME", "x"),
            ]),
            [
                "the variable GATEWAY_TLS_CERT_FILE is no setting",
                "the variable GATEWAY_TLS_CRT is no setting: is GATEWAY_TLS_CERT meant?",
                "the variable KORA_APIKEY is no setting: is KORA_API_KEY meant?",
                "the variable KORA_SOMETHING_ELSE is no setting",
            ]
        );
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_is_not_meant_to_be_a_setting() {
        let service = [
            ("KORA_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("KORA_GATEWAY_SERVICE_PORT_GRPC", "50051"),
            ("KORA_GATEWAY_PORT", "tcp://10.0.0.1:50051"),
            ("KORA_GATEWAY_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ];
        assert_eq!(unknown(&service), [""; 0]);
        assert_eq!(unknown(&service[2..]).len(), 2);
    }
}
