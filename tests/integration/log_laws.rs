//! The law of a log, clause by clause. Every backend has to keep it: each clause is a function over a backend, and runs
//! on all of them.

mod appends;
mod embedded;
mod on_nats;
mod polls;
mod request_space;
pub mod requests;
mod times;
mod trims;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kora_gateway::{
    clock::Clock,
    event::{Content, Identity, Keys, NewEvent},
    store::{Appended, EventLog, PollLog, RequestLog},
};

pub use on_nats::NatsPlace;

pub const TENANT: &str = "tenant";

/// For how long the logs of these tests know a body.
pub const DEDUP_WINDOW: Duration = Duration::from_secs(60);

/// How many bytes a small log keeps, roughly.
pub const SMALL: u64 = 64 << 10;

/// How many bytes of request records a tight log keeps.
pub const TIGHT: u64 = 1 << 20;

const NANOSECONDS_MORE: SignedDuration = SignedDuration::from_nanos(123_456);

/// A clock that tests set, in milliseconds; it shows some nanoseconds more.
#[derive(Clone)]
pub struct Hands(Arc<AtomicI64>);

/// Where a log is, which can be closed and opened again.
pub trait Place: Send + Sync + Sized + 'static {
    type Log: EventLog + PollLog + RequestLog;

    /// Whether the newest event stays, however old it is.
    const KEEPS_NEWEST: bool;

    /// A place that keeps events for very long.
    fn new() -> impl Future<Output = Self> + Send;

    /// One that keeps no more than about [`SMALL`] bytes of events.
    fn small() -> impl Future<Output = Self> + Send;

    /// One that keeps events for a short while, which [`Place::outlast`] lets pass.
    fn brief() -> impl Future<Output = Self> + Send;

    /// One that keeps no more than [`TIGHT`] bytes of request records.
    fn tight() -> impl Future<Output = Self> + Send;

    fn open(&self) -> impl Future<Output = Self::Log> + Send;

    /// As many logs of the same events as can be open at the same time; at least one.
    fn open_all(&self) -> impl Future<Output = Vec<Self::Log>> + Send;

    fn close(log: &Self::Log) -> impl Future<Output = ()> + Send;

    fn hands(&self) -> &Hands;

    /// Lets the time pass for which a brief log keeps events.
    fn outlast(&self);

    /// Lets the log's clock go on.
    fn pass(&self, time: Duration) {
        self.hands().turn(time.as_millis() as i64);
    }
}

/// Runs each clause on each backend.
macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $law() {
                super::$law::<crate::event_log::Place>().await;
            })*
        }
        mod on_jetstream {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $law() {
                super::$law::<crate::log_laws::NatsPlace>().await;
            })*
        }
    };
}
use laws;

impl Default for Hands {
    fn default() -> Self {
        Hands(Arc::new(AtomicI64::new(1_700_000_000_000)))
    }
}

impl Hands {
    /// On or back by this many milliseconds.
    pub fn turn(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }

    pub fn set(&self, milliseconds: i64) {
        self.0.store(milliseconds, Ordering::SeqCst);
    }

    pub fn milliseconds(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::from_fn(move || {
            Timestamp::from_millisecond(hands.milliseconds()).unwrap() + NANOSECONDS_MORE
        })
    }
}

pub fn event(identity: Identity, body: &str) -> NewEvent {
    let content = Content {
        keys: Keys {
            kind: "case.closed".to_owned(),
            ..Keys::default()
        },
        ..Content::default()
    };
    NewEvent::from_webhook(identity, content, body.as_bytes())
}

pub fn by_id(id: &str) -> NewEvent {
    event(Identity::Vendor(id.to_owned()), "{}")
}

pub fn by_body(hash: u8) -> NewEvent {
    event(Identity::Body([hash; 32]), "{}")
}

pub async fn append(log: &impl EventLog, id: &str) {
    assert_eq!(log.append(by_id(id)).await, Ok(Appended::New));
}

/// Everything after `sequence`, from memory and disk as it comes.
pub async fn all_after(log: &impl EventLog, mut sequence: u64) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    loop {
        let page = log.read(sequence).await.unwrap();
        let Some(last) = page.last() else {
            return found;
        };
        sequence = last.sequence;
        found.extend(
            page.iter()
                .map(|record| (record.sequence, record.event_id.clone())),
        );
    }
}

pub fn named(ids: &[(u64, &str)]) -> Vec<(u64, String)> {
    ids.iter()
        .map(|(sequence, id)| (*sequence, (*id).to_owned()))
        .collect()
}
