//! Whether the files that SQLite writes into are still those that a restart finds.
//!
//! A file that is deleted or replaced while it is open takes writes as before, and all of them are gone with the
//! process. So the names are looked up after every commit. They are never opened for that: closing a second descriptor
//! of a file drops the locks that SQLite has on it.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::durable::write_ahead_log;

/// The database and its write-ahead log, as they were when the log was opened.
#[derive(Debug)]
pub(super) struct LogFiles {
    database: OpenFile,
    write_ahead_log: OpenFile,
}

/// A name, and the file that it had.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// A name does not lead to the file that is open.
#[derive(Debug, Error)]
#[error("{path} was deleted or replaced: what is written would be lost with this process")]
pub(super) struct Replaced {
    path: PathBuf,
    /// Why it could not be looked up.
    source: Option<io::Error>,
}

impl LogFiles {
    /// Both files of the log that is open at `path`. SQLite has the write-ahead log beside the database itself, also
    /// where `path` is a symbolic link.
    ///
    /// # Errors
    /// If one of them is not there, or cannot be looked up.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let resolved = fs::canonicalize(path)?;
        Ok(LogFiles {
            database: OpenFile::of(path.to_owned())?,
            write_ahead_log: OpenFile::of(write_ahead_log(&resolved))?,
        })
    }

    /// # Errors
    /// If a name leads elsewhere, or nobody can say where it leads.
    pub(super) fn check(&self) -> Result<(), Replaced> {
        self.database.check()?;
        self.write_ahead_log.check()
    }
}

impl OpenFile {
    fn of(path: PathBuf) -> io::Result<Self> {
        let found = fs::metadata(&path)?;
        Ok(OpenFile {
            path,
            device: found.dev(),
            inode: found.ino(),
        })
    }

    fn check(&self) -> Result<(), Replaced> {
        let replaced = |source| Replaced {
            path: self.path.clone(),
            source,
        };
        let found = fs::metadata(&self.path).map_err(|error| replaced(Some(error)))?;
        if self.is(&found) {
            Ok(())
        } else {
            Err(replaced(None))
        }
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == (self.device, self.inode)
    }
}
