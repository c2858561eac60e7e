//! Streams that are each about one subject, and events that each concern one of them.

use std::{thread, time::Duration};

use kora_gateway::pb::{EventFilter, WatchEventsRequest};
use tokio::{runtime, task::JoinSet, time::timeout};

use crate::{
    gateway::Gateway,
    process::{CpuTime, resident_bytes},
    streams::{self, Received, Stream},
    webhooks::{Webhooks, subject_id},
};

/// How long all deliveries of one measurement may take.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(180);

/// How often a silent stream is to say that it is there: as rarely as can be asked for, since that is not measured.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// What it took.
pub struct Delivered {
    /// Processor time of the gateway for each event, its receipt included.
    pub cpu: Duration,
    /// Memory of the gateway for each open stream, in bytes.
    pub memory: f64,
}

/// Opens a stream for each subject, posts so many events about them in turn, one each `pace`, and waits until each
/// stream has had all of its own, in order, and no other.
pub fn deliver(gateway: &Gateway, subjects: u32, events: u32, pace: Duration) -> Delivered {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let webhooks = Webhooks::about(subjects, 0, events);
    runtime.block_on(async {
        let requests: Vec<_> = (0..subjects).map(request).collect();
        let before = resident_bytes(gateway.pid());
        let streams = streams::open_each(gateway.grpc, &requests).await;
        let memory = (resident_bytes(gateway.pid()) - before) / f64::from(subjects);
        let mut followers = JoinSet::new();
        for (subject, stream) in (0..events).zip(streams) {
            let own = (subject..events).step_by(subjects as usize);
            followers.spawn(follow(stream, webhooks.clone(), own.collect()));
        }
        let to = gateway.webhook;
        let before = CpuTime::of(gateway.pid());
        let sender = thread::spawn(move || webhooks.send(to, 1, Some(pace)));
        let all = timeout(DELIVERY_TIMEOUT, followers.join_all()).await;
        let cpu = CpuTime::of(gateway.pid()).since(&before);
        all.expect("every stream has its events in time");
        sender.join().unwrap();
        Delivered {
            cpu: cpu / events,
            memory,
        }
    })
}

fn request(subject: u32) -> WatchEventsRequest {
    WatchEventsRequest {
        filter: Some(EventFilter {
            subject_ids: vec![subject_id(subject)],
            ..Default::default()
        }),
        heartbeat_interval: prost_types::Duration::try_from(HEARTBEAT).ok(),
        ..Default::default()
    }
}

/// Until the stream has had its own events.
async fn follow(mut stream: Stream, webhooks: Webhooks, own: Vec<u32>) {
    let mut due = own.into_iter();
    while due.len() > 0 {
        let each = |received: Received, _| {
            for event in received.events {
                let index = webhooks.index_of(&event.event_id);
                assert_eq!(index, due.next().map(|number| number as usize));
            }
        };
        stream.receive(each).await.unwrap();
    }
}
