//! The body of a request while it comes in, and what becomes of the rest of one that was refused.
//!
//! A connection that is closed while the client writes is reset, and the answer is lost with it. So the
//! rest is read and thrown away, within limits.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header::EXPECT},
};
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::answer::Ending;

/// For how long the rest is read.
const MAX_DRAIN: Duration = Duration::from_secs(5);

/// How much of it.
const MAX_DRAIN_BYTES: usize = 64 << 20;

/// A body that comes in.
pub(super) struct Upload {
    body: Body,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The client waits for a word before it sends it. Reading it gives the word.
    HeldBack,
    Coming,
    Done,
}

impl Upload {
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Self {
        let state = match headers.contains_key(EXPECT) {
            _ if body.is_end_stream() => State::Done,
            true => State::HeldBack,
            false => State::Coming,
        };
        Upload { body, state }
    }

    /// Its size, where it was announced.
    pub(super) fn announced_size(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next part; none at the end.
    ///
    /// # Errors
    /// If it broke off.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Ending> {
        self.state = State::Coming;
        loop {
            match self.body.frame().await {
                None => {
                    self.state = State::Done;
                    return Ok(None);
                }
                Some(Err(_)) => return Err(Ending::BrokenOff),
                // What is no data is trailers, which say nothing here.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Ends it. Whether the connection must end too: nothing can follow a body that was not read.
    pub(super) fn finish(self) -> bool {
        if self.state == State::Coming {
            tokio::spawn(timeout(MAX_DRAIN, self.drain()));
            return true;
        }
        self.state == State::HeldBack
    }

    async fn drain(mut self) {
        let mut room = MAX_DRAIN_BYTES;
        while let Ok(Some(data)) = self.next().await {
            match room.checked_sub(data.len()) {
                Some(left) => room = left,
                None => return,
            }
        }
    }
}
