//! Reads secrets, and remembers where each came from.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use secrecy::SecretString;

use super::{
    super::{
        settings::Setting,
        sources::{FoundSecret, Origin},
    },
    Reader,
};
use crate::secret::{self, Check, FileText, Secret};

/// What stands for a secret wherever settings are shown.
pub(super) const REDACTED: &str = "(redacted)";

/// One secret as it is in effect.
#[derive(Clone, Debug)]
pub struct GivenSecret {
    /// Which.
    pub name: String,
    /// The variable or the file that it came from. One that was named by a variable is not shown: its name can be the
    /// secret, given by mistake.
    pub from: String,
    /// When its file was last changed, where it has one.
    pub modified: Option<Timestamp>,
}

impl Reader<'_> {
    /// A secret that must be given, and that `check` finds nothing wrong with.
    pub(in crate::config) fn secret(&mut self, name: &'static str, check: Check) -> Option<Secret> {
        let setting = Setting::named(name);
        let read = match self.sources.secret(setting) {
            Ok(None) => return self.missing(setting),
            Ok(Some(FoundSecret::Text((text, origin)))) => {
                let secret = SecretString::from(text);
                let checked = check(&secret).map_err(str::to_owned);
                checked.map(|()| (Secret::fixed(secret), origin, None))
            }
            Ok(Some(FoundSecret::File((path, origin)))) => {
                let path = PathBuf::from(path);
                let (read, modified) = (secret::read(&path, check), modified(&path));
                read.map(|read| {
                    self.warn_of(setting.name, &read);
                    (Secret::in_file(read.text, path, check), origin, modified)
                })
            }
            Err(what) => Err(what),
        };
        match read {
            Ok((secret, origin, modified)) => {
                self.secrets.push(GivenSecret {
                    name: setting.name.to_owned(),
                    from: origin.to_string(),
                    modified,
                });
                self.found(setting, Some(REDACTED.to_owned()), origin);
                Some(secret)
            }
            Err(what) => {
                self.problem(setting.env, what);
                None
            }
        }
    }

    /// A secret that defaults to one that is none.
    pub(in crate::config) fn secret_or(
        &mut self,
        name: &'static str,
        default: &'static str,
        check: Check,
    ) -> Option<Secret> {
        let setting = Setting::named(name);
        if let Ok(None) = self.sources.secret(setting) {
            self.found(setting, Some(default.to_owned()), Origin::Default);
            return Some(Secret::fixed(default.into()));
        }
        self.secret(name, check)
    }

    /// The secret in a file that the configuration file names.
    ///
    /// # Errors
    /// Why it holds no secret.
    pub(in crate::config) fn secret_in_file(
        &mut self,
        name: String,
        file: PathBuf,
        check: Check,
    ) -> Result<Secret, String> {
        let (read, modified) = (secret::read(&file, check)?, modified(&file));
        self.warn_of(&name, &read);
        self.secrets.push(GivenSecret {
            name,
            from: file.display().to_string(),
            modified,
        });
        Ok(Secret::in_file(read.text, file, check))
    }

    fn warn_of(&mut self, name: &str, read: &FileText) {
        if let Some(left_out) = read.left_out {
            self.warnings.push(format!(
                "the file of {name} has {left_out}, which are left out"
            ));
        }
    }

    /// Remembers that the configuration file itself holds something that is rotated like a secret.
    pub(in crate::config) fn rotated_in_config(&mut self, name: &str) {
        if let Some(file) = self.sources.file() {
            self.secrets.push(GivenSecret {
                name: name.to_owned(),
                from: file.display().to_string(),
                modified: modified(file),
            });
        }
    }

    /// Whether any source gives this secret, or tries to.
    pub(in crate::config) fn is_secret_set(&self, name: &'static str) -> bool {
        !matches!(self.sources.secret(Setting::named(name)), Ok(None))
    }
}

/// When a file was last changed, where that can be told.
fn modified(file: &Path) -> Option<Timestamp> {
    let modified = file.metadata().ok()?.modified().ok()?;
    Timestamp::try_from(modified).ok()
}
