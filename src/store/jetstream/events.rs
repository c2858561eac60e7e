//! The stream of events as its leader tells of it.

use std::sync::{Mutex, OnceLock, PoisonError};

use async_nats::jetstream::stream::{Info, RawMessageErrorKind, State, Stream};

use tokio::sync::watch;

use super::{
    connection::Connection,
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

/// One tenant's stream of events.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) connection: Connection,
    pub(super) names: Names,
    pub(super) id: LogId,
    stream: Stream,
    /// When the stream was created: one that was made again is another.
    created: i128,
    /// Why nothing is certain any more.
    broken: OnceLock<&'static str>,
    /// The oldest record that only a newer version of the gateway can read, and its format.
    newer: Mutex<Option<(u64, u32)>>,
    is_serviceable: watch::Sender<bool>,
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
            broken: OnceLock::new(),
            newer: Mutex::default(),
            is_serviceable: watch::Sender::new(true),
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
        if let Some(what) = self.broken.get() {
            return Err(ReadError::Unavailable((*what).to_owned()));
        }
        match self.newer() {
            Some((sequence, format)) => Err(ReadError::Newer { sequence, format }),
            None => Ok(()),
        }
    }

    /// How far the stream is. One that is another, or has lost what was seen, breaks the log.
    pub(super) async fn state(&self, seen: u64) -> Result<State, ReadError> {
        if let Some(what) = self.broken.get() {
            return Err(ReadError::Unavailable((*what).to_owned()));
        }
        let Info { created, state, .. } = self.stream.get_info().await.map_err(unavailable)?;
        if created.unix_timestamp_nanos() != self.created {
            self.break_for("the stream was replaced by another");
        } else if state.last_sequence < seen {
            self.break_for("the stream lost events that were acknowledged");
        } else {
            return Ok(state);
        }
        Err(ReadError::Unavailable("the log is broken".to_owned()))
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
        match self.stream.get_raw_message(sequence).await {
            Ok(message) => {
                let taken = message.time.unix_timestamp_nanos();
                let placed = payload::decode(self.id, sequence, message.payload)?;
                Ok(Some((placed, taken)))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// The newest record of a subject, if the stream has one.
    pub(super) async fn newest_of(&self, subject: &str) -> Result<Option<Placed>, ReadError> {
        match self.stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => payload::decode(self.id, message.sequence, message.payload).map(Some),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// What comes after this record, as it is stored; `None` if it is not kept any more.
    pub(super) async fn end_at(&self, sequence: u64) -> Result<Option<End>, ReadError> {
        if sequence == 0 {
            return Ok(Some(End::default()));
        }
        match self.stream.get_raw_message(sequence).await {
            Ok(message) => payload::end_as_stored(sequence, message.payload).map(Some),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(error: impl std::fmt::Display) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
