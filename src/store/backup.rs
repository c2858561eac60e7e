//! What is to be said of a backup of a running log, whichever backend keeps it.

use std::io;

use thiserror::Error;

/// How far a backup is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// How many bytes are copied.
    pub bytes: u64,
    /// How many there are to copy; grows with the log.
    pub of_bytes: u64,
}

/// Why there is no backup. What it had written is removed.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The copy cannot be written, or is there already.
    #[error("the copy cannot be written: {0}")]
    File(#[source] io::Error),
    /// SQLite cannot read the log or write the copy.
    #[error("the log cannot be copied: {0}")]
    Sqlite(#[source] rusqlite::Error),
    /// The log was closed, or cannot be written any more.
    #[error("the log was closed meanwhile")]
    Closed,
    /// Whoever wanted it is gone.
    #[error("it was cancelled")]
    Cancelled,
    /// It took longer than an hour.
    #[error("it took longer than an hour")]
    TooSlow,
    /// The log is on NATS, which makes its own backups.
    #[error(
        "the log is on NATS: back up its streams there, all three together (`nats stream backup`), gateways stopped"
    )]
    OnNats,
}
