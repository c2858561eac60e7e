//! Follows the stream and shows what it brings: the one task that moves a replica's tail.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    Message,
    consumer::{
        DeliverPolicy,
        pull::{Ordered, OrderedConfig},
    },
};
use futures_util::{FutureExt, StreamExt};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{checkpoint::Checkpoint, end::End, events::Events, payload};
use crate::{
    event::Position,
    store::{HotTail, Metrics, ReadError, Record, writable::Writable},
};

/// How often the log is looked after: what was trimmed, and whether NATS still answers.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// How long to leave NATS alone when the stream cannot be followed.
const PAUSE: Duration = Duration::from_millis(200);

/// How long to wait until an event that only a newer version can read may have been trimmed.
const NEWER_PAUSE: Duration = Duration::from_secs(1);

/// How many messages NATS sends ahead.
const AHEAD: i64 = 64;

/// How many records are shown at a time.
const SHOWN_AT_ONCE: usize = 256;

/// Follows one stream.
pub(super) struct Follower {
    pub(super) events: Arc<Events>,
    pub(super) tail: Arc<HotTail>,
    pub(super) checkpoint: Checkpoint,
    pub(super) writable: Writable,
    pub(super) metrics: Metrics,
    /// The newest record that is shown.
    pub(super) shown: watch::Sender<End>,
}

/// Why the stream is not followed any further.
enum Stop {
    /// It can be tried again.
    Passing(String),
    /// The log is broken.
    Broken,
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Stop::Passing(error.to_string())
    }
}

impl Follower {
    /// Follows until the log is broken.
    pub(super) async fn run(self) {
        loop {
            match self.follow().await {
                Err(Stop::Broken) => break,
                _ if self.events.is_broken() => break,
                Err(Stop::Passing(error)) => {
                    if self.writable.get() {
                        let log = &self.events.names.events;
                        tracing::warn!(log, error, "the event log cannot be followed now");
                    }
                    self.writable.set(false);
                    let is_newer = self.events.newer().is_some();
                    sleep(if is_newer { NEWER_PAUSE } else { PAUSE }).await;
                }
                // The connection was made anew.
                Ok(()) => {}
            }
        }
        self.writable.set(false);
    }

    /// Follows from the newest record that is shown, for as long as the connection lasts.
    async fn follow(&self) -> Result<(), Stop> {
        let mut made = self.events.connection.made();
        made.mark_unchanged();
        self.check_continuity().await?;
        self.look_after().await?;
        let mut messages = self.consume().await?;
        let mut look_after = interval(LOOK_AFTER);
        look_after.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let mut batch = vec![message.ok_or_else(ended)?.map_err(passing)?];
                    while batch.len() < SHOWN_AT_ONCE
                        && let Some(Some(message)) = messages.next().now_or_never()
                    {
                        batch.push(message.map_err(passing)?);
                    }
                    self.show(batch)?;
                }
                _ = look_after.tick() => self.look_after().await?,
                changed = made.changed() => return changed.map_err(passing),
            }
        }
    }

    async fn consume(&self) -> Result<Ordered, Stop> {
        let shown = self.shown.borrow().position.sequence;
        let consumer = self.events.stream().create_consumer(OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: shown + 1,
            },
            max_batch: AHEAD,
            ..OrderedConfig::default()
        });
        let consumer = consumer.await.map_err(passing)?;
        consumer.messages().await.map_err(passing)
    }

    /// Breaks the log if the stream has another record at the place of the newest one that was shown.
    async fn check_continuity(&self) -> Result<(), Stop> {
        let shown = *self.shown.borrow();
        self.events.state(shown.position.sequence).await?;
        let there = self.events.end_at(shown.position.sequence).await?;
        match there {
            Some(there) if there.position.checksum != shown.position.checksum => {
                self.events
                    .break_for("the stream has other events than those that were seen");
                Err(Stop::Broken)
            }
            _ => Ok(()),
        }
    }

    fn show(&self, messages: Vec<Message>) -> Result<(), Stop> {
        let mut last = *self.shown.borrow();
        let mut trimmed = self.tail.bounds().trimmed;
        let mut records = Vec::with_capacity(messages.len());
        for message in messages {
            let sequence = message.info().map_err(passing)?.stream_sequence;
            if sequence <= last.position.sequence {
                continue;
            }
            let placed = match payload::decode(self.events.id, sequence, message.message.payload) {
                Ok(placed) => placed,
                Err(newer @ ReadError::Newer { sequence, format }) => {
                    self.show_records(records, trimmed, last);
                    if self.events.set_newer(Some((sequence, format))) {
                        self.tail.fail();
                    }
                    return Err(newer.into());
                }
                Err(_) => {
                    self.metrics.corrupt.inc();
                    self.events.break_for("a new event is damaged");
                    return Err(Stop::Broken);
                }
            };
            match placed.before.position {
                before if before == last.position => {}
                // What is between was trimmed while NATS was away.
                before if before.sequence > last.position.sequence => trimmed = before,
                _ => {
                    self.events
                        .break_for("a new event does not follow the last one");
                    return Err(Stop::Broken);
                }
            }
            last = (&placed.record).into();
            records.push(Arc::new(placed.record));
        }
        if self.events.set_newer(None) {
            self.tail.recover();
        }
        self.show_records(records, trimmed, last);
        Ok(())
    }

    fn show_records(&self, records: Vec<Arc<Record>>, trimmed: Position, last: End) {
        self.tail.show(records, trimmed);
        self.shown.send_replace(last);
        self.tail.wake();
    }

    /// Shows what was trimmed, and that NATS answers.
    async fn look_after(&self) -> Result<(), Stop> {
        let shown = *self.shown.borrow();
        let state = self.events.state(shown.position.sequence).await?;
        // At once: what follows can take long, and things can have changed by then.
        match self.events.newer() {
            // It was trimmed.
            Some((sequence, _)) if sequence < state.first_sequence => {
                self.events.set_newer(None);
                self.tail.recover();
                self.writable.set(true);
            }
            Some(_) => {}
            None => self.writable.set(true),
        }
        // Before anybody sees that the newest record is gone too.
        let is_empty = state.messages == 0;
        if !self.checkpoint.note(shown, is_empty).await && is_empty {
            return Err(passing("the end of the emptied log cannot be kept"));
        }
        let was = self.tail.bounds().trimmed;
        if state.first_sequence > was.sequence + 1 {
            let trimmed = self.events.trimmed(&state, shown).await?;
            if trimmed.sequence > was.sequence {
                self.metrics.trimmed.inc_by(trimmed.sequence - was.sequence);
                self.tail.show(Vec::new(), trimmed);
            }
        }
        Ok(())
    }
}

fn passing(error: impl std::fmt::Display) -> Stop {
    Stop::Passing(error.to_string())
}

fn ended() -> Stop {
    Stop::Passing("NATS ended the consumer".to_owned())
}
