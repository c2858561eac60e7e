//! How a stream ends: by itself, or with its gateway.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    follower::{Follower, Read},
    log::Log,
};
use crate::subscriber::{PATIENCE, assert_failure};

impl Follower {
    /// Reads what a gateway that is killed has sent.
    pub async fn read_to_cut(&mut self, log: &Log) {
        loop {
            match self.stream.next_within(PATIENCE).await {
                Ok(Some(message)) => assert_eq!(self.check(message, log), Read::Message),
                // It was over before.
                Ok(None) => {
                    return assert!(self.is_caught_up && self.asked.wanted.until_caught_up);
                }
                Err(status) if status.code() == Code::OutOfRange => {
                    return self.check_failure(&status, log);
                }
                Err(status) => return assert!(status.details().is_empty(), "{status:?}"),
            }
        }
    }

    /// Reads what a gateway that stops still sends, and how it ends.
    pub async fn read_to_stop(&mut self, log: &Log, may_be_cut: bool) {
        let mut last = Read::Message;
        loop {
            match self.stream.next_within(PATIENCE).await {
                Ok(Some(message)) => {
                    assert_ne!(last, Read::Draining, "something after Draining");
                    last = self.check(message, log);
                }
                // It was over before.
                Ok(None) => {
                    return assert!(self.is_caught_up && self.asked.wanted.until_caught_up);
                }
                Err(status) if status.code() == Code::OutOfRange => {
                    return self.check_failure(&status, log);
                }
                Err(status) if may_be_cut && status.details().is_empty() => return,
                Err(status) => {
                    assert_eq!(last, Read::Draining, "{status:?}");
                    assert_failure(&status, Code::Unavailable, "STREAM_DRAINED");
                    let wait = status.get_details_retry_info();
                    assert!(wait.is_some_and(|wait| wait.retry_delay.is_some()));
                    return;
                }
            }
        }
    }

    /// A stream fails by itself only where it fell out of what is kept.
    pub(super) fn check_failure(&self, status: &Status, log: &Log) {
        let info = assert_failure(status, Code::OutOfRange, "TOKEN_EXPIRED");
        assert!(!self.asked.wanted.skips_gaps, "it was to skip");
        assert!(
            self.position < log.trimmed,
            "nothing was missed: {status:?}"
        );
        assert!(
            log.trims
                .contains(&log.sequence(&info.metadata["oldest_token"]))
        );
    }
}
