//! The one writer of a replica. It knows where its records will stand before it publishes them, because each is
//! published for a place: right after the head that it knows. The server refuses it if somebody else was there first.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    task,
};
use tokio_util::sync::CancellationToken;

use super::{
    bucket::Bucket,
    end::End,
    events::Events,
    head,
    owners::Owners,
    publication::{Fate, publish},
    queue::{MessageId, Waiting, gather},
    supersession::{Place, place_of},
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

    /// Writes all of them, or refuses what is left. Whoever has given up waiting is left out.
    async fn write(&mut self, mut waiting: Vec<Waiting>) {
        loop {
            waiting.retain(|waiting| !waiting.answer.is_closed());
            if waiting.is_empty() {
                return;
            }
            match self.pass(waiting).await {
                Ok(left) => waiting = left,
                Err((refused, error)) => {
                    self.writable.set(false);
                    return refuse(refused, error);
                }
            }
        }
    }

    /// Publishes what may be looked up together. Returns what has to be published again.
    async fn pass(
        &mut self,
        mut waiting: Vec<Waiting>,
    ) -> Result<Vec<Waiting>, (Vec<Waiting>, AppendError)> {
        let head = match self.head().await {
            Ok(head) => head,
            Err(error) => return Err((waiting, self.consequence(&error))),
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
        let places = match place_of(&self.events, &waiting).await {
            Ok(places) => places,
            Err(error) => {
                waiting.append(&mut later);
                return Err((waiting, self.consequence(&error)));
            }
        };
        let start = tokio::time::Instant::now();
        let fates = publish(&self.events, head, self.clock.now(), &waiting, &places).await;
        self.metrics.commit.observe(start.elapsed().as_secs_f64());
        self.head = Some(head);
        let mut left = Vec::new();
        for ((waiting, place), fate) in waiting.into_iter().zip(places).zip(fates) {
            left.extend(self.settle(waiting, place, fate).await);
        }
        left.append(&mut later);
        Ok(left)
    }

    /// Answers one, unless it has to be published again.
    async fn settle(&mut self, mut waiting: Waiting, place: Place, fate: Fate) -> Option<Waiting> {
        let answer = match fate {
            Fate::Stored(end) => {
                self.head = Some(end);
                self.metrics.appended.inc();
                let conflicts = u64::from(waiting.has_id_conflict);
                self.metrics.id_conflicts.inc_by(conflicts);
                self.writable.set(true);
                place.tell_dispute(&self.events, &waiting.event, &self.metrics);
                Ok((Appended::New, Some(end.position.sequence)))
            }
            Fate::Ended => Ok((Appended::Duplicate, None)),
            Fate::KnownAs(sequence) => match self.is_known(&waiting, sequence).await {
                Ok(Known::Same) => Ok((Appended::Duplicate, Some(sequence))),
                Ok(Known::OtherBody { free_id }) => {
                    waiting.event.identity = Identity::Vendor(free_id);
                    waiting.id = MessageId::of(&waiting.event.identity);
                    waiting.has_id_conflict = true;
                    return Some(waiting);
                }
                Ok(Known::No) => {
                    waiting.id = waiting.id.after(sequence);
                    return Some(waiting);
                }
                Err(error) => Err(self.consequence(&error)),
            },
            Fate::Overtaken => {
                self.head = None;
                return Some(waiting);
            }
            Fate::NotSent => return Some(waiting),
            Fate::Refused(error) => {
                let _ = waiting.answer.send(Err(error));
                return None;
            }
            Fate::Failed(error) => {
                self.head = None;
                Err(error)
            }
        };
        if answer.is_err() {
            self.writable.set(false);
        }
        // A client that has gone away finds out when it asks again.
        let _ = waiting.answer.send(answer);
        None
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
        if !self.events.connection.is_up() {
            return Err(ReadError::Unavailable("NATS is away".to_owned()));
        }
        let shown = *self.shown.borrow();
        match self.head {
            // Others append as well.
            Some(head) if head.position.sequence >= shown.position.sequence => Ok(head),
            Some(_) => Ok(shown),
            None => head::find(&self.events, &self.bucket, shown, self.clock.now()).await,
        }
    }

    fn consequence(&self, error: &ReadError) -> AppendError {
        if self.writable.get() {
            let log = &self.events.names.events;
            tracing::error!(log, %error, "the event log cannot write");
        }
        match self.events.is_broken() {
            true => AppendError::Broken,
            false => AppendError::Unavailable,
        }
    }
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

fn refuse(waiting: Vec<Waiting>, error: AppendError) {
    for waiting in waiting {
        let _ = waiting.answer.send(Err(error));
    }
}
