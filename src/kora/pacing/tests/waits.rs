//! Calls against a spent window: who waits, who is refused, and for how long.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    kind, seconds,
    simulated_kora::{SimulatedKora, Windows},
};
use crate::kora::pacing::{Lane, Paced, Pacer};

const SOON: Duration = Duration::from_millis(500);

/// Makes a call that has so much time; whether it was let through, and when.
async fn call(
    pacer: &Pacer,
    kora: &SimulatedKora,
    (lane, caller): (Lane, &str),
    time: Duration,
) -> Result<Instant, Paced> {
    let permit = pacer
        .turn(kind(lane), caller, Instant::now() + time)
        .await?;
    let sent = Instant::now();
    let (status, headers) = kora.request().await;
    assert!(status.is_success());
    permit.answered(status, &headers);
    Ok(sent)
}

/// A Kora whose window of this length has just been spent, and the pacer that knows it.
async fn spent(limit: u32, window: Duration) -> (SimulatedKora, Pacer) {
    let kora = SimulatedKora::new(limit, window, Windows::FromFirstCall, 1);
    let pacer = kora.pacer();
    let mut calls = JoinSet::new();
    for _ in 0..limit {
        let (pacer, kora) = (pacer.clone(), kora.clone());
        calls.spawn(
            async move { call(&pacer, &kora, (Lane::Interactive, "first"), seconds(10)).await },
        );
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    (kora, pacer)
}

fn spawn_calls(
    calls: &mut JoinSet<(&'static str, Result<Instant, Paced>)>,
    (kora, pacer): &(SimulatedKora, Pacer),
    (lane, caller): (Lane, &'static str),
    count: usize,
    time: Duration,
) {
    for _ in 0..count {
        let (kora, pacer) = (kora.clone(), pacer.clone());
        calls.spawn(async move { (caller, call(&pacer, &kora, (lane, caller), time).await) });
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_time_waits_and_who_has_not_is_told_when_to_come_back() {
    for queued in [0, 1, 10, 60] {
        let scene = spent(100, seconds(2)).await;
        let mut waiting = JoinSet::new();
        spawn_calls(
            &mut waiting,
            &scene,
            (Lane::Interactive, "patient"),
            queued,
            seconds(10),
        );
        time::sleep(Duration::from_millis(1)).await;
        let mut hasty = JoinSet::new();
        for caller in ["patient", "other"] {
            let (kora, pacer) = scene.clone();
            hasty.spawn(async move {
                let asked = Instant::now();
                let refused = call(&pacer, &kora, (Lane::Interactive, caller), SOON).await;
                let paced = refused.expect_err("the window is spent");
                assert_eq!(Instant::now(), asked, "refused at once");
                assert!(paced.retry_after > SOON);
                time::sleep(paced.retry_after).await;
                call(&pacer, &kora, (Lane::Interactive, caller), SOON).await
            });
        }
        assert!(
            hasty.join_all().await.iter().all(Result::is_ok),
            "{queued} queued"
        );
        assert!(
            waiting
                .join_all()
                .await
                .iter()
                .all(|(_, result)| result.is_ok())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_a_window_takes_are_told_of_the_one_after() {
    let (kora, pacer) = spent(20, seconds(60)).await;
    let mut calls = JoinSet::new();
    for _ in 0..30 {
        let (kora, pacer) = (kora.clone(), pacer.clone());
        calls.spawn(async move {
            let queue = (Lane::Interactive, "caller");
            let Err(paced) = call(&pacer, &kora, queue, seconds(80)).await else {
                return false;
            };
            assert!(paced.retry_after > seconds(100), "{paced:?}");
            time::sleep(paced.retry_after).await;
            call(&pacer, &kora, queue, seconds(5))
                .await
                .expect("it was told so");
            true
        });
    }
    let late = calls
        .join_all()
        .await
        .into_iter()
        .filter(|late| *late)
        .count();
    assert_eq!(late, 10);
}

#[tokio::test(start_paused = true)]
async fn the_interactive_lane_goes_first_and_the_background_gets_its_tenth() {
    let scene = spent(50, seconds(60)).await;
    let mut calls = JoinSet::new();
    spawn_calls(
        &mut calls,
        &scene,
        (Lane::Background, "background"),
        50,
        seconds(100),
    );
    spawn_calls(
        &mut calls,
        &scene,
        (Lane::Interactive, "interactive"),
        50,
        seconds(100),
    );
    let sent = sent_by_caller(calls).await;
    let (interactive, background) = (&sent["interactive"], &sent["background"]);
    assert_eq!((interactive.len(), background.len()), (45, 5));
    assert!(
        background[0] < interactive[44],
        "not only what is left over"
    );
    assert!(interactive[0] < background[0]);
}

#[tokio::test(start_paused = true)]
async fn two_callers_share_a_window_evenly() {
    let scene = spent(50, seconds(60)).await;
    let mut calls = JoinSet::new();
    spawn_calls(
        &mut calls,
        &scene,
        (Lane::Interactive, "many"),
        200,
        seconds(100),
    );
    time::sleep(Duration::from_millis(1)).await;
    spawn_calls(
        &mut calls,
        &scene,
        (Lane::Interactive, "few"),
        25,
        seconds(110),
    );
    let sent = sent_by_caller(calls).await;
    assert_eq!((sent["many"].len(), sent["few"].len()), (25, 25));
}

/// When each caller's calls were sent, in order.
async fn sent_by_caller(
    calls: JoinSet<(&'static str, Result<Instant, Paced>)>,
) -> BTreeMap<&'static str, Vec<Instant>> {
    let mut sent: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (caller, result) in calls.join_all().await {
        sent.entry(caller).or_default().extend(result);
    }
    sent.values_mut().for_each(|times| times.sort());
    sent
}
