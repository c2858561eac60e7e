//! How often the store is asked. The clock that pauses are made by is paused: it moves on only when nobody has
//! anything left to do.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use tokio::time::timeout;

use super::*;
use crate::{
    event::NewEvent,
    lifecycle::Shutdown,
    store::{AppendError, Appended, Poll, Polls, ReadError},
};

/// A log with one poll that is due in half an hour, or that cannot be read.
struct Quiet {
    is_readable: bool,
    reads: AtomicU32,
}

impl PollLog for Quiet {
    fn add_poll(
        &self,
        _: String,
        _: String,
        _: Timestamp,
    ) -> BoxFuture<'_, Result<bool, AppendError>> {
        unreachable!("nothing is added")
    }

    fn polls(&self, _: usize, _: Timestamp) -> BoxFuture<'_, Result<Polls, ReadError>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let poll = Poll {
            screening_id: "scr_1".to_owned(),
            subject_id: String::new(),
            next_poll: after(Timestamp::UNIX_EPOCH, Duration::from_secs(30 * 60)),
            attempts: 0,
            create_time: Timestamp::UNIX_EPOCH,
        };
        let polls = Polls {
            sound: vec![poll],
            damaged: Vec::new(),
        };
        Box::pin(ready(match self.is_readable {
            true => Ok(polls),
            false => Err(ReadError::Unavailable("no disk".to_owned())),
        }))
    }

    fn postpone(&self, _: Poll, _: Timestamp) -> BoxFuture<'_, Result<bool, AppendError>> {
        unreachable!("nothing is due")
    }

    fn remove_poll(&self, _: Vec<u8>) -> BoxFuture<'_, Result<bool, AppendError>> {
        unreachable!("nothing ends")
    }

    fn reconcile(&self, _: NewEvent) -> BoxFuture<'_, Result<Appended, AppendError>> {
        unreachable!("nothing ends")
    }
}

/// How often a log is read in ten minutes.
async fn reads(is_readable: bool) -> u32 {
    let mut registry = Registry::default();
    let account = kora::Account {
        base_url: "http://127.0.0.1:1/api/v1".parse().unwrap(),
        api_key: "key".into(),
        tenant_id: "tenant".to_owned(),
    };
    let config = kora::Config {
        timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        connection_max_age: Duration::from_secs(1),
        proxy: None,
        ca_file: None,
        max_response_bytes: 1,
        trust_503: false,
    };
    let metrics = kora::Metrics::register(&mut registry);
    let (http, orders) = (
        kora::HttpClient::new(&config).unwrap(),
        kora::Orders::default(),
    );
    let kora = kora::Client::new(&http, &account, Clock::system(), metrics, orders);
    let log = Arc::new(Quiet {
        is_readable,
        reads: AtomicU32::new(0),
    });
    let reconciler = Reconciler::new(
        Config::default(),
        kora.unwrap(),
        log.clone(),
        Clock::from_fn(|| Timestamp::UNIX_EPOCH),
        Metrics::register(&mut registry),
    );
    let run = reconciler.run(Shutdown::default());
    assert!(timeout(Duration::from_secs(600), run).await.is_err());
    log.reads.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_is_left_alone_for_a_while() {
    let reads = reads(false).await;
    assert!((2..=600).contains(&reads), "{reads}");
}

#[tokio::test(start_paused = true)]
async fn the_log_is_looked_at_although_nothing_is_due_for_long() {
    let reads = reads(true).await;
    assert!((2..=600).contains(&reads), "{reads}");
}
