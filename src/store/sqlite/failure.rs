//! What a failure of SQLite's means for the log.

use rusqlite::{ErrorCode, ffi};
use thiserror::Error;

use super::files::Replaced;
use crate::store::AppendError;

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
    pub(super) fn consequence(&self) -> AppendError {
        match self {
            CommitError::Sqlite(error) => consequence(error),
            CommitError::Replaced(_) => AppendError::Broken,
        }
    }
}

/// Whether it can pass, or leaves it unsure what is on disk.
///
/// After a sync that failed, the system may have dropped what it could not write and still say that the
/// next sync succeeded. So nothing is appended any more until a restart has read what is there. The same
/// goes for every failure that is not known to be harmless.
pub(super) fn consequence(error: &rusqlite::Error) -> AppendError {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return AppendError::Broken;
    };
    match (failure.code, failure.extended_code) {
        // Nothing was written: the disk is full, or somebody else holds the lock, or the event is refused.
        (
            ErrorCode::DiskFull
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::ConstraintViolation,
            _,
        )
        | (_, ffi::SQLITE_IOERR_SHMSIZE) => AppendError::Unavailable,
        _ => AppendError::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_breaks_the_log_and_a_full_disk_does_not() {
        let of = |code| consequence(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
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
        assert_eq!(consequence(&not_from_the_file), AppendError::Broken);
    }
}
