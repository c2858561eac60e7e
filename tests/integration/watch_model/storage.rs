//! What outlives the gateways of a run: a directory and its copies, or a NATS server.

use std::path::Path;

use async_nats::jetstream::stream::Stream;
use tempfile::TempDir;

use super::{log::Log, place::Place};
use crate::{harness::TENANT_ID, nats_server::NatsServer};

/// Where the log is.
pub enum Storage {
    Directory(Directory),
    Nats(Box<Nats>),
}

/// A directory, and a copy of it with what the model had then.
pub struct Directory {
    data: TempDir,
    backup: Option<(TempDir, Log)>,
}

/// A server of the run's own. A log that is replaced by another has a prefix of its own.
pub struct Nats {
    server: NatsServer,
    logs: usize,
    /// Once there is one.
    stream: Option<Stream>,
}

impl Storage {
    pub fn new(place: Place) -> Storage {
        match place.is_on_nats() {
            false => Storage::Directory(Directory {
                data: tempfile::tempdir().unwrap(),
                backup: None,
            }),
            true => Storage::Nats(Box::new(Nats {
                server: NatsServer::start(),
                logs: 0,
                stream: None,
            })),
        }
    }

    /// The flags that name the log.
    pub fn flags(&self) -> [(&'static str, String); 2] {
        let (log, prefix) = match self {
            Storage::Directory(directory) => {
                (format!("file:{}", directory.data.path().display()), 0)
            }
            Storage::Nats(nats) => (nats.server.url(), nats.logs),
        };
        [
            ("event-log", log),
            ("nats-stream-prefix", format!("log-{prefix}")),
        ]
    }

    /// Another log takes the place of this one.
    pub fn replace(&mut self) {
        match self {
            Storage::Directory(directory) => directory.data = tempfile::tempdir().unwrap(),
            Storage::Nats(nats) => (nats.logs, nats.stream) = (nats.logs + 1, None),
        }
    }

    /// The directory, where there is one.
    pub fn directory(&mut self) -> &mut Directory {
        match self {
            Storage::Directory(directory) => directory,
            Storage::Nats(_) => unreachable!("runs on NATS copy nothing"),
        }
    }

    /// The server, where there is one.
    pub fn nats(&mut self) -> Option<&mut Nats> {
        match self {
            Storage::Directory(_) => None,
            Storage::Nats(nats) => Some(nats),
        }
    }
}

impl Directory {
    /// Another directory takes its place, when nobody has it any more.
    pub fn put(&mut self, data: TempDir) {
        self.data = data;
    }

    pub fn back_up(&mut self, log: &Log) {
        self.backup = Some((self.copy(), log.clone()));
    }

    /// The copy takes the directory's place. What the model had then; `None` where there is no copy.
    pub fn restore(&mut self) -> Option<Log> {
        let (copy, log) = self.backup.take()?;
        self.put(copy);
        Some(log)
    }

    /// What a backup of the directory, or a disk after a power cut, has: nothing is being written.
    pub fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.data.path()).unwrap() {
            let from = entry.unwrap().path();
            if is_of_the_log(&from) {
                std::fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
            }
        }
        copy
    }
}

impl Nats {
    /// How many events of the log's beginning the server does not have any more.
    pub async fn trimmed(&mut self) -> usize {
        let info = self.stream().await.get_info().await.unwrap();
        info.state.first_sequence.saturating_sub(1) as usize
    }

    /// Drops the events up to this one, the first at least, as the server does when they are too old.
    pub async fn purge(&mut self, up_to: usize) {
        let stream = self.stream().await;
        let purge = stream.purge().sequence(up_to as u64 + 1);
        purge.await.unwrap();
    }

    /// Kills the server as a power cut would.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again with what it had on disk.
    pub fn resume(&mut self) {
        self.server.resume();
        self.stream = None;
    }

    async fn stream(&mut self) -> &Stream {
        if self.stream.is_none() {
            let client = self.server.client().await;
            let name = format!("log-{}-{TENANT_ID}-events", self.logs);
            self.stream = Some(client.get_stream(name).await.unwrap());
        }
        self.stream.as_ref().expect("just set")
    }
}

/// Not the lock, and not what SQLite makes anew.
fn is_of_the_log(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.ends_with(".db") || name.ends_with(".db-wal")
}
