//! Reading all of a log that nobody uses.

use std::path::PathBuf;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    polls, requests,
    schema::{self, Opened},
    snapshot::Snapshot,
};
use crate::store::{
    Config, OpenError, ReadError,
    directory::Directory,
    transfer::{Item, MovedEvent, TransferError},
};

/// A log and its directory, which nobody else opens meanwhile. Nothing is trimmed.
pub(in crate::store) struct Export {
    opened: Opened,
    path: PathBuf,
    _directory: Directory,
}

impl Export {
    /// Opens a tenant's log, which must be there. Blocks.
    pub(in crate::store) fn open(config: &Config, tenant: &str) -> Result<Self, OpenError> {
        let directory = Directory::open_with_log(&config.directory, tenant)?;
        let path = directory.log_file(tenant);
        Ok(Export {
            opened: schema::open(&path)?,
            path,
            _directory: directory,
        })
    }

    /// When the newest event was received that is not kept any more.
    pub(in crate::store) fn trimmed_time(&self) -> Option<Timestamp> {
        let trimmed = &self.opened.state.trimmed;
        (trimmed.position.sequence > 0).then_some(trimmed.receive_time)
    }

    /// Sends what the log holds, unless nobody wants it any more. Blocks.
    pub(in crate::store) fn send(&self, items: &mpsc::Sender<Item>) -> Result<(), TransferError> {
        let takes = |item| items.blocking_send(item).is_ok();
        let connection =
            schema::open_for_reading(&self.path).map_err(|source| OpenError::Sqlite {
                path: self.path.clone(),
                source,
            })?;
        let state = &self.opened.state;
        let snapshot = Snapshot {
            connection: &connection,
            id: self.opened.id,
            trimmed: state.trimmed,
        };
        let (mut sequence, head) = (
            state.trimmed.position.sequence,
            state.head.position.sequence,
        );
        while sequence < head {
            for record in snapshot.page(sequence, head, None)? {
                sequence = record.sequence;
                if !takes(Item::Event(MovedEvent::from(&*record))) {
                    return Ok(());
                }
            }
        }
        requests::for_each(&connection, |request| takes(Item::Request(request)))?;
        let polls = polls::read(&connection, usize::MAX, Timestamp::MAX)?;
        if !polls.damaged.is_empty() {
            return Err(TransferError::Read(ReadError::Corrupt {
                sequence: 0,
                what: "a poll differs from its checksum",
            }));
        }
        // Whoever wants no more has said so by then.
        let _ = polls.sound.into_iter().map(Item::Poll).all(takes);
        Ok(())
    }
}
