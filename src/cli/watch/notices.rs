//! What is said on stderr of the stream itself: once for each change.

use std::{io::Write, time::Duration};

/// Tells a person how the stream is.
pub(super) struct Notices {
    out: Box<dyn Write + Send + Sync>,
    /// Why there is no stream, as it was said last.
    lost: Option<String>,
}

impl Notices {
    /// Tells it here.
    pub(super) fn new(out: Box<dyn Write + Send + Sync>) -> Notices {
        Notices { out, lost: None }
    }

    /// There is a stream. Worth a line only after it was said that there is none.
    pub(super) fn opened(&mut self) {
        if self.lost.take().is_some() {
            self.say("note: watching again");
        }
    }

    /// There is none, and the next is tried after this wait. Not said again while nothing else is wrong.
    pub(super) fn lost(&mut self, why: &str, wait: Duration) {
        if self.lost.as_deref() == Some(why) {
            return;
        }
        let wait = Duration::from_millis(wait.as_millis().try_into().unwrap_or(u64::MAX));
        let wait = humantime::format_duration(wait);
        self.say(&format!(
            "warning: {why}; trying again until it works, first in {wait}"
        ));
        self.lost = Some(why.to_owned());
    }

    /// Something is wrong with what the stream brings.
    pub(super) fn warn(&mut self, what: &str) {
        self.say(&format!("warning: {what}"));
    }

    /// Whoever does not read it is no reason to stop.
    fn say(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }
}
