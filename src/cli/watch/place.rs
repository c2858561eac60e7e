//! The place in the stream, kept in a file from one run to the next.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use thiserror::Error;
use uuid::Uuid;

/// How long a resume token is at most, in characters.
const MAX_TOKEN_LENGTH: usize = 128;

/// How much of a resume file is read: a token, and room for white space around it.
const MAX_FILE_LENGTH: u64 = 1024;

/// A resume file.
pub(super) struct Place {
    path: PathBuf,
    /// What is written before it takes the file's name.
    scratch: PathBuf,
    token: Option<String>,
}

/// Why a resume file is of no use.
#[derive(Debug, Error)]
pub(super) enum PlaceError {
    /// It cannot be read.
    #[error("cannot read the resume file {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    /// It cannot be written.
    #[error("cannot write the resume file {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    /// It is a file of another kind, and would be overwritten.
    #[error("{0} holds something else than a resume token: name another --resume-file")]
    NoToken(PathBuf),
}

impl Place {
    /// Reads the token, where there is one: a file that is missing or blank has none.
    ///
    /// # Errors
    /// If it cannot be read, or holds something else.
    pub(super) fn open(path: PathBuf) -> Result<Place, PlaceError> {
        let token = match read(&path) {
            Ok(text) => text.trim_ascii().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(PlaceError::Read { path, source }),
        };
        let token = match String::from_utf8(token) {
            Ok(token) if token.is_empty() => None,
            Ok(token) if is_token(&token) => Some(token),
            _ => return Err(PlaceError::NoToken(path)),
        };
        // In the same folder, because a file cannot be renamed from one file system to another.
        let mut scratch = path.clone().into_os_string();
        scratch.push(format!(".{}.new", Uuid::new_v4()));
        Ok(Place {
            path,
            scratch: scratch.into(),
            token,
        })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The token that the file holds.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Makes the file hold this token, whole and past a power cut. Writes nothing if it does already.
    ///
    /// # Errors
    /// If it cannot be written; then it holds the token from before, or this one.
    pub(super) fn store(&mut self, token: &str) -> Result<(), PlaceError> {
        if self.token.as_deref() == Some(token) {
            return Ok(());
        }
        if let Err(source) = self.replace(token) {
            let _ = fs::remove_file(&self.scratch);
            let path = self.path.clone();
            return Err(PlaceError::Write { path, source });
        }
        self.token = Some(token.to_owned());
        Ok(())
    }

    fn replace(&self, token: &str) -> io::Result<()> {
        let mut file = File::create(&self.scratch)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        fs::rename(&self.scratch, &self.path)?;
        // The new name is durable only when its folder is.
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }
}

/// Whether this can be a resume token: base64url.
pub(super) fn is_token(text: &str) -> bool {
    let is_letter =
        |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_' | b'=');
    (1..=MAX_TOKEN_LENGTH).contains(&text.len()) && text.bytes().all(is_letter)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Renaming a file over a device or a pipe would take it away from everybody else.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_FILE_LENGTH)
        .read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_token_outlives_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("place");
        let mut place = Place::open(path.clone()).unwrap();
        assert_eq!(place.token(), None);
        place.store("first").unwrap();
        place.store("second").unwrap();
        assert_eq!(place.token(), Some("second"));
        assert_eq!(Place::open(path).unwrap().token(), Some("second"));
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "the scratch file is gone");
    }

    #[test]
    fn the_same_token_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("place");
        let mut place = Place::open(path.clone()).unwrap();
        place.store("token").unwrap();
        let written = fs::metadata(&path).unwrap().ino();
        place.store("token").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), written);
        place.store("other").unwrap();
        assert_ne!(fs::metadata(&path).unwrap().ino(), written);
    }

    #[test]
    fn a_blank_file_has_no_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("place");
        fs::write(&path, " \n").unwrap();
        assert_eq!(Place::open(path).unwrap().token(), None);
    }

    #[test]
    fn a_file_that_is_no_resume_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("place");
        for content in ["dear diary", "a\nb", "\u{e4}", &"x".repeat(129)] {
            fs::write(&path, content).unwrap();
            assert!(matches!(
                Place::open(path.clone()),
                Err(PlaceError::NoToken(_))
            ));
        }
        let device = Place::open("/dev/null".into());
        assert!(matches!(device, Err(PlaceError::Read { .. })));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("place");
        let mut place = Place::open(path).unwrap();
        assert!(matches!(
            place.store("token"),
            Err(PlaceError::Write { .. })
        ));
        assert_eq!(place.token(), None);
    }
}
