//! Readers: connections of their own, on threads that may block.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::{sync::Semaphore, task, time::timeout};

use super::{
    log_row::read_log_row,
    polls, requests,
    schema::open_for_reading,
    scopes,
    snapshot::{Snapshot, unreadable},
};
use crate::{
    event::{LogId, Position},
    memory::Allowance,
    store::{HotTail, Metrics, Page, Polls, ReadError, RequestKey, StoredRequest},
};

/// How many readers are at work; more wait.
const READERS: usize = 4;

/// How long a read may take, its wait included.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The readers of one log. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    id: LogId,
    tail: Arc<HotTail>,
    metrics: Metrics,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, id: LogId, tail: Arc<HotTail>, metrics: Metrics) -> Self {
        Readers(Arc::new(Shared {
            path,
            id,
            tail,
            metrics,
            places: Arc::new(Semaphore::new(READERS)),
            idle: Mutex::default(),
        }))
    }

    /// The page after `sequence`. What is large in it is charged to `memory` before it is read.
    pub(super) async fn page(
        &self,
        sequence: u64,
        memory: Option<&Allowance>,
    ) -> Result<Page, ReadError> {
        let head = self.0.tail.bounds().head.sequence;
        let Some(memory) = memory else {
            let page = self.read(move |snapshot| snapshot.page(sequence, head, None));
            return page.await;
        };
        let found = self.read(move |snapshot| {
            let large = snapshot.large_parts(sequence, head)?;
            Ok(match large.bytes {
                0 => Ok(snapshot.page(sequence, head, None)?),
                _ => Err(large),
            })
        });
        let large = match found.await? {
            Ok(page) => return Ok(page),
            Err(large) => large,
        };
        let (charge, head) = match memory.try_charge(large.bytes) {
            Some(charge) => (Some(charge), head),
            // What comes before does not wait.
            None if large.before > 0 => (None, sequence + large.before),
            None => (Some(memory.charge(large.bytes).await?), head),
        };
        self.read(move |snapshot| snapshot.page(sequence, head, charge))
            .await
    }

    /// The position before the first record of `time` or later.
    pub(super) async fn position_before(&self, time: Timestamp) -> Result<Position, ReadError> {
        let head = self.0.tail.bounds().head.sequence;
        self.read(move |snapshot| snapshot.position_before(time, head))
            .await
    }

    /// What is known of a request.
    pub(super) async fn request(
        &self,
        key: RequestKey,
    ) -> Result<Option<StoredRequest>, ReadError> {
        self.read(move |snapshot| requests::read(snapshot.connection, &key))
            .await
    }

    /// Whether there are request records of this scope.
    pub(super) async fn has_scope(&self, scope: String) -> Result<bool, ReadError> {
        self.read(move |snapshot| scopes::has_scope(snapshot.connection, &scope))
            .await
    }

    /// The polls that are due first.
    pub(super) async fn polls(&self, limit: usize, latest: Timestamp) -> Result<Polls, ReadError> {
        self.read(move |snapshot| polls::read(snapshot.connection, limit, latest))
            .await
    }

    /// Reads on a thread that may block, from one state of the file.
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Snapshot<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = Arc::clone(&self.0);
        let work = async move {
            let place = Arc::clone(&shared.places);
            let place = place.acquire_owned().await.map_err(|_| gone())?;
            let work = move || {
                // Taken until the disk has answered, whoever still waits for that.
                let _place = place;
                shared.query(query)
            };
            task::spawn_blocking(work).await.map_err(|_| gone())?
        };
        let result = timeout(READ_TIMEOUT, work)
            .await
            .unwrap_or_else(|_| Err(ReadError::Unavailable("the disk did not answer".to_owned())));
        if let Err(ReadError::Corrupt { .. }) = result {
            self.0.metrics.corrupt.inc();
        }
        result
    }
}

impl Shared {
    fn query<T>(
        &self,
        query: impl FnOnce(&Snapshot<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => open_for_reading(&self.path).map_err(unreadable(0))?,
        };
        let result = {
            let transaction = connection.unchecked_transaction().map_err(unreadable(0))?;
            let (_, trimmed) =
                read_log_row(&transaction)
                    .map_err(unreadable(0))?
                    .ok_or(ReadError::Corrupt {
                        sequence: 0,
                        what: "the log's own row is damaged",
                    })?;
            query(&Snapshot {
                connection: &transaction,
                id: self.id,
                trimmed,
            })
        };
        // After a failure it could be the connection.
        if let Ok(_) | Err(ReadError::Trimmed(_)) = result {
            idle().push(connection);
        }
        result
    }
}

fn gone() -> ReadError {
    ReadError::Unavailable("the reader ended".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Condvar,
        atomic::{AtomicUsize, Ordering},
    };

    use prometheus_client::registry::Registry;

    use super::{super::schema, *};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_has_its_place_until_the_disk_has_answered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let opened = schema::open(&path).unwrap();
        let tail = Arc::new(HotTail::new(opened.state.bounds()));
        let metrics = Metrics::register(&mut Registry::default());
        let readers = Readers::new(path, opened.id, tail, metrics);
        let at_work = Arc::new(AtomicUsize::new(0));
        let disk = Arc::new((Mutex::new(false), Condvar::new()));
        let reads = (0..5 * READERS).map(|_| {
            let (readers, at_work) = (readers.clone(), Arc::clone(&at_work));
            let disk = Arc::clone(&disk);
            tokio::spawn(async move {
                let query = move |_: &Snapshot<'_>| {
                    at_work.fetch_add(1, Ordering::SeqCst);
                    let answers = disk.0.lock().unwrap();
                    drop(disk.1.wait_while(answers, |answers| !*answers).unwrap());
                    Ok(())
                };
                readers.read(query).await
            })
        });
        let reads: Vec<_> = reads.collect();
        while at_work.load(Ordering::SeqCst) < READERS {
            tokio::task::yield_now().await;
        }
        // All their callers go away.
        for read in reads {
            read.abort();
            let _ = read.await;
        }
        let late = timeout(Duration::from_millis(200), readers.read(|_| Ok(()))).await;
        let found = at_work.load(Ordering::SeqCst);
        *disk.0.lock().unwrap() = true;
        disk.1.notify_all();
        assert!(late.is_err(), "the late one got a place");
        assert_eq!(found, READERS);
        assert!(readers.read(|_| Ok(())).await.is_ok());
    }
}
