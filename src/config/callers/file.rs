//! The file that lists the callers, read again whenever it changes.

use std::{fs, io, path::PathBuf, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};
use xxhash_rust::xxh3::xxh3_128;

use super::{CALLERS, Surroundings};
use crate::{
    access::{Caller, Callers},
    config::{Problems, sources::parse_table},
};

/// How often the file is looked at. Orchestrators replace it by a link, which tells nobody.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// For how long the file has to stay as it is before it is read: somebody may be writing it.
const SETTLED_AFTER: Duration = Duration::from_millis(250);

/// How large the file may be.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The configuration file, as far as it lists callers.
#[derive(Clone, Debug)]
pub struct CallersFile {
    pub(in crate::config) path: PathBuf,
    pub(in crate::config) around: Surroundings,
}

impl CallersFile {
    /// Has `callers` be those of the file, whenever it changes. What is wrong in it leaves them as they are, and so does
    /// a file that lists none any more: who may call is never thrown open while the gateway runs.
    pub async fn follow(self, callers: Callers) {
        let mut last = None;
        loop {
            let seen = self.hash().await;
            if last != Some(seen) {
                sleep(SETTLED_AFTER).await;
                if self.hash().await != seen {
                    continue;
                }
                last = Some(seen);
                self.apply(&callers).await;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// What the file holds; `None` if it cannot be read.
    async fn hash(&self) -> Option<u128> {
        let file = self.clone();
        let read = spawn_blocking(move || file.text().ok().map(|text| xxh3_128(text.as_bytes())));
        read.await.ok().flatten()
    }

    async fn apply(&self, callers: &Callers) {
        let (file, replaced) = (self.clone(), callers.clone());
        // There can be very many.
        let applied = spawn_blocking(move || {
            let Some(listed) = file.read()? else {
                return Ok(None);
            };
            let count = listed.len();
            let replaced = replaced.replace(listed);
            replaced
                .map(|()| Some(count))
                .map_err(|_| "two callers cannot be told apart".to_owned())
        });
        match applied.await {
            Ok(Ok(Some(count))) => tracing::info!(count, "the callers were read"),
            Ok(Ok(None)) if callers.are_everyone() => {}
            Ok(Ok(None)) => tracing::error!(
                "the callers stay as they were: the file lists none, and only a restart can do without them"
            ),
            Ok(Err(error)) => tracing::error!(error, "the callers stay as they were"),
            // A panic has been reported.
            Err(_) => {}
        }
    }

    /// The callers that the file lists now, if it lists any.
    fn read(&self) -> Result<Option<Vec<Caller>>, String> {
        let text = self
            .text()
            .map_err(|error| format!("the file cannot be read: {error}"))?;
        let table = parse_table(&text).map_err(|what| format!("the file {what}"))?;
        let listed = table.get(CALLERS).map(|listed| self.around.callers(listed));
        let listed = listed.transpose();
        listed.map_err(|problems| Problems(problems).to_string().replace('\n', "; "))
    }

    fn text(&self) -> io::Result<String> {
        if fs::metadata(&self.path)?.len() > MAX_FILE_BYTES {
            return Err(io::Error::other("it is larger than 64 MiB"));
        }
        fs::read_to_string(&self.path)
    }
}
