//! `store backup`: copies of the logs of a running gateway, which makes them.

use std::{
    net::SocketAddr,
    os::unix::ffi::OsStrExt,
    path::{self, PathBuf},
    process::ExitCode,
    time::Duration,
};

use reqwest::{Client, Response, StatusCode, header::HeaderValue};

use super::{cause::with_causes, complain, say};
use crate::admin::{BACKUP_PATH, BackupLine, DIRECTORY_HEADER};

/// How long the gateway may be silent: it tells its progress every second, except while it waits for the disk.
const SILENCE: Duration = Duration::from_secs(300);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a line of the answer may be.
const MAX_LINE_BYTES: usize = 64 << 10;

#[derive(clap::Args)]
pub(super) struct BackupArgs {
    /// The directory on the gateway's machine; a missing one is created, and no file in it is replaced
    dir: PathBuf,
    /// The gateway's admin address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin_addr: SocketAddr,
}

pub(super) async fn run(args: &BackupArgs) -> ExitCode {
    match back_up(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => complain(1, problem),
    }
}

async fn back_up(args: &BackupArgs) -> Result<(), String> {
    let directory = path::absolute(&args.dir).map_err(|error| error.to_string())?;
    let directory = HeaderValue::from_bytes(directory.as_os_str().as_bytes())
        .map_err(|_| "the directory's name has control characters".to_owned())?;
    let client = Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(SILENCE)
        .build()
        .map_err(|error| with_causes(&error))?;
    let mut answer = client
        .post(format!("http://{}{BACKUP_PATH}", args.admin_addr))
        .header(DIRECTORY_HEADER, directory)
        .send()
        .await
        .map_err(broken)?;
    if answer.status() != StatusCode::OK {
        let status = answer.status();
        let text = answer.text().await.map_err(broken)?;
        return Err(match text.trim() {
            "" => format!("the gateway answers {status}"),
            problem => problem.to_owned(),
        });
    }
    let mut pending = Vec::new();
    let mut has_failed = false;
    while let Some(line) = next_line(&mut answer, &mut pending).await? {
        match line {
            BackupLine::Copying {
                tenant,
                bytes,
                of_bytes,
            } => say(format_args!(
                "copying {tenant}: {bytes} of {of_bytes} bytes"
            )),
            BackupLine::Saved {
                tenant,
                file,
                bytes,
            } => say(format_args!(
                "saved {tenant}: {} ({bytes} bytes)",
                file.display()
            )),
            BackupLine::Failed { tenant, problem } => {
                has_failed = true;
                say(format_args!("failed {tenant}: {problem}"));
            }
            BackupLine::Finished if has_failed => {
                return Err("not every tenant's log was backed up".to_owned());
            }
            BackupLine::Finished => return Ok(()),
        }
    }
    Err("the gateway ended before the backup was finished".to_owned())
}

/// The next line of the answer; `None` at its end.
async fn next_line(
    answer: &mut Response,
    pending: &mut Vec<u8>,
) -> Result<Option<BackupLine>, String> {
    let no_gateway = "what answers is no gateway's admin port";
    loop {
        if let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line = pending.drain(..=end).collect::<Vec<_>>();
            let line = serde_json::from_slice(&line).map_err(|_| no_gateway.to_owned())?;
            return Ok(Some(line));
        }
        if pending.len() > MAX_LINE_BYTES {
            return Err(no_gateway.to_owned());
        }
        match answer.chunk().await.map_err(broken)? {
            Some(chunk) => pending.extend_from_slice(&chunk),
            None => return Ok(None),
        }
    }
}

fn broken(error: reqwest::Error) -> String {
    format!(
        "the gateway's admin port does not answer: {}",
        with_causes(&error.without_url())
    )
}
