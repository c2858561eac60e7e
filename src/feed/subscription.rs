//! One stream, message by message.

use std::sync::Arc;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    message::{MAX_BYTES, MAX_EVENTS, Message, event_len},
    metrics::OpenStream,
    read_failed,
    start::{Begin, expired},
};
use crate::{
    error::CallError,
    event::{OnGap, Position, ResumeToken, WatchRequest},
    lifecycle::Shutdown,
    pb::{self, watch_events_response::Signal},
    screening::timestamp_to_wire,
    store::{EventLog, Page, ReadError},
};

/// An open stream. Dropping it closes it.
pub struct Subscription {
    log: Arc<dyn EventLog>,
    request: WatchRequest,
    /// Everything that matches up to here has been sent, or is in the message that was returned last.
    position: Position,
    stage: Stage,
    /// What was the newest record when the stream was opened.
    opened_at: Position,
    head: watch::Receiver<u64>,
    heartbeat_at: Instant,
    stream: OpenStream,
    stop: Shutdown,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opened(Begin),
    Gap(ResumeToken, pb::GapReason),
    Past,
    Present,
    Drained,
    Ended,
}

impl Subscription {
    pub(super) fn new(
        log: Arc<dyn EventLog>,
        request: WatchRequest,
        begin: Begin,
        stream: OpenStream,
        stop: Shutdown,
    ) -> Self {
        Subscription {
            position: begin.token.position,
            opened_at: begin.bounds.head,
            head: log.tail().head(),
            heartbeat_at: Instant::now() + request.heartbeat_interval,
            stage: Stage::Opened(begin),
            log,
            request,
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
            Stage::Gap(from, reason) => Ok(Some(self.gap(from, reason))),
            Stage::Past | Stage::Present => self.follow().await,
            Stage::Drained => Err(CallError::stream_drained()),
        };
        match next {
            Ok(Some(message)) => {
                self.heartbeat_at = Instant::now() + self.request.heartbeat_interval;
                self.stream.sent(message.event_count());
                Some(Ok(message))
            }
            Ok(None) => {
                self.stage = Stage::Ended;
                None
            }
            Err(error) => {
                self.stage = Stage::Ended;
                Some(Err(error))
            }
        }
    }

    /// Its token is the one that the stream was opened with: what a gap leaves out does not count as sent.
    fn opened(&mut self, begin: Begin) -> Message {
        self.stage = match begin.gap {
            Some(reason) => Stage::Gap(begin.token, reason),
            None => Stage::Past,
        };
        let opened = pb::Opened {
            heartbeat_interval: prost_types::Duration::try_from(self.request.heartbeat_interval)
                .ok(),
            oldest_token: self.token(begin.bounds.trimmed).encode(),
            head_token: self.token(begin.bounds.head).encode(),
            max_events_per_message: MAX_EVENTS as u32,
        };
        Message::signal(Signal::Opened(opened), begin.token)
    }

    fn gap(&mut self, from: ResumeToken, reason: pb::GapReason) -> Message {
        self.stage = Stage::Past;
        self.stream.missed();
        self.position = self.log.tail().bounds().trimmed;
        let to = self.token(self.position);
        let gap = pb::Gap {
            from_token: from.encode(),
            to_token: to.encode(),
            reason: reason.into(),
        };
        Message::signal(Signal::Gap(gap), to)
    }

    /// Events, or what else there is to say; `None` at the end of the past, where the caller wants no more.
    async fn follow(&mut self) -> Result<Option<Message>, CallError> {
        loop {
            if self.stop.is_started() {
                return Ok(Some(self.drain()));
            }
            if self.stage == Stage::Past && self.position.sequence >= self.opened_at.sequence {
                self.stage = Stage::Present;
                return self.caught_up().await.map(Some);
            }
            if self.stage == Stage::Present && self.request.until_caught_up {
                return Ok(None);
            }
            self.head.mark_unchanged();
            let page = match self.read().await {
                Ok(page) => page,
                Err(ReadError::Trimmed) => return self.fell_behind().map(Some),
                Err(error) => return Err(read_failed(error)),
            };
            let is_at_head = page.is_empty();
            if let Some(message) = self.take(page) {
                return Ok(Some(message));
            }
            if Instant::now() >= self.heartbeat_at {
                let token = self.token(self.position);
                let heartbeat = Signal::Heartbeat(pb::Heartbeat {});
                return Ok(Some(Message::signal(heartbeat, token)));
            }
            if is_at_head {
                self.wait().await;
            }
        }
    }

    /// Waits for a record, for the time of a heartbeat, or for the order to stop.
    async fn wait(&mut self) {
        tokio::select! {
            // The log outlives its streams, so this never fails.
            _ = self.head.changed() => {}
            () = sleep_until(self.heartbeat_at) => {}
            () = self.stop.started() => {}
        }
    }

    /// The next page; while the past lasts, nothing that is newer.
    async fn read(&self) -> Result<Page, ReadError> {
        let mut page = self.log.read(self.position.sequence).await?;
        if self.stage == Stage::Past {
            page.retain(|record| record.sequence <= self.opened_at.sequence);
        }
        Ok(page)
    }

    /// As much of the page as fits in a message; `None` if nothing of it matches.
    fn take(&mut self, page: Page) -> Option<Message> {
        let (mut events, mut bytes) = (Page::new(), 0);
        for record in page {
            if events.len() == MAX_EVENTS || bytes >= MAX_BYTES {
                break;
            }
            self.position = record.position();
            if self.request.wants(&record.keys, record.receive_time) {
                bytes += event_len(&record, self.request.include_raw_json);
                events.push(record);
            }
        }
        let token = self.token(self.position);
        let is_raw = self.request.include_raw_json;
        (!events.is_empty()).then(|| Message::events(events, is_raw, token))
    }

    /// Says that the stream is about to end; it ends with the next.
    fn drain(&mut self) -> Message {
        self.stage = Stage::Drained;
        let wait = CallError::stream_drained().retry_after;
        let draining = pb::Draining {
            reconnect_after: wait.and_then(|wait| prost_types::Duration::try_from(wait).ok()),
        };
        Message::signal(Signal::Draining(draining), self.token(self.position))
    }

    async fn caught_up(&self) -> Result<Message, CallError> {
        let head_time = match self.opened_at.sequence.checked_sub(1) {
            None => None,
            Some(before) => match self.log.read(before).await {
                Ok(page) => page
                    .first()
                    .map(|record| timestamp_to_wire(record.receive_time)),
                // Trimmed meanwhile, or long ago: nothing of it is left to say.
                Err(ReadError::Trimmed) => None,
                Err(error) => return Err(read_failed(error)),
            },
        };
        let caught_up = Signal::CaughtUp(pb::CaughtUp { head_time });
        Ok(Message::signal(caught_up, self.token(self.position)))
    }

    /// The caller was too slow for what is kept.
    fn fell_behind(&mut self) -> Result<Message, CallError> {
        match self.request.on_gap {
            OnGap::Fail => Err(expired(&*self.log)),
            OnGap::Skip => {
                let stage = self.stage;
                let from = self.token(self.position);
                let message = self.gap(from, pb::GapReason::Expired);
                self.stage = stage;
                Ok(message)
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
