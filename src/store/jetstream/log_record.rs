//! The record that says which log a stream is.

use std::time::Duration;

use async_nats::jetstream::stream::Info;
use bytes::Bytes;
use prost::Message;
use tokio::time::sleep;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    OpenError,
    bucket::{ABSENT, Bucket},
    open::unreachable,
};
use crate::event::LogId;

/// The key of the record.
const KEY: &str = "log";

/// The number of this form of the record.
const FORMAT: u32 = 1;

/// How often the record is looked for again when somebody else has made it at the same time.
const ATTEMPTS: u32 = 5;

/// How long to wait before that.
const PAUSE: Duration = Duration::from_millis(50);

/// The record.
#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "bytes", tag = "2")]
    id: Bytes,
    /// When the stream was created, by the server's clock: a stream that was deleted and made again is another.
    #[prost(string, tag = "3")]
    created: String,
    #[prost(fixed64, tag = "4")]
    checksum: u64,
    /// An import was begun and is not finished.
    #[prost(bool, tag = "5")]
    is_importing: bool,
}

/// The record of a log that is being filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filling {
    pub(super) id: LogId,
    /// That of the record.
    revision: u64,
}

/// What every version reads of the record.
#[derive(Clone, PartialEq, Message)]
struct Format {
    #[prost(uint32, tag = "1")]
    format: u32,
}

/// Which log the stream is. A new stream becomes a new log.
pub(super) async fn identify(bucket: &Bucket, events: &Info) -> Result<LogId, OpenError> {
    for _ in 0..ATTEMPTS {
        let found = bucket.get(KEY).await;
        if let Some(entry) = found.map_err(|error| OpenError::Unreachable(error.to_string()))? {
            return read(entry.value, events);
        }
        if events.state.last_sequence > 0 {
            return Err(OpenError::Refused(
                "the bucket does not say which log the stream is, and the stream is not new"
                    .to_owned(),
            ));
        }
        let id = LogId::random();
        let created = bucket.set(KEY, write(id, events, false), ABSENT).await;
        match created.map_err(|error| OpenError::Unreachable(error.to_string()))? {
            Some(_) => return Ok(id),
            None => sleep(PAUSE).await,
        }
    }
    Err(OpenError::Unreachable(
        "the bucket does not keep what is written".to_owned(),
    ))
}

/// Which log the stream is, if it is one.
pub(super) async fn find(bucket: &Bucket, events: &Info) -> Result<Option<LogId>, OpenError> {
    let found = bucket.get(KEY).await.map_err(unreachable)?;
    found.map(|entry| read(entry.value, events)).transpose()
}

/// Has nobody open the log any more, until it is finished.
pub(super) async fn begin_import(bucket: &Bucket, events: &Info) -> Result<Filling, OpenError> {
    let found = bucket.get(KEY).await.map_err(unreachable)?;
    let (id, revision) = match found {
        None => (LogId::random(), ABSENT),
        Some(entry) => (read(entry.value, events)?, entry.revision),
    };
    let filling = Filling { id, revision };
    let revision = set(bucket, filling, write(id, events, true)).await?;
    Ok(Filling { id, revision })
}

/// Makes it a log like any other.
pub(super) async fn finish_import(
    bucket: &Bucket,
    events: &Info,
    filling: Filling,
) -> Result<(), OpenError> {
    let record = write(filling.id, events, false);
    set(bucket, filling, record).await.map(drop)
}

async fn set(bucket: &Bucket, filling: Filling, record: Bytes) -> Result<u64, OpenError> {
    let set = bucket.set(KEY, record, filling.revision).await;
    let set = set.map_err(|error| OpenError::Unreachable(error.to_string()))?;
    set.ok_or_else(|| OpenError::Refused("somebody else changed the log meanwhile".to_owned()))
}

fn write(id: LogId, events: &Info, is_importing: bool) -> Bytes {
    let mut record = LogRecord {
        format: FORMAT,
        id: id.0.to_vec().into(),
        created: created(events),
        checksum: 0,
        is_importing,
    };
    record.checksum = record.computed_checksum();
    record.encode_to_vec().into()
}

fn read(value: Bytes, events: &Info) -> Result<LogId, OpenError> {
    let refused = |what: &str| OpenError::Refused(what.to_owned());
    let format = Format::decode(value.clone()).unwrap_or_default().format;
    if format > FORMAT {
        return Err(OpenError::Refused(format!(
            "the log was written by a newer version of the gateway, in format {format}: upgrade this gateway"
        )));
    }
    let record = LogRecord::decode(value)
        .ok()
        .filter(|record| record.format == FORMAT && record.checksum == record.computed_checksum());
    let record = record.ok_or_else(|| refused("the record of the log is damaged"))?;
    if record.created != created(events) {
        return Err(refused(
            "the stream is not the one that the bucket tells of: it was deleted or replaced; delete the bucket \
             too to start a new log",
        ));
    }
    if record.is_importing {
        return Err(refused(
            "an import into the log was begun and not finished: delete its stream and both of its buckets, and import \
             again",
        ));
    }
    let id = <[u8; 16]>::try_from(&record.id[..]);
    id.map(LogId)
        .map_err(|_| refused("the record of the log has no id"))
}

fn created(events: &Info) -> String {
    events.created.unix_timestamp_nanos().to_string()
}

impl LogRecord {
    fn computed_checksum(&self) -> u64 {
        let bare = LogRecord {
            checksum: 0,
            ..self.clone()
        };
        xxh3_64(&bare.encode_to_vec())
    }
}
