//! One call's attempts, up to now: what they came to, and whether there is another.

use std::time::Duration;

use tokio::time::Instant;

use super::{Endpoint, retrying::Retries};
use crate::error::CallError;

/// The attempts of one call.
pub(super) struct Tries<'a> {
    retries: &'a Retries,
    endpoint: Endpoint,
    wait_until: Instant,
    count: usize,
    failed: Option<CallError>,
}

impl<'a> Tries<'a> {
    pub(super) fn new(retries: &'a Retries, endpoint: Endpoint, wait_until: Instant) -> Self {
        Tries {
            retries,
            endpoint,
            wait_until,
            count: 0,
            failed: None,
        }
    }

    /// An attempt succeeded, and so did the call.
    pub(super) fn succeeded(self) {
        self.retries.succeeded();
    }

    /// An attempt failed. How long to pause before the next one.
    ///
    /// # Errors
    /// What the call failed with, if there is to be none. `is_given_up` says that nobody waits for one.
    pub(super) fn failed(
        &mut self,
        error: CallError,
        is_given_up: bool,
    ) -> Result<Duration, CallError> {
        self.count += 1;
        let now = Instant::now();
        let pause = match is_given_up {
            true => None,
            false => {
                let (count, until) = (self.count, self.wait_until);
                self.retries.next(self.endpoint, &error, count, now, until)
            }
        };
        let error = self.with(error);
        match pause {
            Some(pause) => {
                self.failed = Some(error);
                Ok(pause)
            }
            None => Err(error),
        }
    }

    /// What the call failed with, if it ends with `error` before another attempt is made.
    pub(super) fn end(mut self, error: CallError) -> CallError {
        self.with(error)
    }

    /// Only what creates something has to tell the highest outcome; of a read, the last error is news.
    fn with(&mut self, later: CallError) -> CallError {
        match self.failed.take() {
            Some(earlier) if self.endpoint.is_post() => earlier.worse(later),
            _ => later,
        }
    }
}
