//! One call's attempts, up to now: what they came to, and whether there is another.

use std::time::Duration;

use tokio::time::Instant;

use super::{Endpoint, retry_hint::DEFAULT_WAIT, retrying::Retries};
use crate::error::{CallError, Reason};

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

    /// An attempt was refused for its key, and the next one has another. It counts as none, but is told if nothing more
    /// comes of the call.
    pub(super) fn refused_for_key(&mut self, error: CallError) {
        self.failed = Some(self.with(error));
    }

    /// What the call failed with, if it ends with `error` before another attempt is made.
    pub(super) fn end(mut self, error: CallError) -> CallError {
        self.with(error)
    }

    /// Only what creates something has to tell the highest outcome; of a read, the last error is news. A
    /// caller always hears when to come back from a Kora that is unavailable; the pause before the gateway's
    /// own next attempt is random where Kora names none.
    fn with(&mut self, later: CallError) -> CallError {
        let mut error = match self.failed.take() {
            Some(earlier) if self.endpoint.is_post() => earlier.worse(later),
            _ => later,
        };
        if error.reason == Reason::KoraUnavailable {
            error.retry_after.get_or_insert(DEFAULT_WAIT);
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::kora::Metrics;

    /// What two attempts came to, of which the first one is followed by another.
    fn told(endpoint: Endpoint, first: Reason, last: Reason) -> [Reason; 2] {
        let retries = Retries::new(Metrics::register(&mut Registry::default()));
        let tries = || {
            let wait_until = Instant::now() + Duration::from_secs(60);
            let mut tries = Tries::new(&retries, endpoint, wait_until);
            tries.failed(first.into(), false).unwrap();
            tries
        };
        let failed = tries().failed(last.into(), true).unwrap_err();
        [failed.reason, tries().end(last.into()).reason]
    }

    #[test]
    fn what_creates_something_tells_the_most_that_may_have_happened() {
        let (refused, unsent) = (Reason::KoraRateLimited, Reason::KoraUnreachable);
        let unknown = Reason::KoraOutcomeUnknown;
        let post = Endpoint::CreateScreening;
        assert_eq!(told(post, refused, unsent), [refused; 2]);
        assert_eq!(told(post, refused, unknown), [unknown; 2]);
        let get = Endpoint::GetScreening;
        assert_eq!(told(get, refused, unsent), [unsent; 2]);
    }

    #[test]
    fn a_key_that_was_refused_is_told_if_nothing_more_happened() {
        let retries = Retries::new(Metrics::register(&mut Registry::default()));
        let (refused, unsent) = (Reason::KoraCredentialRejected, Reason::KoraUnreachable);
        let unknown = Reason::KoraOutcomeUnknown;
        for (last, expected) in [(unsent, refused), (unknown, unknown)] {
            let mut tries = Tries::new(&retries, Endpoint::CreateSubject, Instant::now());
            tries.refused_for_key(refused.into());
            assert_eq!(tries.end(last.into()).reason, expected);
        }
    }
}
