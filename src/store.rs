//! Where events, request records and polls are kept: one log per tenant, durable before anybody hears of it.
//!
//! [`EventLog`], [`RequestLog`] and [`PollLog`] are the laws that every backend keeps. [`Sqlite`] is the embedded
//! backend: one file per tenant in one directory. [`JetStream`] is the backend for several replicas: one stream per
//! tenant on NATS. [`transfer`] moves a log from any of them to any other.

mod backup;
mod directory;
mod dispute;
mod event_log;
mod hot_tail;
mod interest;
pub mod jetstream;
mod logs;
mod metrics;
mod poll_log;
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/properties/store/properties.rs"]
pub(crate) mod properties;
mod record;
mod request_log;
mod request_space;
mod reserve;
mod sqlite;
pub mod transfer;
mod until_written;
mod writable;

use std::{path::PathBuf, time::Duration};

pub use backup::{BackupError, Copied};
pub use directory::{Directory, OpenError};
pub use event_log::{AppendError, Appended, EventLog, Page, ReadError};
pub use hot_tail::{Bounds, HotTail, RecentEvents};
pub use interest::{Interest, Noted};
pub use jetstream::JetStream;
pub use logs::{Logs, Place};
pub use metrics::Metrics;
pub use poll_log::{Poll, PollLog, Polls};
pub use record::Record;
pub use request_log::{
    Begun, Ending, Intent, RequestContent, RequestKey, RequestLog, StoredRequest, StoredState,
    Summary,
};
pub use sqlite::Sqlite;
pub use until_written::until_written;

/// How events are kept in a directory.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory; it is created where it is missing.
    pub directory: PathBuf,
    /// How long a log keeps its events.
    pub retention_age: Duration,
    /// How many bytes of events a log keeps.
    pub retention_bytes: u64,
    /// For how long a body without an id of Kora's is known again.
    pub dedup_window: Duration,
    /// How long request records are kept after the end of their request.
    pub request_retention: Duration,
    /// How many bytes of request records a log keeps.
    pub request_bytes: u64,
}
