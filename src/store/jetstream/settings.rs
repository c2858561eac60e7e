//! How streams are set, and what of an existing one's settings would break a promise.

use std::time::Duration;

use async_nats::jetstream::stream::{
    self, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};

use super::{Config, names::Names};

/// How long an event's id is known, if the log keeps events for so long.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// How much longer than its retention the server keeps a request record. Each write of a key renews its age, so a
/// finished record counts from its end. One that is open counts from its beginning: a call and its retries last no more
/// than some 10 min, so that with this margin it never goes while its process lives.
const OPEN_REQUEST_MARGIN: Duration = Duration::from_secs(60 * 60);

/// What a bucket's subjects begin with, as NATS tools expect it.
const BUCKET_SUBJECT: &str = "$KV";

/// What a bucket's stream's name begins with, as NATS tools expect it.
const BUCKET_STREAM: &str = "KV_";

/// A setting's name at NATS, and whether a stream has it other than is wanted in a way that breaks a promise.
type Harm = (
    &'static str,
    fn(is: &stream::Config, wanted: &stream::Config) -> bool,
);

/// What loses, hides or rewrites messages of any stream of the gateway's.
const HARM: &[Harm] = &[
    ("retention", |is, _| is.retention != RetentionPolicy::Limits),
    ("storage", |is, _| is.storage != StorageType::File),
    ("num_replicas", |is, wanted| {
        is.num_replicas < wanted.num_replicas
    }),
    ("max_msgs", |is, _| is.max_messages > 0),
    ("max_msg_size", |is, _| is.max_message_size > 0),
    ("max_age", |is, wanted| {
        !is.max_age.is_zero() && (wanted.max_age.is_zero() || is.max_age < wanted.max_age)
    }),
    ("max_bytes", |is, wanted| {
        is.max_bytes > 0 && (wanted.max_bytes <= 0 || is.max_bytes < wanted.max_bytes)
    }),
    ("discard", |is, wanted| is.discard != wanted.discard),
    ("discard_new_per_subject", |is, _| {
        is.discard_new_per_subject
    }),
    ("max_msgs_per_subject", |is, wanted| {
        is.max_messages_per_subject.max(0) != wanted.max_messages_per_subject.max(0)
    }),
    ("subjects", |is, wanted| is.subjects != wanted.subjects),
    ("duplicate_window", |is, wanted| {
        is.duplicate_window < wanted.duplicate_window
    }),
    ("no_ack", |is, _| is.no_ack),
    ("sealed", |is, _| is.sealed),
    ("mirror", |is, _| is.mirror.is_some()),
    ("sources", |is, _| {
        is.sources
            .as_ref()
            .is_some_and(|sources| !sources.is_empty())
    }),
    ("subject_transform", |is, _| is.subject_transform.is_some()),
    // A message that somebody deletes leaves a hole.
    ("deny_delete", |is, _| !is.deny_delete),
    // Answers of others than the leader can be old.
    ("allow_direct", |is, _| is.allow_direct),
    ("persist_mode", |is, _| {
        is.persist_mode == Some(PersistenceMode::Async)
    }),
];

/// The first setting of an existing stream that would break a promise.
pub(super) fn harm(is: &stream::Config, wanted: &stream::Config) -> Option<&'static str> {
    let harmful = HARM.iter().find(|(_, is_harmful)| is_harmful(is, wanted));
    harmful.map(|(name, _)| *name)
}

/// The stream of events.
pub(super) fn events(config: &Config, names: &Names) -> stream::Config {
    stream::Config {
        name: names.events.clone(),
        description: Some("Events of kora-gateway".to_owned()),
        subjects: names.event_subjects(),
        max_age: config.retention_age,
        max_bytes: i64::try_from(config.retention_bytes).unwrap_or(i64::MAX),
        // NATS wants it to be no longer than `max_age`.
        duplicate_window: DUPLICATE_WINDOW
            .min(config.retention_age)
            .max(config.dedup_window),
        discard: DiscardPolicy::Old,
        ..common(config)
    }
}

/// The stream of the bucket of requests.
pub(super) fn requests(config: &Config, names: &Names) -> stream::Config {
    let max_age = config.request_retention + OPEN_REQUEST_MARGIN;
    bucket(config, &names.requests, max_age)
}

/// The stream of the bucket of what is kept for ever.
pub(super) fn records(config: &Config, names: &Names) -> stream::Config {
    bucket(config, &names.records, Duration::ZERO)
}

/// The stream of a bucket that keeps the newest value of each key for so long; zero: for ever.
fn bucket(config: &Config, bucket: &str, max_age: Duration) -> stream::Config {
    stream::Config {
        name: bucket_stream(bucket),
        description: Some("Records of kora-gateway".to_owned()),
        subjects: vec![bucket_subject(bucket, ">")],
        max_messages_per_subject: 1,
        max_age,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        ..common(config)
    }
}

/// The stream of a bucket.
pub(super) fn bucket_stream(bucket: &str) -> String {
    format!("{BUCKET_STREAM}{bucket}")
}

/// The subject of a key.
pub(super) fn bucket_subject(bucket: &str, key: &str) -> String {
    format!("{BUCKET_SUBJECT}.{bucket}.{key}")
}

fn common(config: &Config) -> stream::Config {
    stream::Config {
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: config.replicas,
        deny_delete: true,
        ..stream::Config::default()
    }
}
