//! For how long a body without an id is known. The server's clock counts, which nobody can set.

use std::time::{Duration, Instant};

use kora_gateway::store::{Appended, EventLog};
use tokio::time::{sleep, timeout};

use crate::log_laws::{NatsPlace, Place, all_after, by_body};

/// How long the window may last at the most, for a test that has waited for its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to leave the server alone before the body is delivered again.
const PAUSE: Duration = Duration::from_millis(50);

/// A gateway's clock that is far ahead when the event comes, and right again afterwards, moves no window.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_known_for_the_window_and_then_a_new_event_whatever_the_gateways_clock_says() {
    let window = Duration::from_secs(2);
    let mut place = NatsPlace::new().await;
    place.config.dedup_window = window;
    let log = place.open().await;
    let ahead = Duration::from_secs(7200);
    place.pass(ahead);
    let start = Instant::now();
    assert_eq!(log.append(by_body(1)).await, Ok(Appended::New));
    place.hands.turn(-(ahead.as_millis() as i64));
    assert_eq!(log.append(by_body(1)).await, Ok(Appended::Duplicate));
    let again = async {
        while log.append(by_body(1)).await != Ok(Appended::New) {
            sleep(PAUSE).await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
    assert!(start.elapsed() >= window, "{:?}", start.elapsed());
    let found = all_after(&log, 0).await;
    assert_eq!(found.len(), 2);
    assert_ne!(found[0].1, found[1].1, "each has an id of its own");
}
