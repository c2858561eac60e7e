//! One stream, message by message.

mod ahead;
mod signals;

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use ahead::{MessageMemory, PendingRead};

use super::{
    concerned::Concerned,
    message::{MAX_EVENTS, Message, copied_len, event_len},
    metrics::OpenStream,
    read_failed,
    start::{Begin, expired},
};
use crate::{
    error::CallError,
    event::{OnGap, Position, ResumeToken, Start, WatchRequest},
    lifecycle::Shutdown,
    memory::{Allowance, FREE_BYTES},
    pb::{self, watch_events_response::Signal},
    store::{Bounds, EventLog, Page, ReadError},
};

/// An open stream. Dropping it closes it.
pub struct Subscription {
    log: Arc<dyn EventLog>,
    request: WatchRequest,
    memory: Allowance,
    /// Everything that matches up to here has been sent, or is in the message that was returned last.
    position: Position,
    stage: Stage,
    /// The ends of the log when the stream was opened.
    opened_at: Bounds,
    head: watch::Receiver<u64>,
    /// In the present, where the stream has a filter.
    concerned: Option<Concerned>,
    /// A read that took longer than a heartbeat could wait.
    reading: Option<PendingRead>,
    heartbeat_at: Instant,
    /// Until when more is gathered.
    gather_until: Instant,
    stream: OpenStream,
    stop: Shutdown,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opened(Begin),
    Gap(Begin, pb::GapReason),
    Past,
    Present,
    Drained { retry_after: Duration },
    Ended,
}

impl Subscription {
    pub(super) fn new(
        log: Arc<dyn EventLog>,
        request: WatchRequest,
        memory: Allowance,
        begin: Begin,
        stream: OpenStream,
        stop: Shutdown,
    ) -> Self {
        Subscription {
            position: begin.token.position,
            opened_at: begin.bounds,
            head: log.tail().head(),
            heartbeat_at: Instant::now() + request.heartbeat_interval,
            gather_until: Instant::now(),
            stage: Stage::Opened(begin),
            concerned: None,
            reading: None,
            log,
            request,
            memory,
            stream,
            stop,
        }
    }

    /// The next message, as soon as there is one; `None` when the stream is over. Waits without holding
    /// anything but its place in the log.
    ///
    /// # Errors
    /// `TOKEN_EXPIRED` where the caller fell out of what is kept, `STORE_CORRUPT`, `STORE_UNAVAILABLE`, and
    /// `STREAM_DRAINED`. The stream is over then.
    pub async fn next(&mut self) -> Option<Result<Message, CallError>> {
        let next = match self.stage {
            Stage::Ended => return None,
            Stage::Opened(begin) => Ok(Some(self.opened(begin))),
            Stage::Gap(begin, reason) => Ok(Some(self.gap(begin.token, begin.oldest, reason))),
            Stage::Past | Stage::Present => self.follow().await,
            Stage::Drained { retry_after } => Err(CallError::stream_drained(retry_after)),
        };
        match next {
            Ok(Some(message)) => {
                let now = Instant::now();
                self.heartbeat_at = now + self.request.heartbeat_interval;
                self.gather_until = now + self.gathering();
                self.stream.sent(message.event_count());
                for record in message.without_bodies() {
                    let event_id = &record.event_id;
                    tracing::info!(
                        event_id,
                        "an event was sent without its body: it is too large for clients"
                    );
                    self.stream.sent_without_body();
                }
                Some(Ok(message))
            }
            Ok(None) => {
                self.stage = Stage::Ended;
                self.stream.ends("OK");
                None
            }
            Err(error) => {
                self.stage = Stage::Ended;
                self.stream.ends(error.reason.name());
                Some(Err(error))
            }
        }
    }

    /// Events, or what else there is to say; `None` at the end of the past, where the caller wants no more.
    async fn follow(&mut self) -> Result<Option<Message>, CallError> {
        loop {
            if self.stop.is_started() {
                return Ok(Some(self.drain()));
            }
            if self.stage == Stage::Past && self.position.sequence >= self.opened_at.head.sequence {
                self.stage = Stage::Present;
                let (tail, keys) = (self.log.tail(), self.request.filter_keys());
                self.concerned = keys.map(|keys| Concerned::new(tail, keys, self.position));
                return Ok(Some(self.caught_up()));
            }
            if self.stage == Stage::Present && self.request.until_caught_up {
                return Ok(None);
            }
            if self.stage == Stage::Present {
                self.gather().await;
            }
            self.head.mark_unchanged();
            let ahead = match self.look_ahead().await {
                Ok(ahead) => ahead,
                Err(ReadError::Trimmed(oldest)) => match self.fell_behind(oldest)? {
                    Some(gap) => return Ok(Some(gap)),
                    None => continue,
                },
                Err(error) => return Err(read_failed(error)),
            };
            if let Some(message) = self.take(ahead.page, ahead.then, ahead.memory) {
                return Ok(Some(message));
            }
            if Instant::now() >= self.heartbeat_at {
                let token = self.token(self.position);
                let heartbeat = Signal::Heartbeat(pb::Heartbeat {});
                return Ok(Some(Message::signal(heartbeat, token)));
            }
            if ahead.is_at_head {
                self.wait().await;
            }
        }
    }

    /// As much of the page as fits in a message, which is all of it where the stream stands elsewhere `then`; `None`
    /// if nothing of it matches.
    fn take(
        &mut self,
        page: Page,
        then: Option<Position>,
        memory: MessageMemory,
    ) -> Option<Message> {
        let is_raw = self.request.include_raw_json;
        let (mut events, mut bytes, mut copied) = (Page::new(), 0, 0);
        for record in page {
            if events.len() == MAX_EVENTS || bytes >= memory.max_bytes() {
                break;
            }
            if self.request.wants(&record.keys, record.receive_time) {
                copied += copied_len(&record, is_raw);
                if memory.charge.is_none() && copied > FREE_BYTES && !events.is_empty() {
                    break;
                }
                bytes += event_len(&record, is_raw);
                self.position = record.position();
                events.push(record);
            } else {
                self.position = record.position();
            }
        }
        self.position = then.unwrap_or(self.position);
        let token = self.token(self.position);
        (!events.is_empty()).then(|| Message::events(events, is_raw, token, memory.charge))
    }

    /// The caller was too slow for what is kept, and events are missing. But a stream that has not begun with the
    /// oldest that are kept misses nothing by beginning with those that are the oldest now.
    fn fell_behind(&mut self, oldest: Position) -> Result<Option<Message>, CallError> {
        if self.request.start == Start::Earliest && self.position == self.opened_at.trimmed {
            self.position = oldest;
            self.opened_at.trimmed = oldest;
            return Ok(None);
        }
        match self.request.on_gap {
            OnGap::Fail => Err(expired(&*self.log, oldest)),
            OnGap::Skip => {
                let stage = self.stage;
                let from = self.token(self.position);
                let message = self.gap(from, oldest, pb::GapReason::Expired);
                self.stage = stage;
                Ok(Some(message))
            }
        }
    }

    fn token(&self, position: Position) -> ResumeToken {
        ResumeToken {
            log_id: self.log.id(),
            position,
        }
    }
}
