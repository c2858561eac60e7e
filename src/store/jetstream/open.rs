//! Opening a log: create or verify what there is, and start the tasks.

use std::sync::{Arc, Mutex, atomic::AtomicU64};

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind},
    stream::{self, Stream},
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Config, JetStream, OpenError, QUEUED_EVENTS, QUEUED_KIB, Tasks, bucket::Bucket,
    checkpoint::Checkpoint, connection::Connection, end::End, events::Events, follower::Follower,
    head, lease::Lease, log_record, names::Names, owners::Owners, poll_follower::FollowedPolls,
    poll_log::Waits, reader::Reader, refusal, request_log::Records, settings, space::Space,
    turns::Turns, writer::Writer,
};
use crate::{
    clock::Clock,
    store::{HotTail, Metrics, ReadError, request_space::RequestSpace, writable::Writable},
};

/// Opens a tenant's log, and creates it where there is none.
pub(super) async fn open(
    connection: Connection,
    config: &Config,
    tenant: &str,
    clock: Clock,
    metrics: Metrics,
) -> Result<JetStream, OpenError> {
    let refused = connection.refused();
    let opened = open_on(connection, config, tenant, clock, metrics).await;
    // NATS does not answer a request that the user has no right to.
    opened.map_err(|error| match (error, refused.since()) {
        (OpenError::Unreachable(_), Some(right)) => OpenError::Misconfigured(format!(
            "NATS refuses a right to the user of --nats-credentials-file: {right}"
        )),
        (error, _) => error,
    })
}

async fn open_on(
    connection: Connection,
    config: &Config,
    tenant: &str,
    clock: Clock,
    metrics: Metrics,
) -> Result<JetStream, OpenError> {
    let names = Names::of(&config.stream_prefix, tenant);
    let bucket = open_records(&connection, config, &names).await?;
    let requests = open_requests(&connection, config, &names).await?;
    let stream = create_or_verify(&connection, settings::events(config, &names)).await?;
    // Before the log is known to be one: whoever would fill it, and finds nobody here then, is seen here.
    let owners = Owners::new(requests.clone());
    owners.renew().await.map_err(unreachable)?;
    let id = match log_record::identify(&bucket, stream.cached_info()).await {
        Ok(id) => id,
        Err(error) => {
            owners.leave().await;
            return Err(error);
        }
    };
    let events = Arc::new(Events::new(connection, names, id, stream));
    let now = clock.now();
    let found = head::find(&events, &bucket, End::default(), now).await;
    let head = found.map_err(unreachable)?;
    if head.position.sequence > 0 {
        clock.note_record(head.receive_time);
    }
    let state = events.state(0).await.map_err(unreachable)?;
    let trimmed = events.trimmed(&state, head).await.map_err(unreachable)?;

    let lease = Lease::new(bucket.clone(), owners.me);
    lease.renew().await;
    let space = RequestSpace::new(
        settings::bucket_stream(requests.name()),
        config.request_bytes,
        metrics.clone(),
    );
    let space = Space::new(requests.clone(), Arc::clone(&lease), space);
    space.refresh().await;

    let tail = Arc::new(HotTail::new(head.bounds(trimmed)));
    let polls = FollowedPolls::new(bucket.clone());
    let waits = Waits {
        bucket: bucket.clone(),
        polls: Arc::clone(&polls),
        events: Arc::clone(&events),
        tail: Arc::clone(&tail),
        ends_seen: AtomicU64::new(head.position.sequence),
        uncompared: Mutex::default(),
        lease: Arc::clone(&lease),
        clock: clock.clone(),
        metrics: metrics.clone(),
    };

    let turns = Turns::new(events.connection.clone(), events.names.turns(), owners.me);
    let (shown, shows) = watch::channel(head);
    let (queue, waiting) = mpsc::channel(QUEUED_EVENTS);
    let writable = Writable::new(true, metrics.clone());
    let closed = CancellationToken::new();
    let reader = Reader::new(Arc::clone(&events), Arc::clone(&tail), metrics.clone());
    let writer = Writer {
        events: Arc::clone(&events),
        bucket: bucket.clone(),
        clock: clock.clone(),
        dedup_window: config.dedup_window,
        owners: Arc::clone(&owners),
        shown: shows.clone(),
        head: None,
        turns: Arc::clone(&turns),
        writable: writable.clone(),
        metrics: metrics.clone(),
    };
    let follower = Follower {
        events: Arc::clone(&events),
        tail: Arc::clone(&tail),
        checkpoint: Checkpoint::new(bucket, config.retention_age),
        writable: writable.clone(),
        metrics: metrics.clone(),
        shown,
    };
    Ok(JetStream {
        events,
        tail,
        shown: shows,
        queue,
        room: Arc::new(Semaphore::new(QUEUED_KIB as usize)),
        writable,
        reader,
        tasks: Mutex::new(Some(Tasks {
            writer: tokio::spawn(writer.run(waiting, closed.clone())),
            follower: tokio::spawn(follower.run()),
            owners: tokio::spawn(Arc::clone(&owners).run(clock.clone(), metrics)),
            lease: tokio::spawn(Arc::clone(&lease).run()),
            space: tokio::spawn(Arc::clone(&space).run()),
            polls: tokio::spawn(polls.run()),
            turns: tokio::spawn(turns.run()),
            closed,
        })),
        records: Arc::new(Records {
            bucket: requests,
            owners,
            space,
            clock,
            beginning: Mutex::default(),
            unsure: Mutex::default(),
        }),
        waits,
    })
}

/// Opens the bucket of what is kept for ever, and creates it where there is none.
pub(super) async fn open_records(
    connection: &Connection,
    config: &Config,
    names: &Names,
) -> Result<Bucket, OpenError> {
    let stream = create_or_verify(connection, settings::records(config, names)).await?;
    let name = names.records.clone();
    Ok(Bucket::new(connection.clone(), stream, name))
}

/// The same of the bucket of requests, which are kept for a while.
pub(super) async fn open_requests(
    connection: &Connection,
    config: &Config,
    names: &Names,
) -> Result<Bucket, OpenError> {
    let stream = create_or_verify(connection, settings::requests(config, names)).await?;
    let name = names.requests.clone();
    Ok(Bucket::new(connection.clone(), stream, name))
}

/// The stream with this name. One that is there stays as it is, and is refused if that would break a promise.
pub(super) async fn create_or_verify(
    connection: &Connection,
    wanted: stream::Config,
) -> Result<Stream, OpenError> {
    let name = wanted.name.clone();
    let found = match connection.jetstream.get_stream(&name).await {
        Err(error) if is_missing(&error.kind()) => {
            let created = connection.jetstream.create_stream(wanted.clone()).await;
            match created {
                Err(error) if is_there_already(&error.kind()) => {
                    let found = connection.jetstream.get_stream(&name).await;
                    found.map_err(|error| not_found(&name, &error))?
                }
                Err(error) => return Err(not_created(&name, &error)),
                Ok(created) => created,
            }
        }
        Err(error) => return Err(not_found(&name, &error)),
        Ok(found) => found,
    };
    let info = found.cached_info();
    match settings::harm(&info.config, &wanted) {
        Some(setting) => Err(OpenError::Refused(format!(
            "the stream {name} is set so that a promise of the gateway would break: {setting}"
        ))),
        None => Ok(found),
    }
}

/// The stream with this name, which must be there.
pub(super) async fn existing(connection: &Connection, name: &str) -> Result<Stream, OpenError> {
    match connection.jetstream.get_stream(name).await {
        Err(error) if is_missing(&error.kind()) => Err(OpenError::Refused(format!(
            "there is no stream {name} on NATS"
        ))),
        Err(error) => Err(not_found(name, &error)),
        Ok(found) => Ok(found),
    }
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn is_there_already(kind: &CreateStreamErrorKind) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error)
        if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

fn not_found(name: &str, error: &GetStreamError) -> OpenError {
    match error.kind() {
        GetStreamErrorKind::JetStream(error) => refusal::of_stream(name, &error),
        _ => OpenError::Unreachable(error.to_string()),
    }
}

fn not_created(name: &str, error: &CreateStreamError) -> OpenError {
    match error.kind() {
        CreateStreamErrorKind::JetStream(error) => refusal::of_stream(name, &error),
        _ => OpenError::Unreachable(error.to_string()),
    }
}

pub(super) fn unreachable(error: ReadError) -> OpenError {
    match error {
        // Waiting does not help.
        ReadError::Newer { .. } => OpenError::Refused(format!("{error}: upgrade this gateway")),
        ReadError::Trimmed(_) | ReadError::Corrupt { .. } | ReadError::Unavailable(_) => {
            OpenError::Unreachable(error.to_string())
        }
    }
}
