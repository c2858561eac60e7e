//! Reads the file of the callers while the gateway runs, within a time.

use std::{fs, path::Path, time::Duration};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use xxhash_rust::xxh3::xxh3_128;

use crate::config::sources::read_file;

/// How long a read may take before it is told of: a disk that is not there any more does not answer.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// What the file held when it was read.
pub(super) struct Contents {
    pub(super) text: String,
    pub(super) hash: u128,
}

type Read = Result<Contents, String>;

/// Reads the file, once at a time: a read that hangs cannot be stopped, and must not get company.
#[derive(Default)]
pub(super) struct Reading {
    running: Option<JoinHandle<Read>>,
}

impl Reading {
    /// What the file holds.
    ///
    /// # Errors
    /// Why that cannot be told, or not yet.
    pub(super) async fn contents(&mut self, path: &Path) -> Read {
        let path = path.to_owned();
        self.within_timeout(|| spawn_blocking(move || read(&path)))
            .await
    }

    /// The end of the read that is running, or of one that is started now.
    async fn within_timeout(&mut self, start: impl FnOnce() -> JoinHandle<Read>) -> Read {
        let running = self.running.get_or_insert_with(start);
        let Ok(ended) = timeout(READ_TIMEOUT, running).await else {
            return Err("the file was not read within 5 s".to_owned());
        };
        self.running = None;
        // A panic has been reported.
        ended.unwrap_or_else(|_| Err("the file was not read to its end".to_owned()))
    }
}

fn read(path: &Path) -> Read {
    // Opening a pipe waits for whoever writes to it.
    let found = fs::metadata(path).map_err(|error| format!("the file cannot be read: {error}"))?;
    if !found.is_file() {
        return Err("the file is no regular file".to_owned());
    }
    let text = read_file(path).map_err(|what| format!("the file {what}"))?;
    let hash = xxh3_128(text.as_bytes());
    Ok(Contents { text, hash })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_told_of_and_gets_no_company() {
        let mut reading = Reading::default();
        let (end, ended) = oneshot::channel();
        let hangs = || tokio::spawn(async { ended.await.expect("it is sent") });
        let told = reading.within_timeout(hangs).await;
        assert_eq!(told.err().unwrap(), "the file was not read within 5 s");
        let told = reading.within_timeout(|| panic!("there is one")).await;
        assert!(told.is_err());
        let found = |text: &str| {
            Ok(Contents {
                text: text.to_owned(),
                hash: 1,
            })
        };
        end.send(found("late")).ok().unwrap();
        let late = reading.within_timeout(|| panic!("there is one")).await;
        assert_eq!(late.ok().unwrap().text, "late");
        let next = found("next");
        let next = reading
            .within_timeout(|| tokio::spawn(async { next }))
            .await;
        assert_eq!(next.ok().unwrap().text, "next");
        let told = reading.within_timeout(|| tokio::spawn(pending())).await;
        assert!(told.is_err());
    }
}
