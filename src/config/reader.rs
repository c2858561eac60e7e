//! Reads settings one by one, and remembers what it found and what is wrong.

mod secrets;

use std::{fmt, path::Path};

use url::Url;

pub use secrets::GivenSecret;

use super::{
    environment::Environment,
    settings::{Kind, SETTINGS, Setting},
    sources::{CONFIG_FLAG, Flags, Origin, Sources},
    values,
};

/// One setting as it is in effect.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Its name.
    pub name: &'static str,
    /// Its value for people, redacted; `None` where it has none.
    pub value: Option<String>,
    /// Where that came from.
    pub origin: Origin,
}

/// What is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, or the unknown key.
    pub key: String,
    /// What is wrong. Never a value.
    pub what: String,
}

/// Reads from the sources.
pub(super) struct Reader<'a> {
    sources: Sources<'a>,
    effective: Vec<Effective>,
    secrets: Vec<GivenSecret>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

/// What was found, and what is wrong.
pub(super) struct Closed {
    /// In the order of the table.
    pub(super) effective: Vec<Effective>,
    /// In the order in which they were read.
    pub(super) secrets: Vec<GivenSecret>,
    pub(super) problems: Vec<Problem>,
    /// What is taken, and should be looked at. Never a value.
    pub(super) warnings: Vec<String>,
}

/// Reads a value; an error says what is wrong with it.
type Parse<T> = fn(&str) -> Result<T, String>;

impl<'a> Reader<'a> {
    pub(super) fn open(flags: Flags, environment: &'a Environment) -> Self {
        let (sources, opened) = Sources::open(flags, environment);
        let unknown = sources.unknown_keys();
        let mut reader = Reader {
            sources,
            effective: Vec::new(),
            secrets: Vec::new(),
            problems: Vec::new(),
            warnings: environment.unknown(),
        };
        for variable in environment.unreadable_settings() {
            reader.problem(&variable, "is not UTF-8");
        }
        if let Err(what) = opened {
            reader.problem(CONFIG_FLAG, what);
        }
        for key in unknown {
            reader.problem(&key, "is not a setting (in the configuration file)");
        }
        reader
    }

    pub(super) fn close(mut self) -> Closed {
        let place = |name| SETTINGS.iter().position(|setting| setting.name == name);
        self.effective
            .sort_by_key(|effective| place(effective.name));
        Closed {
            effective: self.effective,
            secrets: self.secrets,
            problems: self.problems,
            warnings: self.warnings,
        }
    }

    pub(super) fn problems(&mut self, problems: Vec<Problem>) {
        self.problems.extend(problems);
    }

    pub(super) fn problem(&mut self, key: &str, what: impl Into<String>) {
        self.problems.push(Problem {
            key: key.to_owned(),
            what: what.into(),
        });
    }

    /// A setting that must have a value. `None` after a problem.
    pub(super) fn value<T>(&mut self, name: &'static str, parse: Parse<T>) -> Option<T> {
        let setting = Setting::named(name);
        match (self.sources.value(setting), setting.default) {
            (Some((text, origin)), _) => self.parse(setting, text, origin, parse),
            (None, Some(text)) => self.parse(setting, text.to_owned(), Origin::Default, parse),
            (None, None) => self.missing(setting),
        }
    }

    /// A setting with a default that depends on others.
    pub(super) fn value_or<T>(
        &mut self,
        name: &'static str,
        default: &str,
        parse: Parse<T>,
    ) -> Option<T> {
        let setting = Setting::named(name);
        let (text, origin) = self
            .sources
            .value(setting)
            .unwrap_or_else(|| (default.to_owned(), Origin::Default));
        self.parse(setting, text, origin, parse)
    }

    /// A setting that may have no value.
    pub(super) fn optional<T>(&mut self, name: &'static str, parse: Parse<T>) -> Option<T> {
        let setting = Setting::named(name);
        match self.sources.value(setting) {
            Some((text, origin)) => self.parse(setting, text, origin, parse),
            None => {
                self.found(setting, None, Origin::Default);
                None
            }
        }
    }

    pub(super) fn switch(&mut self, name: &'static str) -> bool {
        self.value(name, values::switch).unwrap_or(false)
    }

    /// What the configuration file has under a key that is no setting.
    pub(super) fn listed(&self, key: &str) -> Option<toml::Value> {
        self.sources.listed(key)
    }

    /// Whether any source gives this setting or secret, or tries to.
    pub(super) fn is_given(&self, name: &'static str) -> bool {
        match Setting::named(name).kind {
            Kind::Secret => self.is_secret_set(name),
            _ => self.is_set(name),
        }
    }

    /// The configuration file, where there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.sources.file()
    }

    /// Whether any source sets it.
    pub(super) fn is_set(&self, name: &'static str) -> bool {
        self.sources.value(Setting::named(name)).is_some()
    }

    fn parse<T>(
        &mut self,
        setting: &'static Setting,
        text: String,
        origin: Origin,
        parse: Parse<T>,
    ) -> Option<T> {
        match parse(&text) {
            Ok(value) => {
                self.found(setting, Some(without_credentials(text)), origin);
                Some(value)
            }
            Err(what) => {
                self.problem(setting.name, format!("{what} ({origin})"));
                None
            }
        }
    }

    fn missing<T>(&mut self, setting: &Setting) -> Option<T> {
        let key = match setting.kind {
            Kind::Secret => setting.env,
            _ => setting.name,
        };
        self.problem(key, format!("is missing: set {}", setting.ways()));
        None
    }

    fn found(&mut self, setting: &'static Setting, value: Option<String>, origin: Origin) {
        self.effective.push(Effective {
            name: setting.name,
            value,
            origin,
        });
    }
}

/// A proxy's URL can hold a password, and a token in place of a name.
fn without_credentials(text: String) -> String {
    let Ok(mut url) = Url::parse(&text) else {
        return text;
    };
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    let is_cleared =
        has_credentials && url.set_username("redacted").is_ok() && url.set_password(None).is_ok();
    match is_cleared {
        true => url.to_string(),
        false => text,
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.key, self.what)
    }
}
