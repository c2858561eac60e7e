//! Secrets that can change while the gateway runs: those that were given as files.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};

/// How often the file is looked at. Orchestrators replace it by a link, which tells nobody.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long it is left alone after that, whoever asks.
const MIN_PAUSE: Duration = Duration::from_secs(1);

/// How long whoever asks waits for the next look.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many files are read at a time: a gateway with many tenants has thousands.
const READ_AT_ONCE: usize = 8;
static READING: Semaphore = Semaphore::const_new(READ_AT_ONCE);

/// What some editors begin a file with.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// How large the file may be.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// A secret. Clones share what it is now.
#[derive(Clone, Debug)]
pub struct Secret {
    current: watch::Sender<Version>,
    source: Option<Arc<Source>>,
}

/// What a secret is, and how often it has changed.
#[derive(Clone, Debug)]
pub struct Version {
    /// The secret.
    pub text: SecretString,
    /// From 0 on.
    pub number: u64,
}

/// What is wrong with a secret; it says nothing of the secret itself.
pub type Check = fn(&SecretString) -> Result<(), &'static str>;

/// Where a secret is read.
struct Source {
    file: PathBuf,
    check: Check,
    asked: Notify,
    /// How often it was looked at.
    looks: watch::Sender<u64>,
}

impl Secret {
    /// One that never changes.
    pub fn fixed(text: SecretString) -> Self {
        Secret {
            current: watch::Sender::new(Version { text, number: 0 }),
            source: None,
        }
    }

    /// One that was read from a file. What `check` refuses later does not take its place.
    pub fn in_file(text: SecretString, file: PathBuf, check: Check) -> Self {
        Secret {
            source: Some(Arc::new(Source {
                file,
                check,
                asked: Notify::new(),
                looks: watch::Sender::new(0),
            })),
            ..Self::fixed(text)
        }
    }

    /// What it is now.
    pub fn now(&self) -> Version {
        self.current.borrow().clone()
    }

    /// Whether it is not this version any more. If it is, the file is looked at once more, at most every second.
    pub async fn has_changed_since(&self, number: u64) -> bool {
        let is_changed = || self.current.borrow().number != number;
        if let Some(source) = &self.source
            && !is_changed()
        {
            let mut looks = source.looks.subscribe();
            source.asked.notify_one();
            // Who waits for nothing goes on with what there is.
            let _ = timeout(PATIENCE, looks.changed()).await;
        }
        is_changed()
    }

    /// Has the file looked at now, or a second after the last time.
    pub fn look_again(&self) {
        if let Some(source) = &self.source {
            source.asked.notify_one();
        }
    }

    /// Reads the file whenever it changes, under this name of this tenant in the log, and takes what it holds if `claim`
    /// lets it. Ends at once where there is no file.
    pub async fn follow(
        self,
        name: &'static str,
        tenant: String,
        claim: impl Fn(&SecretString) -> Result<(), &'static str>,
    ) {
        let Some(source) = &self.source else {
            return;
        };
        let mut last_failure = None;
        // It was read a moment ago. Many files are not all looked at in the same moment.
        let first_pause = LOOK_AGAIN.mul_f64(fastrand::f64());
        let _ = timeout(first_pause, source.asked.notified()).await;
        loop {
            let Some(read) = source.read().await else {
                return;
            };
            let left_out = read.as_ref().ok().and_then(|read| read.left_out);
            let replaced = read.and_then(|read| self.replace(read.text, &claim));
            match replaced {
                Ok(is_new) => {
                    last_failure = None;
                    if is_new {
                        tracing::info!(tenant, secret = name, "a secret has changed");
                        if let Some(left_out) = left_out {
                            tracing::warn!(tenant, secret = name, left_out, "not part of a secret");
                        }
                    }
                }
                Err(error) if last_failure.as_ref() != Some(&error) => {
                    tracing::error!(tenant, secret = name, error, "a secret stays as it was");
                    last_failure = Some(error);
                }
                Err(_) => {}
            }
            source.looks.send_modify(|looks| *looks += 1);
            sleep(MIN_PAUSE).await;
            let _ = timeout(LOOK_AGAIN - MIN_PAUSE, source.asked.notified()).await;
        }
    }

    /// Returns whether it is another one now.
    fn replace(
        &self,
        text: SecretString,
        claim: impl Fn(&SecretString) -> Result<(), &'static str>,
    ) -> Result<bool, String> {
        if self.now().text.expose_secret() == text.expose_secret() {
            return Ok(false);
        }
        claim(&text)?;
        self.current.send_modify(|current| {
            *current = Version {
                text,
                number: current.number + 1,
            };
        });
        Ok(true)
    }
}

impl Source {
    /// Reads the file once more. Only a panic, which is reported, or the end of the runtime prevent it.
    async fn read(&self) -> Option<Result<FileText, String>> {
        let _turn = READING.acquire().await.ok()?;
        let (file, check) = (self.file.clone(), self.check);
        spawn_blocking(move || read(&file, check)).await.ok()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Secret::fixed(text.into())
    }
}

/// What was read from a file.
#[derive(Debug)]
pub struct FileText {
    /// The secret.
    pub text: SecretString,
    /// What editors add to files and is never part of a secret, where there was any.
    pub left_out: Option<&'static str>,
}

/// What a file holds, without the space around it, a byte order mark, and the carriage returns of its line ends.
///
/// # Errors
/// Why it holds no secret. Nothing names the file: its name can be the secret, given by mistake.
pub fn read(file: &Path, check: Check) -> Result<FileText, String> {
    let unreadable = |error: io::Error| format!("cannot be read from its file: {error}");
    let mut text = String::new();
    // A pipe or a device does not say how long it is.
    let opened = File::open(file).map(|file| file.take(MAX_FILE_BYTES + 1));
    let read = opened.and_then(|mut file| file.read_to_string(&mut text));
    if read.map_err(unreadable)? as u64 > MAX_FILE_BYTES {
        return Err("has a file of more than 64 KiB".to_owned());
    }
    let (has_mark, has_crlf) = (text.starts_with(BYTE_ORDER_MARK), text.contains("\r\n"));
    let text = text.trim_start_matches(BYTE_ORDER_MARK).trim();
    if text.is_empty() {
        return Err("has an empty file".to_owned());
    }
    let secret = SecretString::from(text.replace("\r\n", "\n"));
    check(&secret)?;
    Ok(FileText {
        text: secret,
        left_out: match (has_mark, has_crlf) {
            (true, true) => Some("a byte order mark and carriage returns"),
            (true, false) => Some("a byte order mark"),
            (false, true) => Some("carriage returns"),
            (false, false) => None,
        },
    })
}

/// Its name can be the secret, given by mistake.
impl fmt::Debug for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Source(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn is_short(secret: &SecretString) -> Result<(), &'static str> {
        match secret.expose_secret().len() {
            ..10 => Ok(()),
            _ => Err("is too long"),
        }
    }

    fn text(secret: &Secret) -> String {
        secret.now().text.expose_secret().to_owned()
    }

    #[tokio::test]
    async fn a_file_that_changes_is_read_again_as_soon_as_somebody_asks() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        fs::write(&file, "one\n").unwrap();
        let secret = Secret::in_file(read(&file, is_short).unwrap().text, file.clone(), is_short);
        let follow = tokio::spawn(secret.clone().follow("test", "t".to_owned(), |_| Ok(())));
        assert_eq!(text(&secret), "one");
        assert!(!secret.has_changed_since(0).await);
        fs::write(&file, " two ").unwrap();
        assert!(secret.has_changed_since(0).await);
        assert_eq!(text(&secret), "two");
        let number = secret.now().number;
        for unusable in ["", "much too long"] {
            fs::write(&file, unusable).unwrap();
            assert!(!secret.has_changed_since(number).await);
        }
        fs::remove_file(&file).unwrap();
        assert!(!secret.has_changed_since(number).await);
        assert_eq!(text(&secret), "two");
        follow.abort();
    }

    #[test]
    fn what_editors_add_to_a_file_is_no_part_of_the_secret() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        for (bytes, expected, left_out) in [
            ("one\ntwo\n", "one\ntwo", None),
            ("\u{feff}one\n", "one", Some("a byte order mark")),
            ("one\r\ntwo\r\n", "one\ntwo", Some("carriage returns")),
            (
                "\u{feff} one\r\n",
                "one",
                Some("a byte order mark and carriage returns"),
            ),
        ] {
            fs::write(&file, bytes).unwrap();
            let read = read(&file, is_short).unwrap();
            let found = (read.text.expose_secret(), read.left_out);
            assert_eq!(found, (expected, left_out), "{bytes:?}");
        }
        fs::write(&file, "\u{feff}\r\n").unwrap();
        assert!(read(&file, is_short).is_err());
    }

    #[tokio::test]
    async fn a_secret_without_a_file_never_changes_and_nobody_waits_for_it() {
        let secret = Secret::fixed("whsec_hidden".into());
        secret
            .clone()
            .follow("test", "t".to_owned(), |_| Ok(()))
            .await;
        assert!(!secret.has_changed_since(0).await);
        let printed = format!("{secret:?}");
        assert!(!printed.contains("whsec"), "{printed}");
    }
}
