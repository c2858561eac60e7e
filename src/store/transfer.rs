//! Moving a log: out of one backend into a file, and from the file into an empty log of any backend.
//!
//! The file is whole or it is nothing: it gets its name when it is complete, and every byte of it is checked before
//! anything is imported. The log that takes it in says that it is being filled, from before the first record until
//! after the last one is durable, and is opened by nobody in between.

mod entries;
mod entry;
mod frame;
mod item;
mod partial_file;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/properties/store/transfer.rs"]
pub(super) mod properties;
mod whole_file;

use std::{io, path::Path, path::PathBuf};

use jiff::Timestamp;
use thiserror::Error;
use tokio::{sync::mpsc, task};

pub(super) use item::{Item, MovedEvent};

pub use item::Counts;

use super::{OpenError, Place, ReadError, jetstream, sqlite};
use entry::{FORMAT, Header};
use partial_file::PartialFile;
use whole_file::WholeFile;

/// How many items are read ahead of whoever writes them.
const ITEMS_AHEAD: usize = 16;

/// Why a log was not moved.
#[derive(Debug, Error)]
pub enum TransferError {
    /// The file cannot be read or written.
    #[error("the file {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is cut, changed, or something else. Nothing was imported.
    #[error("the file {path} is not a whole export: {what}")]
    NotWhole {
        /// Which.
        path: PathBuf,
        /// What gave it away.
        what: &'static str,
    },
    /// The file holds the log of somebody else.
    #[error("the file holds the log of another tenant: {0}")]
    OtherTenant(String),
    /// There is something in the log already.
    #[error("the log to import into is not empty")]
    NotEmpty,
    /// A record of the log is not what was written, or cannot be read now.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The embedded log cannot be used.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// The log on NATS cannot be used.
    #[error(transparent)]
    Nats(#[from] jetstream::OpenError),
}

/// What a log is told before it is filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    /// When the newest of the events was received that the old log had and did not keep; `None` if it kept all.
    pub(super) trimmed_time: Option<Timestamp>,
    /// How many bytes the largest item has.
    pub(super) largest_item: usize,
}

/// Writes all of a tenant's log into a file, which only its owner may read. A log that is embedded must not be in use;
/// one on NATS is read up to where it ends now.
///
/// # Errors
/// See [`TransferError`]; the file is not there then.
pub async fn export(place: &Place, tenant: &str, file: &Path) -> Result<Counts, TransferError> {
    let (items, received) = mpsc::channel(ITEMS_AHEAD);
    let header = |trimmed_time: Option<Timestamp>| Header {
        format: FORMAT,
        tenant: tenant.to_owned(),
        trimmed_time: trimmed_time.map(Timestamp::as_millisecond),
    };
    let path = file.to_owned();
    let write = |header: Header| blocking(move || PartialFile::write(path, header, received));
    let (sent, written) = match place.clone() {
        Place::Directory(config) => {
            let tenant = tenant.to_owned();
            let output = file.to_owned();
            let open = move || sqlite::Export::open(&config, &tenant, &output);
            let source = blocking(open).await?;
            let header = header(source.trimmed_time());
            tokio::join!(blocking(move || source.send(&items)), write(header))
        }
        Place::Nats(config) => {
            let source = jetstream::Export::open(&config, tenant).await?;
            let header = header(source.trimmed_time().await?);
            tokio::join!(source.send(items), write(header))
        }
    };
    // A file that cannot be written ends the reading too, so its error comes first.
    let written = written?;
    sent?;
    blocking(move || written.finish()).await
}

/// Fills a tenant's log, which must be empty, from a file. Returns what is in the log now: of the file's content, an
/// event that is there twice is left out, and so is a poll whose screening has ended.
///
/// # Errors
/// See [`TransferError`]. Unless the log was refused or the file is not whole, the log is not opened any more.
pub async fn import(place: &Place, tenant: &str, file: &Path) -> Result<Counts, TransferError> {
    let path = file.to_owned();
    let whole = blocking(move || WholeFile::open(path)).await?;
    if whole.tenant() != tenant {
        return Err(TransferError::OtherTenant(whole.tenant().to_owned()));
    }
    let beginning = whole.beginning();
    let (items, received) = mpsc::channel(ITEMS_AHEAD);
    match place.clone() {
        Place::Directory(config) => {
            let tenant = tenant.to_owned();
            let begin = move || sqlite::Import::begin(&config, &tenant, beginning);
            let target = blocking(begin).await?;
            let (filled, read) = tokio::join!(
                blocking(move || target.fill(received)),
                blocking(move || whole.send(&items)),
            );
            let filled = filled?;
            read?;
            blocking(move || filled.finish()).await
        }
        Place::Nats(config) => {
            let target = jetstream::Import::begin(&config, tenant, beginning).await?;
            let (filled, read) =
                tokio::join!(target.fill(received), blocking(move || whole.send(&items)));
            let filled = filled?;
            read?;
            filled.finish().await
        }
    }
}

/// On a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    task::spawn_blocking(work)
        .await
        .expect("moving a log does not panic")
}
