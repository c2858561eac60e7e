//! Reading all of a log, up to where it ends now.

use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::{
    Config, OpenError,
    bucket::Bucket,
    connection::Connection,
    end::End,
    events::Events,
    head, log_record,
    names::Names,
    open::{existing, unreachable},
    poll_value,
    reader::Reader,
    request_value::{self, Owned},
    settings::bucket_stream,
};
use crate::store::{
    HotTail, Metrics, ReadError,
    hot_tail::Bounds,
    transfer::{Item, MovedEvent, TransferError},
};

/// A log that is only read.
pub(in crate::store) struct Export {
    connection: Connection,
    records: Bucket,
    requests: Bucket,
    reader: Reader,
    bounds: Bounds,
}

impl Export {
    /// Opens a tenant's log, which must be there.
    pub(in crate::store) async fn open(config: &Config, tenant: &str) -> Result<Self, OpenError> {
        let connection = Connection::open(config).await?;
        let names = Names::of(&config.stream_prefix, tenant);
        let bucket = async |name: &str| {
            let stream = existing(&connection, &bucket_stream(name)).await?;
            Ok(Bucket::new(connection.clone(), stream, name.to_owned()))
        };
        let records = bucket(&names.records).await?;
        let requests = bucket(&names.requests).await?;
        let stream = existing(&connection, &names.events).await?;
        let id = log_record::find(&records, stream.cached_info()).await?;
        let id = id.ok_or_else(|| {
            OpenError::Refused("the bucket does not say which log the stream is".to_owned())
        })?;
        let events = Arc::new(Events::new(connection.clone(), names, id, stream));
        let now = Timestamp::now();
        let found = head::find(&events, &records, End::default(), now).await;
        let head = found.map_err(unreachable)?;
        let state = events.state(0).await.map_err(unreachable)?;
        let trimmed = events.trimmed(&state, head).await.map_err(unreachable)?;
        let bounds = head.bounds(trimmed);
        let metrics = Metrics::register(&mut Registry::default());
        Ok(Export {
            connection,
            records,
            requests,
            reader: Reader::new(events, Arc::new(HotTail::new(bounds)), metrics),
            bounds,
        })
    }

    /// When the newest event was received that is not kept any more.
    pub(in crate::store) async fn trimmed_time(&self) -> Result<Option<Timestamp>, ReadError> {
        match self.bounds.trimmed.sequence {
            0 => Ok(None),
            _ => self.reader.newest_trimmed().await.map(Some),
        }
    }

    /// Sends what the log holds, unless nobody wants it any more.
    pub(in crate::store) async fn send(
        self,
        items: mpsc::Sender<Item>,
    ) -> Result<(), TransferError> {
        let sent = self.send_all(&items).await;
        self.connection.close().await;
        sent.map(drop)
    }

    async fn send_all(&self, items: &mpsc::Sender<Item>) -> Result<Option<()>, TransferError> {
        let send = async |item| items.send(item).await.ok();
        let mut sequence = self.bounds.trimmed.sequence;
        while sequence < self.bounds.head.sequence {
            for record in self.reader.page(sequence, None).await? {
                sequence = record.sequence;
                let event = MovedEvent::from(&*record);
                if send(Item::Event(event)).await.is_none() {
                    return Ok(None);
                }
            }
        }
        let mut requests = self.requests.values(request_value::PREFIX).await?;
        while let Some((key, value)) = requests.next().await? {
            let owned = Owned::decode_at(&key, value);
            let Owned { record, .. } =
                owned.map_err(|error| error.error("a request record differs from its checksum"))?;
            if send(Item::Request(record)).await.is_none() {
                return Ok(None);
            }
        }
        for (_, value) in self.records.all(poll_value::PREFIX).await? {
            let poll = poll_value::decode(value);
            let poll = poll.map_err(|error| error.error("a poll differs from its checksum"))?;
            if send(Item::Poll(poll)).await.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }
}
