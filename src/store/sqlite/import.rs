//! Filling an empty log. Until it is full, the file says that it is no log yet.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use prost::Message;
use tokio::sync::mpsc;

use super::{
    append,
    checkpoints::checkpoint,
    known::free_id,
    log_row::End,
    polls, request_row,
    schema::{self, Opened},
    transaction::PAGE_BYTES,
};
use crate::{
    event::LogId,
    pb,
    store::{
        Config, OpenError, Record,
        directory::Directory,
        transfer::{Beginning, Counts, Item, MovedEvent, TransferError},
    },
};

/// After about how many bytes a transaction ends.
const TRANSACTION_BYTES: u64 = 4 << 20;

/// A log that is being filled, in a directory that nobody else opens meanwhile.
pub(in crate::store) struct Import {
    connection: rusqlite::Connection,
    id: LogId,
    head: End,
    written: Counts,
    uncommitted: u64,
    path: PathBuf,
    directory: Directory,
}

impl Import {
    /// Marks a tenant's log, which must be empty, as one that is being filled. It is created where there is none. Blocks.
    pub(in crate::store) fn begin(
        config: &Config,
        tenant: &str,
        beginning: Beginning,
    ) -> Result<Self, TransferError> {
        let directory = Directory::open(&config.directory)?;
        let path = directory.log_file(tenant);
        let explain = |source| sqlite_error(&path, source);
        let opened = schema::open(&path)?;
        if !is_empty(&opened).map_err(explain)? {
            return Err(TransferError::NotEmpty);
        }
        // The place of the events that the old log did not keep.
        let head = beginning
            .trimmed_time
            .map_or(End::default(), |receive_time| {
                let gone = MovedEvent {
                    receive_time,
                    ..MovedEvent::default()
                };
                let gone = Record::seal_moved(opened.id, (0, 0), gone);
                End::after(&gone, gone.receive_time)
            });
        schema::begin_import(&opened.connection, opened.id, &head).map_err(explain)?;
        directory.sync()?;
        Ok(Import {
            connection: opened.connection,
            id: opened.id,
            head,
            written: Counts::default(),
            uncommitted: 0,
            path,
            directory,
        })
    }

    /// Writes what comes. Blocks.
    pub(in crate::store) fn fill(
        mut self,
        mut items: mpsc::Receiver<Item>,
    ) -> Result<Self, TransferError> {
        while let Some(item) = items.blocking_recv() {
            let written = self.write(item);
            written.map_err(|source| sqlite_error(&self.path, source))?;
        }
        let committed = self.commit();
        committed.map_err(|source| sqlite_error(&self.path, source))?;
        Ok(self)
    }

    /// Makes it a log like any other. Blocks.
    pub(in crate::store) fn finish(self) -> Result<Counts, TransferError> {
        let finished = schema::finish_import(&self.connection);
        finished.map_err(|source| sqlite_error(&self.path, source))?;
        self.directory.sync()?;
        Ok(self.written)
    }

    fn write(&mut self, item: Item) -> rusqlite::Result<()> {
        if self.connection.is_autocommit() {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
        }
        self.uncommitted += 2 * PAGE_BYTES;
        match item {
            Item::Event(event) => self.append(event)?,
            Item::Request(request) => {
                self.uncommitted += request.answer.len() as u64;
                // No age counts from before: it was measured by another log's clock.
                request_row::insert(&self.connection, &request, Timestamp::now())?;
                self.written.requests += 1;
            }
            // A log on NATS has some of these, and leaves them out when it reads them.
            Item::Poll(poll)
                if polls::has_ended(&self.connection, &poll.screening_id, &poll.subject_id)? => {}
            Item::Poll(poll) => {
                self.written.polls += u64::from(polls::insert(&self.connection, &poll)?);
            }
        }
        if self.uncommitted >= TRANSACTION_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    /// On NATS an id is not known for as long as its event is kept, so an event can be there twice. Here it is not.
    fn append(&mut self, mut event: MovedEvent) -> rusqlite::Result<()> {
        let Some(free) = free_id(&self.connection, self.id, &event.event_id, &event.raw)? else {
            return Ok(());
        };
        if free != event.event_id {
            event = with_id(event, free);
        }
        let last = (self.head.position.sequence, self.head.end_offset);
        let record = Record::seal_moved(self.id, last, event);
        append::insert(&self.connection, &record, record.receive_time)?;
        self.uncommitted += record.size() as u64;
        self.head = End::after(&record, record.receive_time);
        self.written.events += 1;
        Ok(())
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection.execute_batch("COMMIT")?;
        self.uncommitted = 0;
        checkpoint(&self.connection, "TRUNCATE").map(drop)
    }
}

/// Whether a log that was opened has had nothing yet.
fn is_empty(opened: &Opened) -> rusqlite::Result<bool> {
    let has_requests = opened
        .connection
        .prepare("SELECT 1 FROM requests")?
        .exists([])?;
    let has_events = opened.state.head.position.sequence > 0;
    Ok(!has_requests && !has_events && opened.polls == 0)
}

/// The event under another id.
fn with_id(event: MovedEvent, event_id: String) -> MovedEvent {
    let stamp = pb::Event {
        event_id: event_id.clone(),
        ..Default::default()
    };
    // Of a field that is there twice, the last one counts.
    let content = [event.event.to_vec(), stamp.encode_to_vec()].concat();
    MovedEvent {
        event_id,
        event: content.into(),
        ..event
    }
}

fn sqlite_error(path: &Path, source: rusqlite::Error) -> TransferError {
    TransferError::Directory(OpenError::Sqlite {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
