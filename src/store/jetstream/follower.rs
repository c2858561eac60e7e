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
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
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

/// How long NATS has to make a consumer.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long NATS has to keep the end of the log. Events wait meanwhile, and the next time comes soon.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(2);

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
    /// A record is not what it should be, by what one server said.
    Doubtful(&'static str),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Stop::Passing(error.to_string())
    }
}

impl Follower {
    /// Follows until the log is broken.
    pub(super) async fn run(self) {
        let mut heard = Instant::now();
        loop {
            let stopped = self.follow(&mut heard).await;
            if let Err(Stop::Doubtful(what)) = stopped {
                // What cannot be asked now is asked when it is seen again.
                let _ = self.events.doubt_record(what).await;
            }
            if self.events.is_broken() {
                break;
            }
            let error = match stopped {
                // The connection or the consumer has to be made anew.
                Ok(()) => continue,
                Err(Stop::Passing(error)) => error,
                Err(Stop::Doubtful(what)) => what.to_owned(),
            };
            if self.writable.get() {
                let log = &self.events.names.events;
                tracing::warn!(log, error, "the event log cannot be followed now");
            }
            self.writable.set(false);
            let is_newer = self.events.newer().is_some();
            if !is_newer {
                self.events.connection.read_failed(heard).await;
            }
            sleep(if is_newer { NEWER_PAUSE } else { PAUSE }).await;
        }
        self.writable.set(false);
        self.tail.fail();
    }

    /// Follows from the newest record that is shown, for as long as the connection and the consumer last.
    async fn follow(&self, heard: &mut Instant) -> Result<(), Stop> {
        let mut made = self.events.connection.made();
        made.mark_unchanged();
        self.check_continuity().await?;
        self.look_after().await?;
        let mut messages = self.consume().await?;
        // What was shown when the stream was found to have more.
        let mut behind_at = None;
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
                    self.show(batch).await?;
                }
                _ = look_after.tick() => {
                    let last = self.look_after().await?;
                    *heard = Instant::now();
                    let shown = self.shown.borrow().position.sequence;
                    // The server that had the consumer can be gone, and nobody says so.
                    if last > shown && behind_at == Some(shown) {
                        return Ok(());
                    }
                    behind_at = (last > shown).then_some(shown);
                }
                () = self.events.until_broken() => return Ok(()),
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
        let messages = async {
            let consumer = consumer.await.map_err(passing)?;
            consumer.messages().await.map_err(passing)
        };
        timeout(CONSUMER_TIMEOUT, messages).await.map_err(passing)?
    }

    /// Sees that the stream has no other record at the place of the newest one that was shown.
    async fn check_continuity(&self) -> Result<(), Stop> {
        let shown = *self.shown.borrow();
        self.events.state(shown.position.sequence).await?;
        let there = self.events.end_at(shown.position.sequence).await?;
        match there {
            Some(there) if there.position.checksum != shown.position.checksum => Err(
                Stop::Doubtful("the stream has other events than those that were seen"),
            ),
            _ => Ok(()),
        }
    }

    async fn show(&self, messages: Vec<Message>) -> Result<(), Stop> {
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
                    return Err(Stop::Doubtful("a new event is damaged"));
                }
            };
            match placed.before.position {
                before if before == last.position => {}
                before if before.sequence > last.position.sequence => {
                    if self.events.has(last.position.sequence + 1).await? {
                        return Err(passing("the consumer left events out"));
                    }
                    // What is between was trimmed while NATS was away.
                    trimmed = before;
                }
                _ => return Err(Stop::Doubtful("a new event does not follow the last one")),
            }
            last = (&placed.record).into();
            records.push(Arc::new(placed.record));
        }
        self.events.trust_records();
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

    /// Shows what was trimmed, and that NATS answers. Returns the newest sequence of the stream.
    async fn look_after(&self) -> Result<u64, Stop> {
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
        let kept = timeout(CHECKPOINT_TIMEOUT, self.checkpoint.note(shown, is_empty)).await;
        if !kept.unwrap_or(false) && is_empty {
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
        Ok(state.last_sequence)
    }
}

fn passing(error: impl std::fmt::Display) -> Stop {
    Stop::Passing(error.to_string())
}

fn ended() -> Stop {
    Stop::Passing("NATS ended the consumer".to_owned())
}
