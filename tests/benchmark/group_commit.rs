//! The least that a durable append costs: bare SQLite with the gateway's settings, one writer thread, and one
//! transaction for all who wait.

use std::{
    path::Path,
    sync::{
        Barrier,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior};

use crate::process::CpuTime;

/// What the appenders saw.
pub struct Appended {
    /// From the first append to the last answer.
    pub took: Duration,
    /// From each append to its answer.
    pub latencies: Vec<Duration>,
    /// The processor time of all threads.
    pub cpu: Duration,
}

/// A record that waits, and whom to tell.
struct Append {
    record: Vec<u8>,
    done: SyncSender<()>,
}

/// Appends `count` records from as many threads as there are appenders, each of which waits for the answer to
/// one before the next.
pub fn append(directory: &Path, appenders: usize, count: usize, record: &[u8]) -> Appended {
    let connection = open(&directory.join("log.db"));
    let (queue, waiting) = sync_channel(appenders);
    let is_at_line = Barrier::new(appenders + 1);
    thread::scope(|threads| {
        threads.spawn(|| write(connection, waiting));
        let shares: Vec<_> = (0..appenders)
            .map(|appender| {
                let (queue, share) = (queue.clone(), (appender..count).step_by(appenders).len());
                let is_at_line = &is_at_line;
                threads.spawn(move || {
                    is_at_line.wait();
                    let latencies = append_some(&queue, share, record);
                    is_at_line.wait();
                    // A thread that ended would take its time with it.
                    is_at_line.wait();
                    latencies
                })
            })
            .collect();
        drop(queue);
        let before = CpuTime::here();
        let began = Instant::now();
        is_at_line.wait();
        is_at_line.wait();
        let took = began.elapsed();
        let cpu = CpuTime::here().since(&before);
        is_at_line.wait();
        let latencies = shares.into_iter().flat_map(|share| share.join().unwrap());
        Appended {
            took,
            latencies: latencies.collect(),
            cpu,
        }
    })
}

fn append_some(queue: &SyncSender<Append>, count: usize, record: &[u8]) -> Vec<Duration> {
    let (done, is_done) = sync_channel(1);
    let append = |_| {
        let began = Instant::now();
        let (record, done) = (record.to_vec(), done.clone());
        queue.send(Append { record, done }).unwrap();
        is_done.recv().unwrap();
        began.elapsed()
    };
    (0..count).map(append).collect()
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
        .unwrap();
    connection
        .pragma_update(None, "synchronous", "full")
        .unwrap();
    let table = "CREATE TABLE records (sequence INTEGER PRIMARY KEY, record BLOB NOT NULL)";
    connection.execute(table, []).unwrap();
    connection
}

fn write(mut connection: Connection, waiting: Receiver<Append>) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        for append in &batch {
            transaction
                .prepare_cached("INSERT INTO records (record) VALUES (?)")
                .unwrap()
                .execute([&append.record])
                .unwrap();
        }
        transaction.commit().unwrap();
        for append in batch {
            append.done.send(()).unwrap();
        }
    }
}
