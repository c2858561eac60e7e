//! Why a value of a bucket cannot be used.

use crate::store::ReadError;

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is not what was written.
    Damaged,
    /// A newer version of the gateway wrote it, in a format that this one does not know. It must be left as it is.
    Newer {
        /// The number of that format.
        format: u32,
    },
}

impl Unreadable {
    /// The same as an error of the store. `damaged` says what gave a damaged value away.
    pub(super) fn error(self, damaged: &'static str) -> ReadError {
        match self {
            Unreadable::Damaged => ReadError::Corrupt {
                sequence: 0,
                what: damaged,
            },
            Unreadable::Newer { format } => ReadError::Newer {
                sequence: 0,
                format,
            },
        }
    }
}
