//! The embedded backend: a log is one SQLite file.
//!
//! One thread writes (see `writer`), while there is something to write (see `writing`): all appends that wait share one transaction and one sync. Readers have
//! connections of their own and never wait for it. SQLite is set to WAL and `synchronous=FULL`, so a commit is
//! on disk when it returns.

mod append;
mod backup;
mod checkpoints;
mod clock_mark;
mod durable;
mod eviction;
mod export;
mod failure;
mod files;
mod import;
mod known;
mod log_row;
mod poll_log;
mod polls;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/properties/store/sqlite.rs"]
pub(super) mod properties;
mod queue;
mod reader;
mod request_row;
mod request_usage;
mod requests;
mod retention;
mod schema;
mod scopes;
mod snapshot;
mod transaction;
mod waiting;
mod writer;
mod writing;
mod young;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
    time,
};

use super::{
    AppendError, Appended, Begun, Config, Ending, EventLog, HotTail, Intent, Metrics, OpenError,
    Page, ReadError, RequestKey, RequestLog, StoredRequest, directory::Directory,
    request_space::RequestSpace, writable::Writable,
};
use crate::{
    clock::Clock,
    event::{LogId, NewEvent, Position},
    memory::Allowance,
};
pub(super) use export::Export;
pub(super) use import::Import;
use queue::{Command, Operation, Write, Written};
use reader::Readers;
use waiting::Waiting;
use writer::{Seen, Writer};
use writing::write_until_closed;

/// How long a write may take, its wait for the others included.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How many writes wait for the writer.
const QUEUED_WRITES: usize = 1024;

/// How many KiB of them wait for the writer, or are being written.
const QUEUED_KIB: u32 = 64 << 10;

/// One tenant's log in a file.
#[derive(Debug)]
pub struct Sqlite {
    id: LogId,
    /// Where its file is.
    path: PathBuf,
    tail: Arc<HotTail>,
    queue: mpsc::Sender<Command>,
    room: Arc<Semaphore>,
    writable: Writable,
    readers: Readers,
    waiting: Waiting,
    open: Mutex<Option<Open>>,
}

/// What closing the log ends.
#[derive(Debug)]
struct Open {
    writer: JoinHandle<()>,
    directory: Arc<Directory>,
}

impl Sqlite {
    /// Opens a tenant's log in a directory of its own, and creates it where there is none. Blocks while it reads. To be
    /// called inside of a runtime, in which the writer waits.
    ///
    /// # Errors
    /// If another process has the directory, or the file cannot be used.
    pub fn open(
        config: &Config,
        tenant: &str,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let directory = Arc::new(Directory::open(&config.directory)?);
        Self::open_in(directory, config, tenant, clock, metrics)
    }

    /// Opens a tenant's log in the directory of `config`, which is open already. Blocks while it reads. To be called inside
    /// of a runtime, in which the writer waits.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open_in(
        directory: Arc<Directory>,
        config: &Config,
        tenant: &str,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let path = directory.log_file(tenant);
        let opened = schema::open(&path).or_else(|error| {
            let is_full = failure::is_full_at_start(&error, schema::directory_of(&path));
            if is_full && directory.reserve().give_up() {
                schema::open(&path)
            } else {
                Err(error)
            }
        })?;
        directory.sync()?;
        if opened.is_writable {
            directory.reserve().allocate();
        }
        let request_space = RequestSpace::new(
            path.display().to_string(),
            config.request_bytes,
            metrics.clone(),
        );
        let tail = Arc::new(HotTail::new(opened.state.bounds()));
        let readers = Readers::new(path.clone(), opened.id, Arc::clone(&tail), metrics.clone());
        let (queue, commands) = mpsc::channel(QUEUED_WRITES);
        let writable = Writable::new(opened.is_writable, metrics.clone());
        let id = opened.id;
        let waiting = Waiting::new(opened.polls, metrics.clone());
        let seen = Seen {
            tail: Arc::clone(&tail),
            writable: writable.clone(),
            waiting: waiting.clone(),
            request_space,
            metrics,
        };
        let log_time = opened.times.go_on(&clock);
        let (writer, connection) = Writer::new(
            opened,
            config,
            log_time,
            Arc::clone(directory.reserve()),
            seen,
        );
        let kept_for = config.retention_age.min(config.request_retention);
        let writer = tokio::spawn(write_until_closed(writer, connection, commands, kept_for));
        Ok(Sqlite {
            id,
            path,
            tail,
            queue,
            room: Arc::new(Semaphore::new(QUEUED_KIB as usize)),
            writable,
            readers,
            waiting,
            open: Mutex::new(Some(Open { writer, directory })),
        })
    }

    /// Writes what waits, ends the writer, and lets go of the directory, which the last log in it unlocks. Appends fail from then on.
    pub async fn close(&self) {
        let open = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Open { writer, directory }) = open else {
            return;
        };
        // A writer that is gone needs no order.
        let _ = self.queue.send(Command::Close).await;
        // One that panicked has ended too, and was reported by its panic.
        let _ = writer.await;
        drop(directory);
    }

    /// Has something written, and waits until it is durable.
    async fn write(&self, operation: Operation) -> Result<Written, AppendError> {
        time::timeout(WRITE_TIMEOUT, self.enqueue(operation))
            .await
            .unwrap_or_else(|_| {
                self.writable.set(false);
                Err(AppendError::TooSlow)
            })
    }

    async fn enqueue(&self, operation: Operation) -> Result<Written, AppendError> {
        let kib = u32::try_from(operation.size() >> 10).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room)
            .acquire_many_owned(kib.saturating_add(1).min(QUEUED_KIB))
            .await
            .map_err(|_| AppendError::Broken)?;
        let (answer, answered) = oneshot::channel();
        let write = Write {
            operation,
            answer,
            _room: room,
        };
        let sent = self.queue.send(Command::Write(Box::new(write))).await;
        sent.map_err(|_| AppendError::Broken)?;
        answered.await.unwrap_or(Err(AppendError::Broken))
    }
}

impl EventLog for Sqlite {
    fn id(&self) -> LogId {
        self.id
    }

    fn tail(&self) -> &HotTail {
        &self.tail
    }

    fn append(&self, event: NewEvent) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async {
            match self.write(Operation::Append(event)).await? {
                Written::Appended(appended) => Ok(appended),
                other => unreachable!("an append was answered with {other:?}"),
            }
        })
    }

    fn read_charged<'a>(
        &'a self,
        sequence: u64,
        memory: Option<&'a Allowance>,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        Box::pin(async move {
            match self.tail.page(sequence) {
                Some(page) => Ok(page),
                None => self.readers.page(sequence, memory).await,
            }
        })
    }

    fn position_before(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(self.readers.position_before(time))
    }

    fn writable(&self) -> watch::Receiver<bool> {
        self.writable.subscribe()
    }
}

impl RequestLog for Sqlite {
    fn begin(&self, intent: Intent) -> BoxFuture<'_, Result<Begun, AppendError>> {
        Box::pin(async {
            match self.write(Operation::Begin(intent)).await? {
                Written::Begun(begun) => Ok(begun),
                other => unreachable!("an intent was answered with {other:?}"),
            }
        })
    }

    fn finish(&self, ending: Ending) -> BoxFuture<'_, Result<bool, AppendError>> {
        Box::pin(async {
            match self.write(Operation::Finish(ending)).await? {
                Written::Finished(is_recorded) => Ok(is_recorded),
                other => unreachable!("an ending was answered with {other:?}"),
            }
        })
    }

    fn request(&self, key: RequestKey) -> BoxFuture<'_, Result<Option<StoredRequest>, ReadError>> {
        Box::pin(self.readers.request(key))
    }

    fn has_scope(&self, scope: String) -> BoxFuture<'_, Result<bool, ReadError>> {
        Box::pin(self.readers.has_scope(scope))
    }
}
