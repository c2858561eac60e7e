//! Gateways at different distances from NATS: however busy the nearest one is, the others publish too.

use std::time::{Duration, Instant};

use kora_gateway::store::{Appended, EventLog, JetStream};
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until},
};

use crate::{
    log_laws::{NatsPlace, Place, by_id},
    tcp_link::TcpLink,
};

/// The distances one way.
const DISTANCES: [Duration; 3] = [
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(10),
];

/// How many of the gateways are that far away, beside the near one.
const FAR: [usize; 2] = [1, 3];

/// For how long they publish.
const LOAD: Duration = Duration::from_secs(4);

/// How many appends of the near one are under way all the time, so that it always has something to publish.
const NEAR_APPENDS: usize = 4;

/// How often a far one has something to publish.
const FAR_EVERY: Duration = Duration::from_millis(200);

/// How many appends each of them has to get through: less than its share.
const FEWEST: usize = 4;

/// What became of one gateway's appends.
#[derive(Debug, Default)]
struct Outcome {
    appended: usize,
    slowest: Duration,
}

/// Appends one event after the other until the time is over.
async fn append_until(
    log: &JetStream,
    name: &str,
    end: Instant,
    pause: Duration,
) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    while Instant::now() < end {
        let began = Instant::now();
        let id = format!("{name}-{}", outcome.appended);
        let appended = log.append(by_id(&id)).await;
        // One that was published twice, for want of an answer, is found.
        if !matches!(appended, Ok(Appended::New | Appended::Duplicate)) {
            return Err(format!("{id}: {appended:?}"));
        }
        outcome.appended += 1;
        outcome.slowest = outcome.slowest.max(began.elapsed());
        sleep_until((began + pause).into()).await;
    }
    Ok(outcome)
}

async fn publish_beside_a_near_one(far: usize, distance: Duration) {
    let mut place = NatsPlace::new().await;
    let server = place.server.addr();
    let near = std::sync::Arc::new(place.open().await);
    let (mut links, mut far_logs) = (Vec::new(), Vec::new());
    for _ in 0..far {
        let link = TcpLink::start(server, distance).await;
        place.config.servers = vec![format!("nats://{}", link.addr())];
        far_logs.push(place.open().await);
        links.push(link);
    }
    let end = Instant::now() + LOAD;
    let mut near_appends = JoinSet::new();
    for number in 0..NEAR_APPENDS {
        let near = near.clone();
        near_appends.spawn(async move {
            let name = format!("near-{number}");
            append_until(&near, &name, end, Duration::ZERO).await
        });
    }
    let mut far_appends = JoinSet::new();
    for (number, log) in far_logs.into_iter().enumerate() {
        far_appends.spawn(async move {
            // Not all at once.
            sleep(FAR_EVERY / 4 * number as u32).await;
            append_until(&log, &format!("far-{number}"), end, FAR_EVERY).await
        });
    }
    let far_outcomes = far_appends.join_all().await;
    let near_outcomes = near_appends.join_all().await;
    let outcomes = format!("{far} at {distance:?}: near {near_outcomes:?}, far {far_outcomes:?}");
    for outcome in far_outcomes.into_iter().chain(near_outcomes) {
        let outcome = outcome.expect(&outcomes);
        assert!(outcome.appended >= FEWEST, "{outcomes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_gateway_near_nats_starves_none_that_is_farther_away() {
    for far in FAR {
        for distance in DISTANCES {
            publish_beside_a_near_one(far, distance).await;
        }
    }
}
