//! Values by key, changed by compare-and-set and read from the leader. Other tools see a key-value bucket of NATS.

use async_nats::{
    HeaderMap,
    header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    jetstream::{
        consumer::{
            DeliverPolicy,
            pull::{Ordered, OrderedConfig},
        },
        context::{PublishError, PublishErrorKind},
        message::PublishMessage,
        publish::PublishAck,
        stream::{PurgeErrorKind, RawMessageErrorKind, Stream},
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    connection::{ANSWER_TIMEOUT, Connection, RETRY_PAUSE, ask},
    settings::bucket_subject,
};
use crate::store::{AppendError, Metrics, ReadError};

/// A bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    connection: Connection,
    stream: Stream,
    name: String,
}

/// A value as it was read.
#[derive(Clone)]
pub(super) struct Entry {
    /// Changes with every change of the key.
    pub(super) revision: u64,
    pub(super) value: Bytes,
    /// When the server took it, in nanoseconds since 1970.
    pub(super) nanoseconds: i128,
}

/// How much a bucket holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) keys: u64,
    pub(super) bytes: u64,
    pub(super) last_revision: u64,
}

/// A value and where it was found.
pub(super) struct Found {
    pub(super) key: String,
    pub(super) value: Bytes,
    pub(super) revision: u64,
}

/// The values of some keys, one after the other.
pub(super) struct Values {
    messages: Ordered,
    pending: u64,
    before_key: String,
}

/// The revision of a key that has no value.
pub(super) const ABSENT: u64 = 0;

/// How many values NATS sends ahead.
const AHEAD: i64 = 256;

impl Bucket {
    pub(super) fn new(connection: Connection, stream: Stream, name: String) -> Self {
        Bucket {
            connection,
            stream,
            name,
        }
    }

    /// The bucket's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the bucket holds now: how many keys, and their bytes at the server.
    pub(super) async fn size(&self) -> Result<Size, ReadError> {
        let info = ask(|| self.stream.get_info()).await?;
        Ok(Size {
            keys: info.state.messages,
            bytes: info.state.bytes,
            last_revision: info.state.last_sequence,
        })
    }

    /// How often the connection was made, and its changes.
    pub(super) fn made(&self) -> watch::Receiver<u64> {
        self.connection.made()
    }

    /// Waits until there is a connection. False if NATS is away: then nothing is written; a read waits for it.
    pub(super) async fn is_reachable(&self) -> bool {
        self.connection.until_up().await
    }

    /// See [`Connection::watch_max_payload`].
    pub(super) fn watch_max_payload(&self, metrics: &Metrics) {
        self.connection.watch_max_payload(metrics);
    }

    /// The value of a key, from the leader.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        let subject = bucket_subject(&self.name, key);
        let found = ask(|| async {
            match self.stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        Ok(found.await?.map(|message| Entry {
            revision: message.sequence,
            value: message.payload,
            nanoseconds: message.time.unix_timestamp_nanos(),
        }))
    }

    /// Sets a key if its revision is still this. `None` if it is not.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`] if the value does not fit into `max_payload`: it was not sent.
    pub(super) async fn set(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<Option<u64>, AppendError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            revision.to_string().as_str(),
        );
        self.publish(key, PublishMessage::build().headers(headers).payload(value))
            .await
    }

    /// Sets a key, whatever it was.
    pub(super) async fn put(&self, key: &str, value: Bytes) -> Result<(), AppendError> {
        let put = self.publish(key, PublishMessage::build().payload(value));
        put.await.map(drop)
    }

    /// Removes a key. False if it had no value.
    pub(super) async fn remove(&self, key: &str) -> Result<bool, AppendError> {
        if !self.is_reachable().await {
            return Err(AppendError::Unavailable);
        }
        let purge = self.stream.purge().filter(bucket_subject(&self.name, key));
        match purge.await {
            Ok(purged) => Ok(purged.purged > 0),
            Err(error) if error.kind() == PurgeErrorKind::TimedOut => Err(AppendError::TooSlow),
            Err(_) => Err(AppendError::Unavailable),
        }
    }

    /// The keys that begin with this, a dot at its end, and their values.
    pub(super) async fn all(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, ReadError> {
        let mut values = self.values(prefix).await?;
        let mut found = Vec::new();
        while let Some(value) = values.next().await? {
            found.push(value);
        }
        Ok(found)
    }

    /// The same, where they may be too many for the memory.
    pub(super) async fn values(&self, prefix: &str) -> Result<Values, ReadError> {
        self.values_by(prefix, DeliverPolicy::LastPerSubject).await
    }

    /// The same of those alone that were changed at this revision or later, in the order of their changes.
    pub(super) async fn values_from(
        &self,
        prefix: &str,
        revision: u64,
    ) -> Result<Values, ReadError> {
        // A bucket keeps one message of each key, so each is the newest of its key.
        let from = DeliverPolicy::ByStartSequence {
            start_sequence: revision.max(1),
        };
        self.values_by(prefix, from).await
    }

    async fn values_by(
        &self,
        prefix: &str,
        deliver_policy: DeliverPolicy,
    ) -> Result<Values, ReadError> {
        let consumer = self.stream.create_consumer(OrderedConfig {
            deliver_policy,
            filter_subject: bucket_subject(&self.name, &format!("{prefix}>")),
            max_batch: AHEAD,
            ..OrderedConfig::default()
        });
        let consumer = consumer.await.map_err(unavailable)?;
        let pending = consumer.cached_info().num_pending;
        Ok(Values {
            messages: consumer.messages().await.map_err(unavailable)?,
            pending,
            before_key: bucket_subject(&self.name, ""),
        })
    }

    async fn publish(
        &self,
        key: &str,
        message: PublishMessage,
    ) -> Result<Option<u64>, AppendError> {
        if !self.is_reachable().await {
            return Err(AppendError::Unavailable);
        }
        let began = Instant::now();
        loop {
            let sent = Instant::now();
            let error = match self.publish_once(key, message.clone()).await {
                Ok(acknowledged) => {
                    self.connection.write_succeeded();
                    return Ok(Some(acknowledged.sequence));
                }
                Err(error) => error.kind(),
            };
            let failure = match error {
                PublishErrorKind::WrongLastSequence => return Ok(None),
                PublishErrorKind::MaxPayloadExceeded => return Err(AppendError::TooLarge),
                PublishErrorKind::TimedOut => AppendError::TooSlow,
                _ => AppendError::Unavailable,
            };
            self.connection.write_failed(sent).await;
            // Nobody got it: the servers of a cluster are electing a leader. What may have been stored is not sent
            // again, since the second copy would find the key changed by the first.
            let is_undelivered = error == PublishErrorKind::StreamNotFound;
            if !is_undelivered || began.elapsed() >= ANSWER_TIMEOUT || !self.is_reachable().await {
                return Err(failure);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn publish_once(
        &self,
        key: &str,
        message: PublishMessage,
    ) -> Result<PublishAck, PublishError> {
        let subject = bucket_subject(&self.name, key);
        let jetstream = &self.connection.jetstream;
        jetstream.send_publish(subject, message).await?.await
    }
}

impl Values {
    /// The next key and its value; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<(String, Bytes)>, ReadError> {
        let found = self.next_found().await?;
        Ok(found.map(|found| (found.key, found.value)))
    }

    /// The same with its revision.
    pub(super) async fn next_found(&mut self) -> Result<Option<Found>, ReadError> {
        if self.is_complete() {
            return Ok(None);
        }
        self.next_change().await.map(Some)
    }

    /// Whether every value that was there has been returned.
    pub(super) fn is_complete(&self) -> bool {
        self.pending == 0
    }

    /// The next key and its value; after the last one, waits for the next that is changed.
    pub(super) async fn next_change(&mut self) -> Result<Found, ReadError> {
        loop {
            let message = self.messages.next().await;
            let message = message.ok_or_else(|| unavailable("NATS ended the consumer"))?;
            let message = message.map_err(unavailable)?;
            let info = message.info().map_err(unavailable)?;
            self.pending = info.pending;
            let revision = info.stream_sequence;
            if let Some(key) = message.subject.strip_prefix(&self.before_key) {
                return Ok(Found {
                    key: key.to_owned(),
                    value: message.payload.clone(),
                    revision,
                });
            }
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> ReadError {
    ReadError::Unavailable(error.to_string())
}
