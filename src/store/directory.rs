//! The directory of the embedded backend: one gateway at a time, one file per log.

use std::{
    fs::{DirBuilder, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use thiserror::Error;

use super::reserve::Reserve;

/// The file whose lock says that a gateway uses the directory.
const LOCK_FILE: &str = "lock";

/// The permissions of a directory that is created.
const OWNER_ONLY: u32 = 0o700;

/// What the name of a log's file ends with.
const LOG_SUFFIX: &str = ".events.db";

/// What a tenant's name may have in a file name as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the event log's directory {0} is in use by another process")]
    InUse(PathBuf),
    /// There is no log.
    #[error("there is no event log {0}")]
    Missing(PathBuf),
    /// The directory cannot be used.
    #[error("the event log's directory {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite cannot open the file.
    #[error("the event log {path}: {source}")]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file is not a log, or a newer gateway's, or damaged.
    #[error("the event log {path}: {what}")]
    NotALog {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

/// A directory that no other process uses, and that has room for the logs of many tenants.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    reserve: Arc<Reserve>,
    /// Let go of when it is closed.
    _lock: File,
}

impl Directory {
    /// Creates the directory where it is missing, and locks it. Blocks.
    ///
    /// # Errors
    /// If another process has it, or it cannot be used.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let explain = |source| OpenError::Directory {
            path: path.to_owned(),
            source,
        };
        // Events hold personal data.
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(OWNER_ONLY);
        builder.create(path).map_err(explain)?;
        let lock = File::create(path.join(LOCK_FILE)).map_err(explain)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(explain(source)),
        }
        // The directory's own name has to survive a power cut as well.
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        sync(parent.unwrap_or(Path::new("."))).map_err(explain)?;
        Ok(Directory {
            path: path.to_owned(),
            reserve: Arc::new(Reserve::of(path)),
            _lock: lock,
        })
    }

    /// Locks the directory if a tenant's log is in it.
    pub(super) fn open_with_log(path: &Path, tenant: &str) -> Result<Self, OpenError> {
        // Nothing is created here.
        if !path.is_dir() {
            return Err(OpenError::Missing(path.to_owned()));
        }
        let directory = Self::open(path)?;
        let file = directory.log_file(tenant);
        match file.is_file() {
            true => Ok(directory),
            false => Err(OpenError::Missing(file)),
        }
    }

    /// The disk space that is set aside for the logs in it.
    pub(super) fn reserve(&self) -> &Arc<Reserve> {
        &self.reserve
    }

    /// The file of a tenant's log.
    pub(super) fn log_file(&self, tenant: &str) -> PathBuf {
        log_file(&self.path, tenant)
    }

    /// Makes the names of the files in it durable.
    pub(super) fn sync(&self) -> Result<(), OpenError> {
        sync(&self.path).map_err(|source| OpenError::Directory {
            path: self.path.clone(),
            source,
        })
    }
}

/// The file of a tenant's log in a directory.
pub(super) fn log_file(directory: &Path, tenant: &str) -> PathBuf {
    let name = utf8_percent_encode(tenant, ESCAPED);
    directory.join(format!("{name}{LOG_SUFFIX}"))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("new/data");
        let first = Directory::open(&path).unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, OWNER_ONLY);
        assert!(matches!(Directory::open(&path), Err(OpenError::InUse(_))));
        drop(first);
        assert!(Directory::open(&path).is_ok());
    }

    #[test]
    fn a_tenants_name_cannot_leave_the_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        for tenant in ["../x", "a/b", ".", "..", "A b", "é", "5f0c9a52-7c1e"] {
            let file = directory.log_file(tenant);
            assert_eq!(file.parent(), Some(temporary.path()), "{tenant}");
        }
        assert_ne!(directory.log_file("a/b"), directory.log_file("a%2Fb"));
    }
}
