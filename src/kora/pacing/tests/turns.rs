//! A turn that is not taken, or not used.

use std::{future::Future, pin::pin, time::Duration};

use futures_util::poll;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use prometheus_client::{encoding::text, registry::Registry};
use tokio::time::{self, Instant};

use super::{START, kind, rate_limit, seconds};
use crate::{
    clock::Clock,
    kora::pacing::{Lane, Metrics, Paced, Pacer, Permit},
};

/// A pacer that was told this at the start of the test.
async fn told(headers: &HeaderMap) -> (Pacer, Registry) {
    let start = Instant::now();
    let clock = Clock::from_fn(move || Timestamp::from_second(START).unwrap() + start.elapsed());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry).of_tenant("acme");
    let pacer = Pacer::new(clock, metrics);
    let permit = turn(&pacer, 1).await.unwrap();
    permit.answered(StatusCode::OK, headers);
    (pacer, registry)
}

fn turn(pacer: &Pacer, time: u64) -> impl Future<Output = Result<Permit, Paced>> + use<> {
    let (pacer, deadline) = (pacer.clone(), Instant::now() + seconds(time));
    async move {
        pacer
            .turn(kind(Lane::Interactive), "caller", deadline)
            .await
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_given_up_is_the_next_ones() {
    let (pacer, _) = told(&rate_limit(100, 1, 20)).await;
    let used = turn(&pacer, 60).await.unwrap();
    // The window opens for one, and the first in the queue has gone away.
    let mut gone = Box::pin(turn(&pacer, 50));
    let mut waiting = pin!(turn(&pacer, 60));
    assert!(poll!(&mut gone).is_pending() && poll!(&mut waiting).is_pending());
    drop(gone);
    let start = Instant::now();
    let permit = waiting.await.expect("it is the next one's");
    assert!(start.elapsed() >= seconds(20));
    drop((used, permit));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_was_given_and_not_taken_is_the_next_ones() {
    let (pacer, _) = told(&rate_limit(100, 1, 20)).await;
    let used = turn(&pacer, 60).await.unwrap();
    let mut first = Box::pin(turn(&pacer, 10));
    let mut second = pin!(turn(&pacer, 15));
    // Neither could wait for the end of the window; the one that was granted comes back in time.
    assert!(poll!(&mut first).is_ready(), "refused at once");
    drop(first);
    assert!(poll!(&mut second).is_ready());

    let mut first = Box::pin(turn(&pacer, 50));
    let mut second = pin!(turn(&pacer, 60));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    used.not_sent();
    // Given to the first, which never looks.
    assert!(poll!(&mut second).is_pending());
    drop(first);
    assert!(poll!(&mut second).is_ready(), "at once");
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_was_dropped_is_spent() {
    let (pacer, _) = told(&rate_limit(100, 1, 20)).await;
    drop(turn(&pacer, 1).await.unwrap());
    assert!(turn(&pacer, 1).await.is_err());
    let start = Instant::now();
    turn(&pacer, 60).await.unwrap().not_sent();
    assert!(start.elapsed() >= seconds(20));
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_refused_as_soon_as_that_is_seen() {
    let (pacer, _) = told(&rate_limit(100, 2, 30)).await;
    let first = turn(&pacer, 60).await.unwrap();
    let mut waiting = pin!(turn(&pacer, 10));
    assert!(
        poll!(&mut waiting).is_pending(),
        "one is left, after an answer"
    );
    let start = Instant::now();
    first.answered(StatusCode::TOO_MANY_REQUESTS, &rate_limit(100, 0, 30));
    let paced = waiting.await.err().expect("others have spent it");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(paced.retry_after >= seconds(30), "{paced:?}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_wait_for_an_answer() {
    let (pacer, _) = told(&rate_limit(100, 1, 30)).await;
    time::sleep(seconds(31)).await;
    let mut asking = Vec::new();
    for _ in 0..10 {
        asking.push(turn(&pacer, 60).await.unwrap());
    }
    let mut waiting = pin!(turn(&pacer, 60));
    // The first ones have no answer; others may ask after a while.
    let start = Instant::now();
    assert!(poll!(&mut waiting).is_pending());
    waiting.await.unwrap().not_sent();
    assert!(start.elapsed() >= seconds(1));
    drop(asking);
    let deadline = Instant::now() + Duration::from_millis(300);
    let paced = pacer
        .turn(kind(Lane::Interactive), "caller", deadline)
        .await;
    assert!(paced.is_ok(), "what was asked long ago has been counted");
}

#[tokio::test(start_paused = true)]
async fn operators_see_what_is_left_and_who_waits() {
    let (pacer, registry) = told(&rate_limit(100, 1, 20)).await;
    let used = turn(&pacer, 1).await.unwrap();
    assert!(turn(&pacer, 1).await.is_err());
    let mut waiting = Box::pin(turn(&pacer, 60));
    assert!(poll!(&mut waiting).is_pending());
    let encoded = || {
        let mut encoded = String::new();
        text::encode(&mut encoded, &registry).unwrap();
        encoded
    };
    for line in [
        r#"kora_rate_limit_left{tenant="acme"} 0"#,
        r#"kora_calls_waiting{lane="interactive",tenant="acme"} 1"#,
        r#"kora_calls_waiting{lane="background",tenant="acme"} 0"#,
        r#"kora_calls_paced_total{lane="interactive"} 1"#,
        r#"kora_turn_wait_seconds_count{lane="interactive"} 2"#,
    ] {
        assert!(encoded().contains(line), "{line} in {}", encoded());
    }
    drop(waiting);
    let line = r#"kora_calls_waiting{lane="interactive",tenant="acme"} 0"#;
    assert!(encoded().contains(line), "{line} in {}", encoded());
    used.not_sent();
    let line = r#"kora_rate_limit_left{tenant="acme"} 1"#;
    assert!(encoded().contains(line), "{line} in {}", encoded());
}
