//! Reading all of a log that nobody uses.

use std::{io, path::Path, time::Duration};

use jiff::Timestamp;
use rusqlite::{Connection, backup::Backup};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    polls, requests,
    schema::{self, Unchanged, directory_of},
    snapshot::Snapshot,
};
use crate::store::{
    Config, OpenError, ReadError,
    directory::Directory,
    transfer::{Item, MovedEvent, TransferError},
};

/// How many pages of a log of an older version are copied at a time.
const COPIED_PAGES: i32 = 4 << 10;

/// A log and its directory, which nobody else opens meanwhile. Nothing is trimmed, and nothing in it is changed: a log of
/// an older version is copied, and the copy is brought up to date.
pub(in crate::store) struct Export {
    log: Unchanged,
    _copy: Option<TempDir>,
    _directory: Directory,
}

impl Export {
    /// Opens a tenant's log, which must be there. A copy, where one is needed, is beside the file `output`. Blocks.
    pub(in crate::store) fn open(
        config: &Config,
        tenant: &str,
        output: &Path,
    ) -> Result<Self, OpenError> {
        let directory = Directory::open_with_log(&config.directory, tenant)?;
        let path = directory.log_file(tenant);
        let (log, copy) = match schema::open_unchanged(&path)? {
            Some(log) => (log, None),
            None => {
                let (log, copy) = up_to_date(&path, output)?;
                (log, Some(copy))
            }
        };
        Ok(Export {
            log,
            _copy: copy,
            _directory: directory,
        })
    }

    /// When the newest event was received that is not kept any more.
    pub(in crate::store) fn trimmed_time(&self) -> Option<Timestamp> {
        let trimmed = &self.log.state.trimmed;
        (trimmed.position.sequence > 0).then_some(trimmed.receive_time)
    }

    /// Sends what the log holds, unless nobody wants it any more. Blocks.
    pub(in crate::store) fn send(&self, items: &mpsc::Sender<Item>) -> Result<(), TransferError> {
        let takes = |item| items.blocking_send(item).is_ok();
        let Unchanged {
            connection,
            id,
            state,
        } = &self.log;
        let snapshot = Snapshot {
            connection,
            id: *id,
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
        requests::for_each(connection, |request| takes(Item::Request(request)))?;
        let polls = polls::read(connection, usize::MAX, Timestamp::MAX)?;
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

/// Copies a log of an older version, and brings the copy up to date.
fn up_to_date(path: &Path, output: &Path) -> Result<(Unchanged, TempDir), OpenError> {
    let directory = directory_of(output);
    let disk = |source: io::Error| OpenError::Directory {
        path: directory.to_owned(),
        source,
    };
    let parent = Some(directory).filter(|parent| *parent != Path::new(""));
    // Nobody else may look into a temporary directory.
    let temporary = tempfile::tempdir_in(parent.unwrap_or(Path::new("."))).map_err(disk)?;
    let file = temporary.path().join("log.db");
    let copied = schema::open_for_reading(path).and_then(|source| {
        let mut copy = Connection::open(&file)?;
        Backup::new(&source, &mut copy)?.run_to_completion(COPIED_PAGES, Duration::ZERO, None)
    });
    copied.map_err(|source| OpenError::Sqlite {
        path: file.clone(),
        source,
    })?;
    drop(schema::open(&file)?);
    let log = schema::open_unchanged(&file)?.ok_or_else(|| OpenError::NotALog {
        path: file,
        what: "it cannot be brought up to date",
    })?;
    Ok((log, temporary))
}
