//! The backend for several replicas: a log is one stream of NATS JetStream.
//!
//! Each replica has one task that publishes (see `writer`) and one that follows the stream and shows what it brings
//! (see `follower`). A record is published for one place, so it is sealed before it is sent, by the same rules as in the
//! embedded backend, and any replica can verify it.

mod bucket;
mod checkpoint;
mod connection;
mod doubt;
mod end;
mod events;
mod export;
mod follower;
mod head;
mod import;
mod lease;
mod log_record;
mod names;
mod nats;
mod open;
mod owners;
mod payload;
mod poll_follower;
mod poll_list;
mod poll_log;
mod poll_value;
#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/properties/store/jetstream.rs"]
pub(super) mod properties;
mod publication;
mod queue;
mod reader;
mod refusal;
mod request_log;
mod request_value;
mod servers;
mod settings;
mod space;
mod supersession;
mod turns;
mod unreadable;
mod writer;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use thiserror::Error;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinHandle,
    time,
};
use tokio_util::sync::CancellationToken;

use super::{
    AppendError, Appended, EventLog, HotTail, Metrics, Page, ReadError, writable::Writable,
};
use crate::{
    clock::Clock,
    event::{LogId, NewEvent, Position},
    memory::Allowance,
    telemetry::Throttle,
};
use checkpoint::Checkpoint;
use end::End;
use events::Events;
pub(super) use export::Export;
pub(super) use import::Import;
pub use nats::Nats;
use poll_log::Waits;
use queue::{Answer, MessageId, Waiting};
use reader::Reader;
use request_log::Records;

/// How long a write may take, its wait for the others included.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an append, or a token of another replica's, waits until this replica's own readers see the record.
const SHOW_TIMEOUT: Duration = Duration::from_secs(5);

/// How many events wait for the writer.
const QUEUED_EVENTS: usize = 1024;

/// How many KiB of them wait for the writer, or are being written.
const QUEUED_KIB: u32 = 64 << 10;

static EVENT_CUT: Throttle = Throttle::new("parts of an event were left out for NATS");

/// How long the writer has to end when the log is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long there is to take leave of NATS after that: a NATS that is away must not hold a stop up.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// Where and how events are kept on NATS.
#[derive(Clone, Debug)]
pub struct Config {
    /// `nats://HOST:PORT` each, or `tls://HOST:PORT` each: servers of one cluster, of which any will do.
    pub servers: Vec<String>,
    /// The file with the user's credentials, where NATS wants them.
    pub credentials_file: Option<PathBuf>,
    /// PEM certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// What the names of streams, buckets and subjects begin with: letters, digits, `-` and `_`.
    pub stream_prefix: String,
    /// How many servers keep each message.
    pub replicas: usize,
    /// How long a log keeps its events.
    pub retention_age: Duration,
    /// How many bytes a stream may have.
    pub retention_bytes: u64,
    /// For how long a body without an id of Kora's is known again.
    pub dedup_window: Duration,
    /// How long request records are kept after the end of their request.
    pub request_retention: Duration,
    /// How many bytes of request records a bucket keeps.
    pub request_bytes: u64,
}

/// Why a log on NATS cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// NATS does not answer; it can be tried again.
    #[error("NATS cannot be reached: {0}")]
    Unreachable(String),
    /// NATS answers, and refuses what only another setting, of the gateway or of NATS, makes possible.
    #[error("{0}")]
    Misconfigured(String),
    /// What is there cannot keep the promises of a log, and somebody has to change it.
    #[error("{0}")]
    Refused(String),
}

/// One tenant's log on NATS.
#[derive(Debug)]
pub struct JetStream {
    events: Arc<Events>,
    tail: Arc<HotTail>,
    shown: watch::Receiver<End>,
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    writable: Writable,
    reader: Reader,
    records: Arc<Records>,
    waits: Waits,
    tasks: Mutex<Option<Tasks>>,
}

/// What closing the log ends.
#[derive(Debug)]
struct Tasks {
    writer: JoinHandle<()>,
    follower: JoinHandle<()>,
    owners: JoinHandle<()>,
    lease: JoinHandle<()>,
    space: JoinHandle<()>,
    polls: JoinHandle<()>,
    turns: JoinHandle<()>,
    closed: CancellationToken,
}

/// What a tenant's stream of events is called.
pub(super) fn stream_name(config: &Config, tenant: &str) -> String {
    names::Names::of(&config.stream_prefix, tenant).events
}

impl JetStream {
    /// Opens a tenant's log on a connection of its own, and creates it where there is none.
    ///
    /// # Errors
    /// If NATS does not answer, is too old, or has streams with settings that would break a promise.
    pub async fn open(
        config: &Config,
        tenant: &str,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let nats = Nats::connect(config).await?;
        nats.open(tenant, clock, metrics).await
    }

    /// Writes what waits, and takes leave of the other gateways. Appends fail from then on.
    pub async fn close(&self) {
        let tasks = self
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Tasks {
            writer,
            follower,
            owners,
            lease,
            space,
            polls,
            turns,
            closed,
        }) = tasks
        else {
            return;
        };
        closed.cancel();
        // One that panicked has ended too, and was reported by its panic.
        let _ = time::timeout(CLOSE_TIMEOUT, writer).await;
        for task in [follower, owners, lease, space, polls, turns] {
            task.abort();
            let _ = task.await;
        }
        // The follower can have found, last of all, that NATS answers.
        self.writable.set(false);
        // What cannot be said now, others find out by themselves.
        let _ = time::timeout(LEAVE_TIMEOUT, self.take_leave()).await;
    }

    async fn take_leave(&self) {
        // If it cannot be kept now, the stream still has the record, or another replica keeps it.
        let end = *self.shown.borrow();
        let _ = Checkpoint::keep(&self.waits.bucket, end).await;
        self.waits.lease.release().await;
        self.records.owners.leave().await;
    }

    /// Has an event written, and waits until it is durable.
    async fn write(&self, event: NewEvent, is_reconciled: bool) -> Answer {
        time::timeout(WRITE_TIMEOUT, self.enqueue(event, is_reconciled))
            .await
            .unwrap_or_else(|_| {
                self.writable.set(false);
                Err(AppendError::TooSlow)
            })
    }

    async fn enqueue(&self, event: NewEvent, is_reconciled: bool) -> Answer {
        let kib = u32::try_from(event.size() >> 10).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room)
            .acquire_many_owned(kib.saturating_add(1).min(QUEUED_KIB))
            .await
            .map_err(|_| AppendError::Broken)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            id: MessageId::of(&event.identity),
            has_id_conflict: false,
            event,
            is_reconciled,
            answer,
            _room: room,
        };
        let sent = self.queue.send(waiting).await;
        sent.map_err(|_| AppendError::Broken)?;
        answered.await.unwrap_or(Err(AppendError::Broken))
    }

    /// Appends, and lets this replica's readers see it first. It is durable already: one whose follower is slow is
    /// appended all the same.
    async fn append_and_show(
        &self,
        mut event: NewEvent,
        is_reconciled: bool,
    ) -> Result<Appended, AppendError> {
        let max_bytes = self.events.connection.max_value_bytes();
        let cuts = event.fit(max_bytes);
        if !cuts.is_empty() {
            let screening_id = &event.keys.screening_id;
            if EVENT_CUT.allows() {
                tracing::warn!(screening_id, %cuts, "parts of an event were left out: NATS has no room for them");
            }
            cuts.count(&self.waits.metrics.cuts);
        }
        let bytes = event.size();
        if bytes > max_bytes {
            let log = &self.events.names.events;
            tracing::error!(
                log,
                bytes,
                max_bytes,
                "an event is larger than max_payload of NATS allows"
            );
            return Err(AppendError::TooLarge);
        }
        if self.events.newer().is_some() {
            return Err(AppendError::Unavailable);
        }
        let (appended, sequence) = self.write(event, is_reconciled).await?;
        if let Some(sequence) = sequence {
            self.is_shown(sequence).await;
        }
        Ok(appended)
    }

    /// Waits until this replica's readers see a record. Whether they do in time.
    async fn is_shown(&self, sequence: u64) -> bool {
        let mut shown = self.shown.clone();
        let is_shown = shown.wait_for(|end| end.position.sequence >= sequence);
        matches!(time::timeout(SHOW_TIMEOUT, is_shown).await, Ok(Ok(_)))
    }

    /// Asks the stream's leader whether it has a record, and if so waits for it.
    async fn reach_if_there(&self, sequence: u64) -> Result<(), ReadError> {
        let seen = self.shown.borrow().position.sequence;
        let state = self.events.state(seen).await?;
        if sequence <= state.last_sequence && !self.is_shown(sequence).await {
            let late = "this gateway is behind the stream";
            return Err(ReadError::Unavailable(late.to_owned()));
        }
        Ok(())
    }
}

impl EventLog for JetStream {
    fn id(&self) -> LogId {
        self.events.id
    }

    fn tail(&self) -> &HotTail {
        &self.tail
    }

    fn append(&self, event: NewEvent) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(self.append_and_show(event, false))
    }

    fn read_charged<'a>(
        &'a self,
        sequence: u64,
        memory: Option<&'a Allowance>,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        Box::pin(async move {
            self.events.require_serviceable()?;
            match self.tail.page(sequence) {
                Some(page) => Ok(page),
                None => self.reader.page(sequence, memory).await,
            }
        })
    }

    fn position_before(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        Box::pin(self.reader.position_before(time))
    }

    fn reach(&self, sequence: u64) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(self.reach_if_there(sequence))
    }

    fn writable(&self) -> watch::Receiver<bool> {
        self.writable.subscribe()
    }

    fn serviceable(&self) -> watch::Receiver<bool> {
        self.events.serviceability()
    }

    fn unserviceable_because(&self) -> Option<String> {
        let error = self.events.require_serviceable().err()?;
        Some(format!("{}: {error}", self.events.names.events))
    }
}
