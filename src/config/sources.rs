//! Where settings come from, and which source wins.

use std::{collections::BTreeMap, fmt, fs, path::PathBuf};

use secrecy::SecretString;
use url::Url;

use super::{
    settings::{Kind, SETTINGS, Setting},
    values,
};

/// The flag and variable that name the file.
const CONFIG_FLAG: &str = "config";
const CONFIG_ENV: &str = "GATEWAY_CONFIG";

/// What stands for a secret wherever settings are shown.
const REDACTED: &str = "(redacted)";

/// The environment, handed in.
pub type Environment = BTreeMap<String, String>;

/// The flags that were given, by their names without dashes; `config` names the file.
#[derive(Clone, Debug, Default)]
pub struct Flags(pub BTreeMap<&'static str, String>);

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This flag.
    Flag(&'static str),
    /// This variable.
    Environment(String),
    /// This configuration file.
    File(PathBuf),
    /// The table of settings.
    Default,
}

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

/// Reads settings one by one and remembers what it found.
pub(super) struct Reader<'a> {
    flags: Flags,
    environment: &'a Environment,
    file: Option<(PathBuf, toml::Table)>,
    effective: Vec<Effective>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Opens the sources; a file that cannot be read is a problem like any other.
    pub(super) fn open(flags: Flags, environment: &'a Environment) -> Self {
        let path = flags.0.get(CONFIG_FLAG).cloned();
        let path = path.or_else(|| environment.get(CONFIG_ENV).cloned());
        let mut reader = Reader {
            flags,
            environment,
            file: None,
            effective: Vec::new(),
            problems: Vec::new(),
        };
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            match read_table(&path) {
                Ok(table) => reader.file = Some((path.into(), table)),
                Err(what) => reader.problem(CONFIG_FLAG, what),
            }
            reader.refuse_unknown_keys();
        }
        reader
    }

    /// What was found, in the order of the table, and what is wrong.
    pub(super) fn close(mut self) -> (Vec<Effective>, Vec<Problem>) {
        let place = |name| SETTINGS.iter().position(|setting| setting.name == name);
        self.effective
            .sort_by_key(|effective| place(effective.name));
        (self.effective, self.problems)
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
        match (self.lookup(setting), setting.default) {
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
            .lookup(setting)
            .unwrap_or_else(|| (default.to_owned(), Origin::Default));
        self.parse(setting, text, origin, parse)
    }

    /// A setting that may have no value.
    pub(super) fn optional<T>(&mut self, name: &'static str, parse: Parse<T>) -> Option<T> {
        let setting = Setting::named(name);
        match self.lookup(setting) {
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

    /// A secret that must be given.
    pub(super) fn secret(&mut self, name: &'static str) -> Option<SecretString> {
        let setting = Setting::named(name);
        match self.find_secret(setting) {
            Ok(Some((secret, origin))) => {
                self.found(setting, Some(REDACTED.to_owned()), origin);
                Some(secret.into())
            }
            Ok(None) => self.missing(setting),
            Err(what) => {
                self.problem(setting.env, what);
                None
            }
        }
    }

    /// A secret that defaults to one that is none.
    pub(super) fn secret_or(
        &mut self,
        name: &'static str,
        default: &'static str,
    ) -> Option<SecretString> {
        let setting = Setting::named(name);
        if let Ok(None) = self.find_secret(setting) {
            self.found(setting, Some(default.to_owned()), Origin::Default);
            return Some(default.into());
        }
        self.secret(name)
    }

    /// Whether any source sets it.
    pub(super) fn is_set(&self, name: &'static str) -> bool {
        self.lookup(Setting::named(name)).is_some()
    }

    fn lookup(&self, setting: &Setting) -> Option<(String, Origin)> {
        if let Some(text) = self.flags.0.get(setting.name) {
            return Some((text.clone(), Origin::Flag(setting.name)));
        }
        self.variable(setting.env)
            .or_else(|| self.file_value(&setting.key()))
    }

    /// An empty variable is as good as none.
    fn variable(&self, name: &str) -> Option<(String, Origin)> {
        let text = self.environment.get(name).filter(|text| !text.is_empty())?;
        Some((text.clone(), Origin::Environment(name.to_owned())))
    }

    fn file_value(&self, key: &str) -> Option<(String, Origin)> {
        let (path, table) = self.file.as_ref()?;
        let text = match table.get(key)? {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some((text, Origin::File(path.clone())))
    }

    /// The secret itself or the file it is in, never both; the environment before the file.
    fn find_secret(&self, setting: &Setting) -> Result<Option<(String, Origin)>, String> {
        let (file_env, key) = (setting.file_env(), setting.key());
        let places = [
            (self.variable(setting.env), self.variable(&file_env)),
            (
                self.file_value(&key),
                self.file_value(&format!("{key}_file")),
            ),
        ];
        for place in places {
            return match place {
                (None, None) => continue,
                (Some(_), Some(_)) => Err(format!("is given both itself and as {file_env}")),
                (Some(found), None) => Ok(Some(found)),
                (None, Some((path, origin))) => match fs::read_to_string(&path) {
                    Err(error) => Err(format!("cannot be read from its file: {error}")),
                    Ok(text) if text.trim().is_empty() => Err("has an empty file".to_owned()),
                    Ok(text) => Ok(Some((text.trim().to_owned(), origin))),
                },
            };
        }
        Ok(None)
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
                self.found(setting, Some(without_password(text)), origin);
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

    fn refuse_unknown_keys(&mut self) {
        let Some((_, table)) = &self.file else { return };
        let is_known = |key: &str| {
            SETTINGS.iter().any(|setting| {
                key == setting.key()
                    || setting.kind == Kind::Secret && key == format!("{}_file", setting.key())
            })
        };
        let unknown: Vec<_> = table.keys().filter(|key| !is_known(key)).cloned().collect();
        for key in unknown {
            self.problem(&key, "is not a setting (in the configuration file)");
        }
    }
}

type Parse<T> = fn(&str) -> Result<T, String>;

fn read_table(path: &str) -> Result<toml::Table, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    // The parser's own message would repeat the line, which can hold a secret.
    text.parse::<toml::Table>().map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text
            .get(..at)
            .map_or(1, |before| before.lines().count().max(1));
        format!("is not TOML (line {line})")
    })
}

/// A proxy's URL can hold a password.
fn without_password(text: String) -> String {
    let Ok(mut url) = Url::parse(&text) else {
        return text;
    };
    let has_password = url.password().is_some();
    match has_password && url.set_password(Some("redacted")).is_ok() {
        true => url.to_string(),
        false => text,
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => write!(out, "--{name}"),
            Origin::Environment(name) => out.write_str(name),
            Origin::File(path) => write!(out, "{}", path.display()),
            Origin::Default => out.write_str("default"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.key, self.what)
    }
}
