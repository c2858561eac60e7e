//! An end of the log, with all that the next record goes on from.

use jiff::Timestamp;

use crate::{
    event::Position,
    store::{Record, hot_tail::Bounds},
};

/// Right after a record, or before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) position: Position,
    pub(super) receive_time: Timestamp,
    pub(super) end_offset: u64,
}

impl End {
    pub(super) fn bounds(&self, trimmed: Position) -> Bounds {
        Bounds {
            trimmed,
            head: self.position,
            head_time: self.receive_time,
        }
    }
}

impl From<&Record> for End {
    fn from(record: &Record) -> Self {
        End {
            position: record.position(),
            receive_time: record.receive_time,
            end_offset: record.end_offset,
        }
    }
}
