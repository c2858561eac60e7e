//! The one writer of a replica. It knows where its records will stand before it publishes them, because each is
//! published for a place: right after the head that it knows. The server refuses it if somebody else was there first.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    task,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    bucket::Bucket,
    connection::RETRY_PAUSE,
    end::End,
    events::Events,
    head,
    owners::Owners,
    publication::{Fate, publish},
    queue::{MessageId, Waiting, gather},
    supersession::{Place, place_of},
    turns::Turns,
};
use crate::{
    clock::{Clock, STEP_TOLERANCE},
    event::{BodyHash, Identity, are_bodies_equal},
    store::{
        AppendError, Appended, Metrics, ReadError, record::body_id_prefix, writable::Writable,
    },
};

/// How large bodies may be that are compared right on the runtime, in well under a millisecond.
const MAX_INLINE_BYTES: usize = 64 << 10;

/// How long the follower has to bring the event that took a place. Then the stream is asked.
const NEWS_TIMEOUT: Duration = Duration::from_millis(500);

/// What the writer needs.
pub(super) struct Writer {
    pub(super) events: Arc<Events>,
    pub(super) bucket: Bucket,
    pub(super) clock: Clock,
    pub(super) dedup_window: Duration,
    /// They know the server's time.
    pub(super) owners: Arc<Owners>,
    /// The newest record that this replica's readers see.
    pub(super) shown: watch::Receiver<End>,
    /// The newest record of the stream; `None` if that is not certain.
    pub(super) head: Option<End>,
    pub(super) turns: Arc<Turns>,
    pub(super) writable: Writable,
    pub(super) metrics: Metrics,
}

impl Writer {
    /// Writes until it is closed, and then what waits.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Waiting>,
        closed: CancellationToken,
    ) {
        let closed = closed.cancelled_owned();
        tokio::pin!(closed);
        loop {
            let first = tokio::select! {
                biased;
                first = queue.recv() => first,
                () = &mut closed, if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
            };
            match first {
                Some(first) => self.write(gather(first, &mut queue)).await,
                None => break,
            }
        }
        self.writable.set(false);
    }

    /// Writes all of them. Whoever has given up waiting is left out, so what fails is tried again for as long as
    /// somebody waits for it: the servers of a cluster may be electing a leader. Refuses what is left where the log is
    /// broken or NATS is away.
    async fn write(&mut self, mut waiting: Vec<Waiting>) {
        loop {
            waiting.retain(|waiting| !waiting.answer.is_closed());
            if waiting.is_empty() {
                return self.turns.idle().await;
            }
            if !self.events.connection.until_up().await {
                if self.writable.get() {
                    let log = &self.events.names.events;
                    tracing::error!(log, "the event log cannot write: NATS is away");
                }
                return self.refuse(waiting, AppendError::Unavailable);
            }
            let passed;
            (waiting, passed) = self.pass(waiting).await;
            let Err(error) = passed else {
                continue;
            };
            self.head = None;
            self.note_failure(&error);
            if self.events.is_broken() {
                return self.refuse(waiting, AppendError::Broken);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// Publishes what may be looked up together. Returns what has to be published again, and whether that is for a
    /// failure.
    async fn pass(&mut self, mut waiting: Vec<Waiting>) -> (Vec<Waiting>, Result<(), Failure>) {
        self.turns.until_mine().await;
        let head = match self.head().await {
            Ok(head) => head,
            Err(error) => return (waiting, Err(error.into())),
        };
        // A reconciled event looks for ends, also for one right before it.
        let together = match waiting[0].is_reconciled {
            true => 1,
            false => waiting
                .iter()
                .position(|waiting| waiting.is_reconciled)
                .unwrap_or(waiting.len()),
        };
        let mut later = waiting.split_off(together);
        let places = match self.places(&waiting, head).await {
            Ok(places) => places,
            Err(error) => {
                waiting.append(&mut later);
                return (waiting, Err(error.into()));
            }
        };
        let start = tokio::time::Instant::now();
        let now = self.clock.now();
        let fates = publish(&self.events, &self.turns, head, now, &waiting, &places).await;
        self.metrics.commit.observe(start.elapsed().as_secs_f64());
        self.head = Some(head);
        let (mut left, mut passed) = (Vec::new(), Ok(()));
        for ((waiting, place), fate) in waiting.into_iter().zip(places).zip(fates) {
            match self.settle(waiting, place, fate).await {
                Settled::Answered => {}
                Settled::Left(waiting) => left.push(waiting),
                Settled::Failed(waiting, failure) => {
                    left.push(waiting);
                    passed = Err(failure);
                }
            }
        }
        left.append(&mut later);
        (left, passed)
    }

    /// Where these go. Whether a reconciled event may be appended is asked of a leader that has all that was seen: one
    /// that was just elected may not know of an end yet.
    async fn places(&self, waiting: &[Waiting], head: End) -> Result<Vec<Place>, ReadError> {
        if waiting[0].is_reconciled {
            self.events.state(head.position.sequence).await?;
        }
        place_of(&self.events, waiting).await
    }

    /// Answers one, unless it has to be published again.
    async fn settle(&mut self, mut waiting: Waiting, place: Place, fate: Fate) -> Settled {
        let answer = match fate {
            Fate::Stored(end) => {
                self.head = Some(end);
                self.metrics.appended.inc();
                let conflicts = u64::from(waiting.has_id_conflict);
                self.metrics.id_conflicts.inc_by(conflicts);
                self.writable.set(true);
                self.turns.served().await;
                place.tell_dispute(&self.events, &waiting.event, &self.metrics);
                Ok((Appended::New, Some(end.position.sequence)))
            }
            Fate::Ended => Ok((Appended::Duplicate, None)),
            Fate::KnownAs(sequence) => match self.is_known(&waiting, sequence).await {
                Ok(Known::Same) => {
                    self.turns.served().await;
                    Ok((Appended::Duplicate, Some(sequence)))
                }
                Ok(Known::OtherBody { free_id }) => {
                    waiting.event.identity = Identity::Vendor(free_id);
                    waiting.id = MessageId::of(&waiting.event.identity);
                    waiting.has_id_conflict = true;
                    return Settled::Left(waiting);
                }
                Ok(Known::No) => {
                    waiting.id = waiting.id.after(sequence);
                    return Settled::Left(waiting);
                }
                Err(error) => return Settled::Failed(waiting, error.into()),
            },
            Fate::Overtaken => {
                self.turns.lost().await;
                self.head = self.newer_head().await;
                return Settled::Left(waiting);
            }
            Fate::NotSent => return Settled::Left(waiting),
            Fate::Refused(error) => Err(error),
            Fate::Failed(cause) => return Settled::Failed(waiting, Failure::Publish(cause)),
        };
        // A client that has gone away finds out when it asks again.
        let _ = waiting.answer.send(answer);
        Settled::Answered
    }

    /// The end of the stream as the follower brings it, where somebody else took the place after the last known one;
    /// `None` if it is late.
    async fn newer_head(&mut self) -> Option<End> {
        let last = self.head?.position.sequence;
        let newer = self.shown.wait_for(|end| end.position.sequence > last);
        let newer = timeout(NEWS_TIMEOUT, newer).await.ok()?.ok()?;
        Some(*newer)
    }

    /// Whether the record that the server remembers for an event is the same event.
    async fn is_known(&self, waiting: &Waiting, sequence: u64) -> Result<Known, ReadError> {
        let (found, taken) = match self.events.record_and_time(sequence).await {
            Ok(Some((placed, taken))) => (placed.record, taken),
            // It is not kept any more, or damaged: better twice than lost.
            Ok(None) | Err(ReadError::Corrupt { .. }) => return Ok(Known::No),
            Err(error) => return Err(error),
        };
        Ok(match &waiting.event.identity {
            Identity::Vendor(id) if found.event_id != *id => Known::No,
            Identity::Vendor(id) => {
                let (id, kept, raw) = (id.clone(), found.raw, waiting.event.raw.clone());
                compare_bodies(id, kept, raw).await?
            }
            Identity::Body(hash) if !found.event_id.starts_with(&body_id_prefix(hash)) => Known::No,
            Identity::Body(_) => {
                // By the server's clock, since gateways' clocks differ; a time from the future tells nothing. One that was
                // imported is as old as its own time says. Better twice than lost.
                let age = self.owners.server_time() - taken;
                let own_age = self.clock.now().as_nanosecond() - found.receive_time.as_nanosecond();
                let window = i128::try_from(self.dedup_window.as_nanos()).unwrap_or(i128::MAX);
                if -STEP_TOLERANCE.as_nanos() < age && age.max(own_age) < window {
                    Known::Same
                } else {
                    Known::No
                }
            }
        })
    }

    async fn head(&self) -> Result<End, ReadError> {
        let shown = *self.shown.borrow();
        match self.head {
            // Others append as well.
            Some(head) if head.position.sequence >= shown.position.sequence => Ok(head),
            Some(_) => Ok(shown),
            None => head::find(&self.events, &self.bucket, shown, self.clock.now()).await,
        }
    }

    fn note_failure(&self, failure: &Failure) {
        if self.writable.get() {
            let log = &self.events.names.events;
            tracing::error!(log, %failure, "the event log cannot write");
        }
        self.writable.set(false);
    }

    fn refuse(&self, waiting: Vec<Waiting>, error: AppendError) {
        self.writable.set(false);
        for waiting in waiting {
            let _ = waiting.answer.send(Err(error));
        }
    }
}

/// Why events have to be published again.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}")]
    Publish(String),
}

/// What became of an event that was to be published.
enum Settled {
    Answered,
    /// It has to be published again.
    Left(Waiting),
    /// The same, for a failure.
    Failed(Waiting, Failure),
}

/// What the server's memory of an event's identity is worth.
enum Known {
    Same,
    /// The record has the same id and another body, so this event is kept under another id.
    OtherBody {
        free_id: String,
    },
    /// The record is another event's, or so old that the body is a new event.
    No,
}

/// Compares the bodies of two events with one id. Off the runtime where they are large.
async fn compare_bodies(id: String, kept: Bytes, raw: Bytes) -> Result<Known, ReadError> {
    let is_small = kept.len().max(raw.len()) <= MAX_INLINE_BYTES;
    let compare = move || {
        if are_bodies_equal(&kept, &raw) {
            return Known::Same;
        }
        // Better twice than lost. A hash that collides is appended once more.
        let free_id = BodyHash::of_raw(&raw).qualify(&id);
        Known::OtherBody { free_id }
    };
    if is_small {
        return Ok(compare());
    }
    let compared = task::spawn_blocking(compare).await;
    compared.map_err(|error| ReadError::Unavailable(error.to_string()))
}
