//! Where something stands in a log.

use std::fmt;

use uuid::Uuid;

/// Which log: made up when it is created, and kept by every copy of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogId(pub [u8; 16]);

/// Right after a record, or before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The record's sequence; 0 before the first one.
    pub sequence: u64,
    /// The record's checksum; 0 before the first one.
    pub checksum: u64,
}

impl LogId {
    /// One that no log has.
    pub fn random() -> Self {
        LogId(Uuid::new_v4().into_bytes())
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from_bytes(self.0), out)
    }
}
