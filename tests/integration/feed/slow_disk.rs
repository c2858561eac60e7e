//! A subscription whose log does not answer, or cannot be read.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use kora_gateway::{
    event::{LogId, Position},
    memory::Allowance,
    store::{AppendError, HotTail, Page, ReadError},
};
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use super::*;

/// A log that has events, none of them in memory, and a disk that is not well.
struct Sick {
    kept: Arc<Sqlite>,
    disk: Disk,
}

enum Disk {
    Silent,
    Failing,
    /// Each read waits for its turn for so long. They are counted.
    Busy(Duration, Arc<AtomicUsize>),
}

impl EventLog for Sick {
    fn id(&self) -> LogId {
        self.kept.id()
    }

    fn tail(&self) -> &HotTail {
        self.kept.tail()
    }

    fn append(&self, event: NewEvent) -> BoxFuture<'_, Result<Appended, AppendError>> {
        self.kept.append(event)
    }

    fn read_charged<'a>(
        &'a self,
        sequence: u64,
        memory: Option<&'a Allowance>,
    ) -> BoxFuture<'a, Result<Page, ReadError>> {
        Box::pin(async move {
            match &self.disk {
                Disk::Silent => std::future::pending().await,
                Disk::Failing => Err(ReadError::Unavailable("it is not well".to_owned())),
                Disk::Busy(turn, reads) => {
                    reads.fetch_add(1, Ordering::SeqCst);
                    time::sleep(*turn).await;
                    self.kept.read_charged(sequence, memory).await
                }
            }
        })
    }

    fn position_before(&self, time: Timestamp) -> BoxFuture<'_, Result<Position, ReadError>> {
        self.kept.position_before(time)
    }

    fn writable(&self) -> watch::Receiver<bool> {
        self.kept.writable()
    }
}

/// A stream that has been opened and goes to the disk next.
async fn before_the_disk(directory: &Path, disk: Disk, stop: Shutdown) -> Subscription {
    let log = open(directory, 1 << 30);
    append(&log, &["a"]).await;
    log.close().await;
    drop(log);
    let kept = open(directory, 1 << 30);
    let log = Arc::new(Sick { kept, disk });
    let metrics = feed::Metrics::register(&mut Registry::default());
    let feed = Feed::new(log, metrics);
    let request = pb::WatchEventsRequest {
        start: Some(pb::watch_events_request::Start::Position(
            StartPosition::Earliest.into(),
        )),
        ..Default::default()
    };
    let request = WatchRequest::from_wire(request).unwrap();
    let mut stream = feed.open(request, allowance(), stop).await.unwrap();
    let opened = next(&mut stream).await;
    assert!(matches!(opened.signal, Some(Signal::Opened(_))));
    stream
}

#[tokio::test]
async fn a_disk_that_does_not_answer_does_not_silence_a_stream() {
    let directory = tempfile::tempdir().unwrap();
    let mut stream = before_the_disk(directory.path(), Disk::Silent, Shutdown::default()).await;
    time::pause();
    for _ in 0..3 {
        let quiet_since = Instant::now();
        let beat = time::timeout(Duration::from_secs(60), next(&mut stream)).await;
        let beat = beat.expect("a heartbeat in time");
        assert!(matches!(beat.signal, Some(Signal::Heartbeat(_))));
        assert_eq!(quiet_since.elapsed().as_secs(), 20);
    }
}

#[tokio::test]
async fn a_read_keeps_its_turn_while_heartbeats_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let reads = Arc::new(AtomicUsize::new(0));
    let disk = Disk::Busy(Duration::from_secs(70), Arc::clone(&reads));
    let mut stream = before_the_disk(directory.path(), disk, Shutdown::default()).await;
    time::pause();
    let asked = Instant::now();
    for _ in 0..3 {
        let beat = next(&mut stream).await;
        assert!(matches!(beat.signal, Some(Signal::Heartbeat(_))));
    }
    assert_eq!(ids(&next(&mut stream).await), ["a"]);
    assert_eq!(asked.elapsed().as_secs(), 70);
    assert_eq!(reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_disk_that_does_not_answer_does_not_hold_a_stop_up() {
    let directory = tempfile::tempdir().unwrap();
    let stop = Shutdown::default();
    let mut stream = before_the_disk(directory.path(), Disk::Silent, stop.clone()).await;
    time::pause();
    let ordered = Instant::now();
    let (last, ()) = tokio::join!(next(&mut stream), async { stop.start() });
    assert!(matches!(last.signal, Some(Signal::Draining(_))));
    assert_eq!(ordered.elapsed().as_secs(), 0);
}

#[tokio::test]
async fn a_log_that_cannot_be_read_now_ends_a_stream_that_may_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut stream = before_the_disk(directory.path(), Disk::Failing, Shutdown::default()).await;
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.reason.name(), "STORE_UNAVAILABLE");
    assert!(error.retry_after.is_some_and(|wait| wait > Duration::ZERO));
    assert!(stream.next().await.is_none());
}
