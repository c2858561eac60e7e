//! A replica that NATS cannot be reached from while another one goes on.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use kora_gateway::{
    event::{Content, Identity, Keys, NewEvent, WatchRequest},
    feed::{self, Feed, Subscription},
    lifecycle::Shutdown,
    pb::{self, watch_events_response::Signal},
    store::{Appended, EventLog},
};
use prometheus_client::registry::Registry;
use prost::Message as _;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use super::outages::{PATIENCE, until_writable};
use crate::log_laws::{NatsPlace, Place, SMALL};

/// A way to a server that can be cut.
struct Way {
    addr: SocketAddr,
    is_open: watch::Sender<bool>,
}

impl Way {
    async fn to(server: SocketAddr) -> Way {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (is_open, mut changes) = watch::channel(true);
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (mut client, _) = accepted.unwrap();
                        if *changes.borrow() {
                            connections.spawn(async move {
                                let mut server = TcpStream::connect(server).await?;
                                copy_bidirectional(&mut client, &mut server).await
                            });
                        }
                    }
                    changed = changes.changed() => match changed {
                        Ok(()) => connections.abort_all(),
                        Err(_) => return,
                    },
                }
            }
        });
        Way { addr, is_open }
    }
}

async fn append(log: &impl EventLog, id: &str, subject: &str, padding: usize) {
    let content = Content {
        keys: Keys {
            kind: "case.closed".to_owned(),
            subject_id: subject.to_owned(),
            ..Keys::default()
        },
        ..Content::default()
    };
    let body = "x".repeat(padding);
    let identity = Identity::Vendor(id.to_owned());
    let event = NewEvent::from_webhook(identity, content, body.as_bytes());
    assert_eq!(log.append(event).await, Ok(Appended::New));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_what_was_trimmed_before_its_replica_saw_it() {
    let mut place = NatsPlace::small().await;
    let other = place.open().await;
    let direct = place.config.servers.clone();
    let way = Way::to(direct[0].strip_prefix("nats://").unwrap().parse().unwrap()).await;
    place.config.servers = vec![format!("nats://{}", way.addr)];
    let log = Arc::new(place.open().await);

    let metrics = feed::Metrics::register(&mut Registry::default());
    let feed = Feed::new(log.clone(), metrics);
    let mut streams = Vec::new();
    for subject_ids in [vec!["mine".to_owned()], vec!["quiet".to_owned()], vec![]] {
        let request = WatchRequest::from_wire(pb::WatchEventsRequest {
            filter: Some(pb::EventFilter {
                subject_ids,
                ..Default::default()
            }),
            on_gap: pb::GapPolicy::Skip.into(),
            ..Default::default()
        });
        let mut stream = feed
            .open(
                request.unwrap(),
                crate::feed::allowance(),
                Shutdown::default(),
            )
            .await
            .unwrap();
        for _ in ["Opened", "CaughtUp"] {
            stream.next().await.unwrap().unwrap();
        }
        streams.push(stream);
    }

    way.is_open.send_replace(false);
    until_writable(&log, false).await;
    append(&other, "gone", "mine", 0).await;
    for number in 0..2 * SMALL / 1024 {
        append(&other, &format!("e{number}"), "other", 1024).await;
    }
    way.is_open.send_replace(true);
    append(&other, "last", "mine", 0).await;

    for (stream, last) in streams.iter_mut().zip([Some("last"), None, Some("last")]) {
        let told = timeout(PATIENCE, until_told(stream, last)).await;
        let (gaps, events) = told.expect("it says that it missed something");
        assert_eq!(gaps, 1);
        assert!(!events.contains(&"gone".to_owned()));
    }
}

/// Reads until a gap was told of, and this event, if there is one. Returns the number of gaps, and the events.
async fn until_told(stream: &mut Subscription, last: Option<&str>) -> (usize, Vec<String>) {
    let (mut gaps, mut events) = (0, Vec::new());
    while gaps == 0 || (last.is_some() && events.last().map(String::as_str) != last) {
        let message = stream.next().await.unwrap().unwrap();
        let bytes = message.into_chunks(&[]).make_contiguous().concat();
        let message = pb::WatchEventsResponse::decode(&bytes[..]).unwrap();
        gaps += usize::from(matches!(message.signal, Some(Signal::Gap(_))));
        events.extend(message.events.into_iter().map(|event| event.event_id));
    }
    (gaps, events)
}
