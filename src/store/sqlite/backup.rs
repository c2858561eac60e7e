//! Copying a log into another file while it is written to.
//!
//! The writer copies it between two commits, a bounded step at a time, with the connection that it writes with: what it
//! commits meanwhile is written into the copy too, so the copy never starts over, and no transaction stays open that would
//! hold the write-ahead log. Whoever asked for the copy syncs it on a thread of its own, which sets the pace.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use tokio::{
    runtime::Handle,
    sync::{
        mpsc::{self, OwnedPermit},
        watch,
    },
    task, time,
};

use super::{Sqlite, queue::Command, schema::directory_of, transaction::PAGE_BYTES};
use crate::store::{BackupError, Copied};

/// How many pages are copied between two commits (1 MiB).
const STEP_PAGES: i32 = 256;

/// How much is copied between two syncs: the last one must be short, and the disk is the log's as well.
const SYNC_BYTES: u64 = 16 << 20;

/// How long copying one log may take.
const DEADLINE: Duration = Duration::from_secs(60 * 60);

/// What the copy's name ends with until it is whole.
const PARTIAL_SUFFIX: &str = ".partial";

/// The permissions of a copy and of its directory: events hold personal data.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// Where the writer copies the log to.
#[derive(Debug)]
pub(super) struct Target {
    copy: Connection,
    reports: mpsc::Sender<Report>,
}

/// How far the copy is.
#[derive(Debug)]
enum Report {
    Copied(Copied),
    Whole(Copied),
    Failed(rusqlite::Error),
}

/// A copy that is being made.
pub(super) struct Copying<'a> {
    backup: Option<Backup<'a, 'a>>,
    reports: mpsc::Sender<Report>,
    place: Option<OwnedPermit<Report>>,
    /// Whoever wanted it is gone.
    is_unwanted: bool,
}

/// A copy that could not begin.
pub(super) struct NotBegun {
    reports: mpsc::Sender<Report>,
    error: rusqlite::Error,
}

impl NotBegun {
    pub(super) fn report(self) {
        // Whoever wanted it may be gone.
        let _ = self.reports.try_send(Report::Failed(self.error));
    }
}

impl<'a> Copying<'a> {
    pub(super) fn begin(source: &'a Connection, target: &'a mut Target) -> Result<Self, NotBegun> {
        let reports = target.reports.clone();
        match Backup::new(source, &mut target.copy) {
            Ok(backup) => Ok(Copying {
                backup: Some(backup),
                reports,
                place: None,
                is_unwanted: false,
            }),
            Err(error) => Err(NotBegun { reports, error }),
        }
    }

    /// Waits until the next step is wanted, or none any more.
    pub(super) async fn is_wanted(&mut self) {
        if self.place.is_none() {
            match self.reports.clone().reserve_owned().await {
                Ok(place) => self.place = Some(place),
                Err(_) => self.is_unwanted = true,
            }
        }
    }

    /// Copies some pages. Returns whether there is more to copy.
    pub(super) fn step(&mut self) -> bool {
        let (Some(backup), Some(place)) = (&self.backup, self.place.take()) else {
            return !self.is_unwanted;
        };
        let stepped = backup.step(STEP_PAGES);
        let progress = backup.progress();
        let bytes = |pages: i32| u64::try_from(pages).unwrap_or(0) * PAGE_BYTES;
        let copied = Copied {
            bytes: bytes(progress.pagecount.saturating_sub(progress.remaining)),
            of_bytes: bytes(progress.pagecount),
        };
        let report = match stepped {
            Ok(StepResult::Done) => Report::Whole(copied),
            // A lock that is held for a moment: the next step tries again.
            Ok(_) => Report::Copied(copied),
            Err(error) => Report::Failed(error),
        };
        let has_more = matches!(report, Report::Copied(_));
        if !has_more {
            self.backup = None;
        }
        place.send(report);
        has_more
    }
}

impl Sqlite {
    /// Copies the log into a file of the same name in `directory`, which is created where it is missing. The copy holds
    /// everything that was acknowledged before this is called. Returns the file. Ends early when nobody listens to
    /// `progress` any more.
    ///
    /// # Errors
    /// See [`BackupError`]; no file is left then.
    pub async fn back_up(
        &self,
        directory: &Path,
        progress: watch::Sender<Copied>,
    ) -> Result<PathBuf, BackupError> {
        let name = self.path.file_name().unwrap_or_default();
        let (file, queue, runtime) = (directory.join(name), self.queue.clone(), Handle::current());
        // Also what a backup that failed has to remove is removed there.
        let work = move || {
            let partial = Partial::create(&file).map_err(BackupError::File)?;
            let copying = copy(queue, &partial, progress);
            let copied = runtime.block_on(async { time::timeout(DEADLINE, copying).await });
            copied.unwrap_or(Err(BackupError::TooSlow))?;
            partial.finish(&file).map_err(BackupError::File)?;
            Ok(file)
        };
        task::spawn_blocking(work)
            .await
            .expect("a backup does not panic")
    }
}

/// Has the writer copy the log. Blocks while it syncs.
async fn copy(
    queue: mpsc::Sender<Command>,
    partial: &Partial,
    progress: watch::Sender<Copied>,
) -> Result<(), BackupError> {
    let (reports, mut reported) = mpsc::channel(1);
    let copy = open_copy(&partial.path).map_err(BackupError::Sqlite)?;
    let target = Box::new(Target { copy, reports });
    let sent = queue.send(Command::BackUp(target)).await;
    sent.map_err(|_| BackupError::Closed)?;
    let mut synced = 0;
    loop {
        let report = tokio::select! {
            biased;
            () = progress.closed() => return Err(BackupError::Cancelled),
            report = reported.recv() => report.ok_or(BackupError::Closed)?,
        };
        let copied = match report {
            Report::Copied(copied) => copied,
            Report::Whole(copied) => {
                progress.send_replace(copied);
                return Ok(());
            }
            Report::Failed(error) => return Err(BackupError::Sqlite(error)),
        };
        progress.send_replace(copied);
        if copied.bytes.abs_diff(synced) >= SYNC_BYTES {
            partial.file.sync_data().map_err(BackupError::File)?;
            synced = copied.bytes;
        }
    }
}

/// Without a journal or syncs of SQLite's: the file counts only once it is whole, and is synced elsewhere.
fn open_copy(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "off")?;
    Ok(connection)
}

/// A copy that is not whole yet. It is removed if it does not become so.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn create(whole: &Path) -> io::Result<Self> {
        let directory = directory_of(whole);
        match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        refuse_existing(whole)?;
        let mut name = whole.as_os_str().to_owned();
        name.push(PARTIAL_SUFFIX);
        let path = PathBuf::from(name);
        // One that is left over is of a gateway that was killed.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        let file = options.open(&path)?;
        Ok(Partial { path, file })
    }

    /// Makes it durable, and then gives it its name.
    fn finish(self, whole: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        let (own, named) = (self.file.metadata()?, fs::metadata(&self.path)?);
        if (own.dev(), own.ino()) != (named.dev(), named.ino()) {
            return Err(io::Error::other("another backup replaced the copy"));
        }
        refuse_existing(whole)?;
        fs::rename(&self.path, whole)?;
        File::open(directory_of(whole))?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Once it was renamed, nothing has this name.
        let _ = fs::remove_file(&self.path);
    }
}

fn refuse_existing(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        let what = format!("{} is there already, and is not replaced", path.display());
        return Err(io::Error::new(ErrorKind::AlreadyExists, what));
    }
    Ok(())
}
