//! Every event to every stream: posted, followed, and checked one by one.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime, task::JoinSet, time::timeout};

use crate::{
    gateway::Gateway,
    process::CpuTime,
    streams::{self, Received, Stream},
    webhooks::Webhooks,
};

/// How long all deliveries of one measurement may take.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);

/// How the events come.
#[derive(Clone, Copy)]
pub enum Load {
    /// As fast as this many senders get their answers.
    Saturated(usize),
    /// One at a time.
    Every(Duration),
}

/// What it took.
pub struct Delivered {
    /// Processor time of the gateway for each delivery, the receipt of the events included.
    pub cpu: Duration,
    /// From the posting of an event to its arrival, each.
    pub delays: Vec<Duration>,
    /// How large a delivered event is on the wire, its share of a message included.
    pub bytes_per_event: usize,
}

/// What has come so far, on all streams.
struct Arrivals {
    webhooks: Webhooks,
    senders: usize,
    /// The numbers in the order of the log: as the stream saw them that was ahead.
    order: Vec<usize>,
    /// How many of each sender's events are in `order`.
    had: Vec<usize>,
    delays: Vec<Duration>,
    bytes: usize,
}

/// Opens as many streams, posts the events, and waits until every stream has had every event.
pub fn deliver(gateway: &Gateway, streams: usize, webhooks: &Webhooks, load: Load) -> Delivered {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (senders, pace) = match load {
            Load::Saturated(senders) => (senders, None),
            Load::Every(pace) => (1, Some(pace)),
        };
        let arrivals = Arrivals {
            webhooks: webhooks.clone(),
            senders,
            order: Vec::with_capacity(webhooks.len()),
            had: vec![0; senders],
            delays: Vec::with_capacity(webhooks.len() * streams),
            bytes: 0,
        };
        let arrivals = Arc::new(Mutex::new(arrivals));
        let mut followers = JoinSet::new();
        for stream in streams::open(gateway.grpc, streams).await {
            followers.spawn(follow(stream, webhooks.len(), Arc::clone(&arrivals)));
        }
        let (posted, to) = (webhooks.clone(), gateway.webhook);
        let before = CpuTime::of(gateway.pid());
        let sender = thread::spawn(move || posted.send(to, senders, pace));
        let all = async {
            while let Some(followed) = followers.join_next().await {
                followed.unwrap();
            }
        };
        let all = timeout(DELIVERY_TIMEOUT, all).await;
        let cpu = CpuTime::of(gateway.pid()).since(&before);
        all.expect("every stream has every event in time");
        sender.join().unwrap();
        let arrivals = Arc::into_inner(arrivals).expect("no follower is left");
        let arrivals = arrivals.into_inner().unwrap();
        let deliveries = webhooks.len() * streams;
        assert_eq!(arrivals.delays.len(), deliveries);
        Delivered {
            cpu: cpu / u32::try_from(deliveries).unwrap(),
            delays: arrivals.delays,
            bytes_per_event: arrivals.bytes / deliveries,
        }
    })
}

/// Until the stream has had all events.
async fn follow(mut stream: Stream, count: usize, arrivals: Arc<Mutex<Arrivals>>) {
    let mut had = 0;
    while had < count {
        let each = |received: Received, size| {
            let now = Instant::now();
            let mut arrivals = arrivals.lock().unwrap();
            arrivals.bytes += size;
            for event in received.events {
                arrivals.check(had, &event.event_id, now);
                had += 1;
            }
        };
        stream.receive(each).await.unwrap();
    }
}

impl Arrivals {
    /// The event after the first `place` ones of a stream has come.
    fn check(&mut self, place: usize, event_id: &[u8], now: Instant) {
        let index = self.webhooks.index_of(event_id);
        let index = index.expect("the event is one of those that were posted");
        match self.order.get(place) {
            Some(expected) => assert_eq!(index, *expected, "streams differ at {place}"),
            None => {
                assert_eq!(place, self.order.len(), "a stream had too much");
                // A sender posts every so many-th event, each after the last one was in the log: whatever is
                // missing, doubled or too early shows here.
                let sender = index % self.senders;
                let next = sender + self.had[sender] * self.senders;
                assert_eq!(index, next, "out of order at {place}");
                self.had[sender] += 1;
                self.order.push(index);
            }
        }
        let sent = self.webhooks.sent_at(index);
        self.delays
            .push(now - sent.expect("no event comes before it was sent"));
    }
}
