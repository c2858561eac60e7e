//! Where settings come from, and which source wins.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    callers::CALLERS,
    environment::Environment,
    settings::{Kind, SETTINGS, Setting},
    tenants::TENANTS,
};

/// The flag and variable that name the file.
pub(super) const CONFIG_FLAG: &str = "config";
pub(super) const CONFIG_ENV: &str = "GATEWAY_CONFIG";

/// The keys of the file that are no settings.
const LISTS: [&str; 2] = [CALLERS, TENANTS];

/// How large the file may be: enough for every tenant and caller that there can be.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The flags that were given, by their names without dashes; `config` names the file.
#[derive(Clone, Default)]
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

/// Flags, environment and file.
pub(super) struct Sources<'a> {
    flags: Flags,
    environment: &'a Environment,
    file: Option<(PathBuf, toml::Table)>,
}

/// A value and its origin.
pub(super) type Found = (String, Origin);

/// Where a secret is.
pub(super) enum FoundSecret {
    /// Here.
    Text(Found),
    /// In the file of this name.
    File(Found),
}

impl<'a> Sources<'a> {
    /// Opens the sources. A file that cannot be read is left out, and told of; so is an empty name of one, since
    /// without the file nobody would be asked who it is.
    pub(super) fn open(flags: Flags, environment: &'a Environment) -> (Self, Result<(), String>) {
        let mut sources = Sources {
            flags,
            environment,
            file: None,
        };
        let opened = match sources.file_name() {
            None => Ok(()),
            Some((name, origin)) if name.is_empty() => {
                Err(format!("is empty, and names no file ({origin})"))
            }
            Some((name, _)) => {
                let path = PathBuf::from(name);
                let table = read_file(&path).and_then(|text| parse_table(&text));
                table.map(|table| sources.file = Some((path, table)))
            }
        };
        (sources, opened)
    }

    fn file_name(&self) -> Option<Found> {
        let flag = self.flags.0.get(CONFIG_FLAG);
        let variable = self.environment.get(CONFIG_ENV).ok().flatten();
        let by_flag = flag.map(|name| (name.clone(), Origin::Flag(CONFIG_FLAG)));
        by_flag.or_else(|| {
            let origin = Origin::Environment(CONFIG_ENV.to_owned());
            variable.map(|name| (name.to_owned(), origin))
        })
    }

    /// The file, where there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// What the file has under a key that is no setting.
    pub(super) fn listed(&self, key: &str) -> Option<toml::Value> {
        self.file.as_ref()?.1.get(key).cloned()
    }

    /// The keys of the file that are not known.
    pub(super) fn unknown_keys(&self) -> Vec<String> {
        let is_known = |key: &str| {
            let is_list = LISTS.contains(&key);
            is_list
                || SETTINGS.iter().any(|setting| {
                    let is_file =
                        setting.kind == Kind::Secret && key == format!("{}_file", setting.key());
                    is_file || key == setting.key()
                })
        };
        let keys = self.file.iter().flat_map(|(_, table)| table.keys());
        keys.filter(|key| !is_known(key)).cloned().collect()
    }

    /// The value that wins.
    pub(super) fn value(&self, setting: &Setting) -> Option<Found> {
        if let Some(text) = self.flags.0.get(setting.name) {
            return Some((text.clone(), Origin::Flag(setting.name)));
        }
        self.variable(setting.env)
            .or_else(|| self.file_value(&setting.key()))
    }

    /// The secret itself or the file it is in, never both; the environment before the file.
    pub(super) fn secret(&self, setting: &Setting) -> Result<Option<FoundSecret>, String> {
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
                (Some(found), None) => Ok(Some(FoundSecret::Text(found))),
                (None, Some(found)) => Ok(Some(FoundSecret::File(found))),
            };
        }
        Ok(None)
    }

    /// An empty variable is as good as none. One that is not UTF-8 is reported when the sources are opened.
    fn variable(&self, name: &str) -> Option<Found> {
        let text = self.environment.get(name).ok().flatten();
        let text = text.filter(|text| !text.is_empty())?;
        Some((text.to_owned(), Origin::Environment(name.to_owned())))
    }

    fn file_value(&self, key: &str) -> Option<Found> {
        let (path, table) = self.file.as_ref()?;
        let text = match table.get(key)? {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some((text, Origin::File(path.clone())))
    }
}

/// What the file holds. Blocks.
///
/// # Errors
/// If it cannot be read, or is too large.
pub(super) fn read_file(path: &Path) -> Result<String, String> {
    let mut contents = Vec::new();
    // A pipe or a device does not say how long it is.
    let opened = File::open(path).map(|file| file.take(MAX_FILE_BYTES + 1));
    let read = opened.and_then(|mut file| file.read_to_end(&mut contents));
    if read.map_err(|error| format!("cannot be read: {error}"))? as u64 > MAX_FILE_BYTES {
        return Err("is larger than 64 MiB".to_owned());
    }
    String::from_utf8(contents).map_err(|_| "is not UTF-8".to_owned())
}

/// # Errors
/// That it is not TOML, and where.
pub(super) fn parse_table(text: &str) -> Result<toml::Table, String> {
    // The parser's own message would repeat the line, which can hold a secret.
    text.parse::<toml::Table>().map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text
            .get(..at)
            .map_or(1, |before| before.lines().count().max(1));
        format!("is not TOML (line {line})")
    })
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

/// Without the values: a proxy's can hold a password.
impl fmt::Debug for Flags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.toml");
        let file = File::create(&path).unwrap();
        // Without a byte on the disk.
        file.set_len((64 << 20) + 1).unwrap();
        for path in [path.to_str().unwrap(), "/dev/zero"] {
            let flags = Flags([(CONFIG_FLAG, path.to_owned())].into());
            let (_, opened) = Sources::open(flags, &Environment::new());
            assert_eq!(opened, Err("is larger than 64 MiB".to_owned()));
        }
    }
}
