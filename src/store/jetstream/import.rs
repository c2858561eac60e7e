//! Filling an empty log. Until it is full, its record says that it is no log yet.

use async_nats::jetstream::message::PublishMessage;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    Config, OpenError,
    bucket::{ABSENT, Bucket},
    checkpoint::Checkpoint,
    connection::{Connection, max_payload_for},
    end::End,
    events::Events,
    log_record::{self, Filling},
    names::Names,
    open::{create_or_verify, open_records, open_requests, unreachable},
    owners::Owners,
    payload, poll_value,
    queue::MessageId,
    request_value::{self, Owned},
    settings,
    supersession::has_ended,
};
use crate::{
    event::reconciled_id,
    store::{
        Poll, Record, StoredRequest,
        record::identity_of,
        transfer::{Beginning, Counts, Item, MovedEvent, TransferError},
    },
};

/// Nobody works on a request that was in flight.
const NOBODY: Uuid = Uuid::nil();

/// A log that is being filled.
pub(in crate::store) struct Import {
    events: Events,
    records: Bucket,
    requests: Bucket,
    filling: Filling,
    head: End,
    written: Counts,
}

impl Import {
    /// Marks a tenant's log, which must be empty and not in use, as one that is being filled. It is created where there
    /// is none.
    pub(in crate::store) async fn begin(
        config: &Config,
        tenant: &str,
        beginning: Beginning,
    ) -> Result<Self, TransferError> {
        let connection = Connection::open(config).await?;
        if beginning.largest_item > connection.max_value_bytes() {
            return Err(refused(format!(
                "this NATS server has no room for the largest record: max_payload has to be at least {}",
                max_payload_for(beginning.largest_item)
            )));
        }
        let names = Names::of(&config.stream_prefix, tenant);
        let records = open_records(&connection, config, &names).await?;
        let requests = open_requests(&connection, config, &names).await?;
        let stream = create_or_verify(&connection, settings::events(config, &names)).await?;
        log_record::find(&records, stream.cached_info()).await?;
        require_unused(&stream, &records, &requests).await?;
        let filling = log_record::begin_import(&records, stream.cached_info()).await?;
        // A gateway says that it lives before it looks for the mark: one that has not seen it is seen here.
        if let Err(error) = require_unused(&stream, &records, &requests).await {
            log_record::finish_import(&records, stream.cached_info(), filling).await?;
            return Err(error);
        }
        let mut import = Import {
            events: Events::new(connection, names, filling.id, stream),
            records,
            requests,
            filling,
            head: End::default(),
            written: Counts::default(),
        };
        if let Some(receive_time) = beginning.trimmed_time {
            let gone = MovedEvent {
                receive_time,
                ..MovedEvent::default()
            };
            import.trim(gone).await?;
        }
        Ok(import)
    }

    /// Writes what comes.
    pub(in crate::store) async fn fill(
        mut self,
        mut items: mpsc::Receiver<Item>,
    ) -> Result<Self, TransferError> {
        while let Some(item) = items.recv().await {
            match item {
                Item::Event(event) => {
                    self.append(event).await?;
                    self.written.events += 1;
                }
                Item::Request(request) => {
                    self.put_request(request).await?;
                    self.written.requests += 1;
                }
                // Another log on NATS has some of these, and leaves them out when it reads them.
                Item::Poll(poll)
                    if has_ended(&self.events, &poll.screening_id, &poll.subject_id).await? => {}
                Item::Poll(poll) => {
                    self.put_poll(&poll).await?;
                    self.written.polls += 1;
                }
            }
        }
        Ok(self)
    }

    /// Makes it a log like any other.
    pub(in crate::store) async fn finish(self) -> Result<Counts, TransferError> {
        let kept = Checkpoint::keep(&self.records, self.head).await;
        kept.ok_or_else(|| refused("the end of the log was not stored; the log is not whole"))?;
        let info = self.events.stream().cached_info();
        log_record::finish_import(&self.records, info, self.filling).await?;
        self.events.connection.close().await;
        Ok(self.written)
    }

    /// Has the log begin after an event that it does not keep, so that it is known that there were older ones.
    async fn trim(&mut self, gone: MovedEvent) -> Result<(), TransferError> {
        self.append(gone).await?;
        let first_kept = self.head.position.sequence + 1;
        let purged = self.events.stream().purge().sequence(first_kept).await;
        purged.map_err(|error| OpenError::Unreachable(error.to_string()))?;
        Ok(())
    }

    /// Nobody else publishes, so an event that is not stored right after the last one ends the import.
    async fn append(&mut self, event: MovedEvent) -> Result<(), TransferError> {
        let subject = self.subject(&event);
        let mut id = MessageId::of(&identity_of(&event.event_id));
        let last = (self.head.position.sequence, self.head.end_offset);
        let record = Record::seal_moved(self.events.id, last, event);
        loop {
            let message = PublishMessage::build()
                .payload(payload::encode(&record, &self.head))
                .message_id(id.to_string())
                .expected_stream(&self.events.names.events)
                .expected_last_sequence(self.head.position.sequence);
            let jetstream = &self.events.connection.jetstream;
            let acknowledged = match jetstream.send_publish(subject.clone(), message).await {
                Ok(acknowledgement) => acknowledgement.await,
                Err(error) => Err(error),
            };
            let acknowledged = acknowledged.map_err(|error| {
                refused(format!(
                    "an event was not stored: {error}; the log is not whole"
                ))
            })?;
            match (acknowledged.duplicate, acknowledged.sequence) {
                (false, sequence) if sequence == record.sequence => break,
                // As it would be published now: the same body came more than once.
                (true, sequence) if sequence > 0 => id = id.after(sequence),
                _ => return Err(refused("an event was stored at another place")),
            }
        }
        self.head = (&record).into();
        Ok(())
    }

    fn subject(&self, event: &MovedEvent) -> String {
        let names = &self.events.names;
        match event.keys.ended_screening() {
            None => names.event(),
            Some(screening_id) if event.event_id == reconciled_id(screening_id) => {
                names.reconciled(screening_id)
            }
            Some(screening_id) => names.end(screening_id),
        }
    }

    async fn put_request(&self, record: StoredRequest) -> Result<(), TransferError> {
        let key = request_value::key(&record.key);
        let owned = Owned {
            record,
            owner: NOBODY,
        };
        self.put(&self.requests, &key, owned.encode()).await
    }

    async fn put_poll(&self, poll: &Poll) -> Result<(), TransferError> {
        let id = poll.screening_id.as_bytes();
        let (key, value) = (poll_value::key(id), poll_value::encode(poll));
        self.put(&self.records, &key, value).await
    }

    async fn put(
        &self,
        bucket: &Bucket,
        key: &str,
        value: bytes::Bytes,
    ) -> Result<(), TransferError> {
        match bucket.set(key, value, ABSENT).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(refused("a record is there already; the log is not whole")),
            Err(error) => Err(refused(format!(
                "a record was not stored: {error}; the log is not whole"
            ))),
        }
    }
}

/// Refuses a log that has had anything, or that a gateway uses.
async fn require_unused(
    stream: &async_nats::jetstream::stream::Stream,
    records: &Bucket,
    requests: &Bucket,
) -> Result<(), TransferError> {
    let info = stream.get_info().await;
    let info = info.map_err(|error| OpenError::Unreachable(error.to_string()))?;
    let has_requests = requests.values(request_value::PREFIX).await?.next().await?;
    let has_polls = records.values(poll_value::PREFIX).await?.next().await?;
    if info.state.last_sequence > 0 || has_requests.is_some() || has_polls.is_some() {
        return Err(TransferError::NotEmpty);
    }
    let owners = Owners::new(requests.clone());
    owners.renew().await.map_err(unreachable)?;
    let is_used = owners.has_others().await;
    owners.leave().await;
    match is_used? {
        true => Err(refused(
            "a gateway uses the log: stop it, and wait for half a minute",
        )),
        false => Ok(()),
    }
}

fn refused(what: impl Into<String>) -> TransferError {
    TransferError::Nats(OpenError::Refused(what.into()))
}
