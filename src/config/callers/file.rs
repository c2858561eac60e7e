//! The file that lists the callers, read again whenever it changes.

use std::{mem, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use super::{
    CALLERS, Surroundings,
    reading::{Contents, Reading},
};
use crate::{
    access::{Caller, Callers},
    config::{Problems, sources::parse_table},
};

/// How often the file is looked at. Orchestrators replace it by a link, which tells nobody.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// For how long the file has to stay as it is before it is applied: somebody may be writing it.
const SETTLED_AFTER: Duration = Duration::from_millis(250);

/// How often it is said that the file is of no use, while it is not.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);

/// The configuration file, as far as it lists callers.
#[derive(Clone, Debug)]
pub struct CallersFile {
    path: PathBuf,
    around: Surroundings,
    asked: Arc<Notify>,
}

/// What is wrong with the file, and when that was said last.
struct Complaint {
    what: String,
    said: Instant,
}

impl CallersFile {
    pub(in crate::config) fn new(path: PathBuf, around: Surroundings) -> Self {
        CallersFile {
            path,
            around,
            asked: Arc::default(),
        }
    }

    /// Has the file looked at now.
    pub fn look_again(&self) {
        self.asked.notify_one();
    }

    /// Has `callers` be those of the file, whenever it changes. What is wrong in it leaves them as they are, and so does
    /// a file that lists none any more: who may call is never thrown open while the gateway runs.
    pub async fn follow(self, callers: Callers) {
        let mut reading = Reading::default();
        let mut last = None;
        let mut complaint: Option<Complaint> = None;
        loop {
            let seen = hash(&reading.contents(&self.path).await);
            if last.as_ref() != Some(&seen) {
                sleep(SETTLED_AFTER).await;
                let read = reading.contents(&self.path).await;
                if hash(&read) != seen {
                    continue;
                }
                last = Some(seen);
                let applied = self.apply(read, &callers).await;
                complaint = applied.err().map(Complaint::say);
            } else if let Some(complaint) = &mut complaint {
                complaint.say_again();
            }
            let _ = timeout(LOOK_AGAIN, self.asked.notified()).await;
        }
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// Why the callers stay as they were.
    async fn apply(&self, read: Result<Contents, String>, callers: &Callers) -> Result<(), String> {
        let (around, replaced) = (self.around.clone(), callers.clone());
        // There can be very many.
        let applied = spawn_blocking(move || {
            let Some(listed) = around.callers_in(&read?.text)? else {
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
            Ok(Ok(None)) => {
                return Err(
                    "the file lists none, and only a restart can do without them".to_owned(),
                );
            }
            Ok(Err(what)) => return Err(what),
            // A panic has been reported.
            Err(_) => {}
        }
        Ok(())
    }
}

impl Surroundings {
    /// The callers that a file with this text lists, if it lists any.
    fn callers_in(&self, text: &str) -> Result<Option<Vec<Caller>>, String> {
        let table = parse_table(text).map_err(|what| format!("the file {what}"))?;
        let listed = table.get(CALLERS).map(|listed| self.callers(listed));
        let listed = listed.transpose();
        listed.map_err(|problems| Problems(problems).to_string().replace('\n', "; "))
    }
}

impl Complaint {
    fn say(what: String) -> Self {
        tracing::error!(error = what, "the callers stay as they were");
        Complaint {
            what,
            said: Instant::now(),
        }
    }

    fn say_again(&mut self) {
        if self.said.elapsed() >= COMPLAIN_AGAIN {
            *self = Self::say(mem::take(&mut self.what));
        }
    }
}

/// What is told apart from what was there before.
fn hash(read: &Result<Contents, String>) -> Result<u128, String> {
    read.as_ref().map(|read| read.hash).map_err(String::clone)
}

#[cfg(test)]
mod tests;
