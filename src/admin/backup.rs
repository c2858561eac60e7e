//! Backups of the tenants' logs while the gateway runs, for operators.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time,
};

use crate::store::{BackupError, Copied, Logs};

/// Where a backup is ordered, by POST.
pub const BACKUP_PATH: &str = "/store/backup";

/// The header that names the directory. No web page can send it from a browser without being asked first.
pub const DIRECTORY_HEADER: &str = "x-kora-gateway-backup-directory";

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// How many lines wait for whoever ordered the backup.
const LINES_AHEAD: usize = 4;

/// A line of the answer, as JSON. An answer that does not end with [`BackupLine::Finished`] was cut off.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum BackupLine {
    /// A tenant's log is being copied.
    Copying {
        /// Whose.
        tenant: String,
        /// How many bytes are copied.
        bytes: u64,
        /// How many there are to copy.
        of_bytes: u64,
    },
    /// A tenant's copy is whole and durable.
    Saved {
        /// Whose.
        tenant: String,
        /// The copy.
        file: PathBuf,
        /// How many bytes it has.
        bytes: u64,
    },
    /// There is no copy of a tenant's log.
    Failed {
        /// Whose.
        tenant: String,
        /// Why.
        problem: String,
    },
    /// All tenants had their turn.
    Finished,
}

/// The logs that can be backed up, once they are open, one backup at a time.
#[derive(Clone)]
pub struct Backups {
    logs: Arc<OnceLock<Vec<(String, Logs)>>>,
    turn: Arc<Semaphore>,
}

impl Default for Backups {
    fn default() -> Self {
        Backups {
            logs: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Backups {
    /// Has these logs backed up from now on, each with its tenant's name.
    pub fn show(&self, logs: Vec<(String, Logs)>) {
        // There is one set of logs in the life of a gateway.
        let _ = self.logs.set(logs);
    }

    pub(super) fn routes(self) -> Router {
        Router::new()
            .route(BACKUP_PATH, post(back_up))
            .with_state(self)
    }
}

async fn back_up(State(backups): State<Backups>, headers: HeaderMap) -> Response {
    let directory = headers
        .get(DIRECTORY_HEADER)
        .map(|value| Path::new(OsStr::from_bytes(value.as_bytes())))
        .filter(|path| path.is_absolute());
    let Some(directory) = directory else {
        let problem =
            "the header x-kora-gateway-backup-directory is missing, or is no absolute path\n";
        return (StatusCode::BAD_REQUEST, problem).into_response();
    };
    let Some(logs) = backups.logs.get() else {
        let problem = "the gateway is starting: its logs are not open yet\n";
        return (StatusCode::SERVICE_UNAVAILABLE, problem).into_response();
    };
    if logs.iter().any(|(_, log)| log.is_on_nats()) {
        let problem = format!("{}\n", BackupError::OnNats);
        return (StatusCode::NOT_IMPLEMENTED, problem).into_response();
    }
    let Ok(turn) = Arc::clone(&backups.turn).try_acquire_owned() else {
        let problem = "another backup is running\n";
        return (StatusCode::CONFLICT, problem).into_response();
    };
    let (lines, written) = mpsc::channel(LINES_AHEAD);
    let order = Order {
        directory: directory.to_owned(),
        lines,
        _turn: turn,
    };
    tokio::spawn(order.carry_out(logs.clone()));
    let body = stream::unfold(written, async |mut written| {
        let line: BackupLine = written.recv().await?;
        Some((text(&line), written))
    });
    Body::from_stream(body).into_response()
}

fn text(line: &BackupLine) -> Result<Bytes, serde_json::Error> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(text.into())
}

/// A backup of all tenants, into one directory. It ends when nobody reads its lines any more.
struct Order {
    directory: PathBuf,
    lines: mpsc::Sender<BackupLine>,
    _turn: OwnedSemaphorePermit,
}

impl Order {
    async fn carry_out(self, logs: Vec<(String, Logs)>) {
        for (tenant, log) in logs {
            tracing::info!(tenant, directory = %self.directory.display(), "backing up the event log");
            let line = match self.back_up(&tenant, &log).await {
                Ok((file, copied)) => {
                    let (file_name, bytes) = (file.display(), copied.bytes);
                    tracing::info!(tenant, file = %file_name, bytes, "backed up the event log");
                    BackupLine::Saved {
                        tenant,
                        file,
                        bytes,
                    }
                }
                Err(error) => {
                    tracing::error!(tenant, %error, "the event log was not backed up");
                    let problem = error.to_string();
                    BackupLine::Failed { tenant, problem }
                }
            };
            if self.lines.send(line).await.is_err() {
                return;
            }
        }
        // Whoever ordered it may be gone.
        let _ = self.lines.send(BackupLine::Finished).await;
    }

    async fn back_up(&self, tenant: &str, log: &Logs) -> Result<(PathBuf, Copied), BackupError> {
        let (progress, copied) = watch::channel(Copied::default());
        let backup = log.back_up(&self.directory, progress);
        tokio::pin!(backup);
        let mut ticks = time::interval(PROGRESS_INTERVAL);
        // Dropped, it has the backup end.
        let mut copied = Some(copied);
        let mut last = Copied::default();
        loop {
            tokio::select! {
                saved = &mut backup => {
                    let copied = copied.map_or(last, |copied| *copied.borrow());
                    return saved.map(|file| (file, copied));
                }
                () = self.lines.closed(), if copied.is_some() => copied = None,
                _ = ticks.tick() => if let Some(copied) = &copied {
                    last = *copied.borrow();
                    let line = BackupLine::Copying {
                        tenant: tenant.to_owned(),
                        bytes: last.bytes,
                        of_bytes: last.of_bytes,
                    };
                    // Whoever is slow to read needs no more of them.
                    let _ = self.lines.try_send(line);
                }
            }
        }
    }
}
