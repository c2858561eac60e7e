//! What a failure of SQLite's means for the log.

use std::path::Path;

use rusqlite::{ErrorCode, ffi};
use thiserror::Error;

use super::files::Replaced;
use crate::store::{AppendError, OpenError, reserve};

/// Why a commit failed.
#[derive(Debug, Error)]
pub(super) enum CommitError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// It was written, into a file that no restart finds.
    #[error(transparent)]
    Replaced(#[from] Replaced),
}

impl CommitError {
    /// Whether it can pass.
    pub(super) fn consequence(&self, directory: &Path) -> AppendError {
        match self {
            CommitError::Sqlite(error) => consequence(error, directory),
            CommitError::Replaced(_) => AppendError::Broken,
        }
    }

    /// Whether it was for want of room on the disk.
    pub(super) fn is_full_disk(&self, directory: &Path) -> bool {
        match self {
            CommitError::Sqlite(error) => is_full_disk(error, directory),
            CommitError::Replaced(_) => false,
        }
    }
}

/// Whether it can pass, or leaves it unsure what is on disk.
///
/// After a sync that failed, the system may have dropped what it could not write and still say that the
/// next sync succeeded. So nothing is appended any more until a restart has read what is there. The same
/// goes for every failure that is not known to be harmless.
pub(super) fn consequence(error: &rusqlite::Error, directory: &Path) -> AppendError {
    if is_full_disk(error, directory) {
        return AppendError::Unavailable;
    }
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return AppendError::Broken;
    };
    match failure.code {
        // Nothing was written: somebody else holds the lock, or the event is refused.
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::ConstraintViolation => {
            AppendError::Unavailable
        }
        _ => AppendError::Broken,
    }
}

/// Whether a write of SQLite's failed because the disk of this directory is full, or a quota is spent.
///
/// SQLite calls only ENOSPC a full disk; a quota (EDQUOT) is an I/O error to it like any other, whose cause it does not
/// keep, so the disk is asked again. What a sync reports is never a full disk, whatever its cause: it is unsure then what
/// was written.
pub(super) fn is_full_disk(error: &rusqlite::Error, directory: &Path) -> bool {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return false;
    };
    match (failure.code, failure.extended_code) {
        (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => true,
        (_, ffi::SQLITE_IOERR_WRITE) => reserve::is_disk_full(directory),
        _ => false,
    }
}

/// The same of opening a log.
pub(super) fn is_full_at_start(error: &OpenError, directory: &Path) -> bool {
    match error {
        OpenError::Sqlite { source, .. } => is_full_disk(source, directory),
        OpenError::Directory { source, .. } => reserve::is_full(source),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_breaks_the_log_and_a_full_disk_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let of = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            consequence(&error, directory.path())
        };
        assert_eq!(of(ffi::SQLITE_FULL), AppendError::Unavailable);
        assert_eq!(of(ffi::SQLITE_BUSY), AppendError::Unavailable);
        assert_eq!(of(ffi::SQLITE_IOERR_SHMSIZE), AppendError::Unavailable);
        for code in [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_READONLY,
        ] {
            assert_eq!(of(code), AppendError::Broken, "{code}");
        }
        let not_from_the_file = rusqlite::Error::QueryReturnedNoRows;
        assert_eq!(
            consequence(&not_from_the_file, directory.path()),
            AppendError::Broken
        );
    }
}
