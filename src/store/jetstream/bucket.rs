//! Values by key, changed by compare-and-set and read from the leader. Other tools see a key-value bucket of NATS.

use async_nats::{
    HeaderMap,
    header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    jetstream::{
        context::PublishErrorKind,
        message::PublishMessage,
        stream::{RawMessageErrorKind, Stream},
    },
};
use bytes::Bytes;

use super::{connection::Connection, settings::bucket_subject};
use crate::store::{AppendError, ReadError};

/// A bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    connection: Connection,
    stream: Stream,
    name: String,
}

/// A value as it was read.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Changes with every change of the key.
    pub(super) revision: u64,
    pub(super) value: Bytes,
}

/// The revision of a key that has never had a value.
pub(super) const ABSENT: u64 = 0;

impl Bucket {
    pub(super) fn new(connection: Connection, stream: Stream, name: String) -> Self {
        Bucket {
            connection,
            stream,
            name,
        }
    }

    /// The value of a key, from the leader.
    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        let subject = bucket_subject(&self.name, key);
        match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(Entry {
                revision: message.sequence,
                value: message.payload,
            })),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(ReadError::Unavailable(error.to_string())),
        }
    }

    /// Sets a key if its revision is still this. `None` if it is not.
    pub(super) async fn set(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
    ) -> Result<Option<u64>, AppendError> {
        if !self.connection.is_up() {
            return Err(AppendError::Unavailable);
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            revision.to_string().as_str(),
        );
        let message = PublishMessage::build().headers(headers).payload(value);
        let sent = self
            .connection
            .jetstream
            .send_publish(bucket_subject(&self.name, key), message);
        let acknowledged = match sent.await {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(acknowledged) => Ok(Some(acknowledged.sequence)),
            Err(error) => match error.kind() {
                PublishErrorKind::WrongLastSequence => Ok(None),
                PublishErrorKind::TimedOut => Err(AppendError::TooSlow),
                _ => Err(AppendError::Unavailable),
            },
        }
    }
}
