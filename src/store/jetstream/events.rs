//! The stream of events as its leader tells of it.

use std::sync::{
    Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use async_nats::jetstream::{
    message::StreamMessage,
    stream::{Info, RawMessageErrorKind, State, Stream},
};
use tokio::sync::watch;

use super::{
    connection::{Connection, ask},
    doubt::{Doubts, may_be_deposed},
    end::End,
    names::Names,
    payload::{self, Placed},
};
use crate::{
    event::{LogId, Position},
    store::ReadError,
};

/// How often the oldest record is looked for again when it was trimmed meanwhile.
const ATTEMPTS: u32 = 3;

/// How often the leader has to say that a record is missing which its stream covers.
const CONFIRMATIONS: u32 = 2;

/// One tenant's stream of events.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) connection: Connection,
    pub(super) names: Names,
    pub(super) id: LogId,
    stream: Stream,
    /// When the stream was created: one that was made again is another.
    created: i128,
    /// The newest sequence that anybody here has seen.
    seen: AtomicU64,
    /// Of how far the stream is.
    end_doubts: Doubts,
    /// Of what its records are.
    record_doubts: Doubts,
    /// Why nothing is certain any more.
    broken: OnceLock<&'static str>,
    /// The oldest record that only a newer version of the gateway can read, and its format.
    newer: Mutex<Option<(u64, u32)>>,
    is_serviceable: watch::Sender<bool>,
    is_sound: watch::Sender<bool>,
}

impl Events {
    pub(super) fn new(connection: Connection, names: Names, id: LogId, stream: Stream) -> Self {
        let created = stream.cached_info().created.unix_timestamp_nanos();
        Events {
            connection,
            names,
            id,
            stream,
            created,
            seen: AtomicU64::new(0),
            end_doubts: Doubts::default(),
            record_doubts: Doubts::default(),
            broken: OnceLock::new(),
            newer: Mutex::default(),
            is_serviceable: watch::Sender::new(true),
            is_sound: watch::Sender::new(true),
        }
    }

    /// The stream itself.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// From now on, nothing is read or appended.
    pub(super) fn break_for(&self, what: &'static str) {
        if self.broken.set(what).is_ok() {
            self.is_serviceable.send_replace(false);
            self.is_sound.send_replace(false);
            let log = &self.names.events;
            tracing::error!(log, what, "the event log needs a restart");
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    /// Notes that the log goes on with a record that only a newer version of the gateway can read, with this sequence and
    /// format, or goes on as usual. Whether that is news.
    pub(super) fn set_newer(&self, newer: Option<(u64, u32)>) -> bool {
        let was = std::mem::replace(&mut *lock(&self.newer), newer);
        if was == newer {
            return false;
        }
        let log = &self.names.events;
        match newer {
            Some((sequence, format)) => tracing::error!(
                log,
                sequence,
                format,
                "the log goes on with an event that was written by a newer version of the gateway: this one is not ready, \
                 and cannot follow until it is upgraded too"
            ),
            None => tracing::info!(log, "the log can be followed again"),
        }
        self.is_serviceable
            .send_replace(newer.is_none() && !self.is_broken());
        true
    }

    /// The oldest record that only a newer version of the gateway can read, and its format.
    pub(super) fn newer(&self) -> Option<(u64, u32)> {
        *lock(&self.newer)
    }

    /// Whether this gateway can serve the log at all, and its changes.
    pub(super) fn serviceability(&self) -> watch::Receiver<bool> {
        self.is_serviceable.subscribe()
    }

    /// Fails while this gateway cannot follow the log.
    pub(super) fn require_serviceable(&self) -> Result<(), ReadError> {
        self.require_sound()?;
        match self.newer() {
            Some((sequence, format)) => Err(ReadError::Newer { sequence, format }),
            None => Ok(()),
        }
    }

    /// False once the log is broken.
    pub(super) fn soundness(&self) -> watch::Receiver<bool> {
        self.is_sound.subscribe()
    }

    /// Waits until the log is broken.
    pub(super) async fn until_broken(&self) {
        let mut is_sound = self.soundness();
        // The sender lives as long as this does.
        let _ = is_sound.wait_for(|is_sound| !is_sound).await;
    }

    /// Fails if the log is broken.
    pub(super) fn require_sound(&self) -> Result<(), ReadError> {
        match self.broken.get() {
            Some(what) => Err(ReadError::Unavailable((*what).to_owned())),
            None => Ok(()),
        }
    }

    /// How far the stream is. One that is another, or has lost what was seen, breaks the log once that is certain.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] also while the leader that answers is behind what was seen: one that was just elected
    /// can be, and so can one that was deposed and does not know it yet.
    pub(super) async fn state(&self, seen: u64) -> Result<State, ReadError> {
        self.require_sound()?;
        let info = ask(|| self.stream.get_info()).await?;
        if may_be_deposed(&info) {
            // The servers on this side serve nobody.
            self.connection.try_another_server().await;
        }
        let seen = self.seen.fetch_max(seen, Ordering::Relaxed).max(seen);
        let Some(doubt) = self.doubt(&info, seen) else {
            self.end_doubts.dispel();
            return Ok(info.state);
        };
        if self.end_doubts.is_certain(&info) {
            self.break_for(doubt);
            self.require_sound()?;
        }
        Err(ReadError::Unavailable(
            "the leader of the stream is behind what was seen".to_owned(),
        ))
    }

    /// Notes that a record is not what it should be by what one server said. Breaks the log once that is certain.
    pub(super) async fn doubt_record(&self, what: &'static str) -> Result<(), ReadError> {
        let info = ask(|| self.stream.get_info()).await?;
        if self.record_doubts.is_certain(&info) {
            self.break_for(what);
        }
        Ok(())
    }

    /// Notes that the records are what they should be.
    pub(super) fn trust_records(&self) {
        self.record_doubts.dispel();
    }

    /// Whether the stream has a message with this sequence.
    pub(super) async fn has(&self, sequence: u64) -> Result<bool, ReadError> {
        Ok(self.message(sequence).await?.is_some())
    }

    fn doubt(&self, info: &Info, seen: u64) -> Option<&'static str> {
        if info.created.unix_timestamp_nanos() != self.created {
            Some("the stream was replaced by another")
        } else if info.state.last_sequence < seen {
            Some("the stream lost events that were acknowledged")
        } else {
            None
        }
    }

    /// The record with this sequence, if the stream has it.
    pub(super) async fn record(&self, sequence: u64) -> Result<Option<Placed>, ReadError> {
        let found = self.record_and_time(sequence).await?;
        Ok(found.map(|(placed, _)| placed))
    }

    /// The same, with the time at which the server took it, in nanoseconds since 1970.
    pub(super) async fn record_and_time(
        &self,
        sequence: u64,
    ) -> Result<Option<(Placed, i128)>, ReadError> {
        let Some(message) = self.message(sequence).await? else {
            return Ok(None);
        };
        let taken = message.time.unix_timestamp_nanos();
        let placed = payload::decode(self.id, sequence, message.payload)?;
        Ok(Some((placed, taken)))
    }

    /// The newest record of a subject, if the stream has one.
    pub(super) async fn newest_of(&self, subject: &str) -> Result<Option<Placed>, ReadError> {
        let newest = ask(|| async {
            match self.stream.get_last_raw_message_by_subject(subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        let decode =
            |message: StreamMessage| payload::decode(self.id, message.sequence, message.payload);
        newest.await?.map(decode).transpose()
    }

    /// What comes after this record, as it is stored; `None` if it is not kept any more.
    pub(super) async fn end_at(&self, sequence: u64) -> Result<Option<End>, ReadError> {
        if sequence == 0 {
            return Ok(Some(End::default()));
        }
        let message = self.message(sequence).await?;
        let end = |message: StreamMessage| payload::end_as_stored(sequence, message.payload);
        message.map(end).transpose()
    }

    /// The message with this sequence; `None` if the stream has passed it and does not have it.
    async fn message(&self, sequence: u64) -> Result<Option<StreamMessage>, ReadError> {
        for _ in 0..CONFIRMATIONS {
            if let Some(message) = self.message_now(sequence).await? {
                return Ok(Some(message));
            }
            // A leader that is behind does not have it yet.
            let state = self.state(0).await?;
            if state.first_sequence > sequence {
                return Ok(None);
            }
            if state.last_sequence < sequence {
                return Err(ReadError::Unavailable(
                    "the leader of the stream is behind".to_owned(),
                ));
            }
        }
        Ok(None)
    }

    async fn message_now(&self, sequence: u64) -> Result<Option<StreamMessage>, ReadError> {
        let message = ask(|| async {
            match self.stream.get_raw_message(sequence).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        message.await
    }

    /// The position before the oldest record: the record tells it. Of an emptied stream it is `head`.
    pub(super) async fn trimmed(&self, state: &State, head: End) -> Result<Position, ReadError> {
        let mut first = state.first_sequence;
        for _ in 0..ATTEMPTS {
            if first <= 1 {
                return Ok(Position::default());
            }
            if first > head.position.sequence {
                return Ok(head.position);
            }
            match self.record(first).await {
                Ok(Some(placed)) => return Ok(placed.before.position),
                Ok(None) => first = self.state(head.position.sequence).await?.first_sequence,
                // Nobody can know what came before a damaged record.
                Err(ReadError::Corrupt { .. }) => {
                    return Ok(Position {
                        sequence: first - 1,
                        checksum: 0,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Err(ReadError::Unavailable(
            "the oldest events go faster than they can be read".to_owned(),
        ))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
