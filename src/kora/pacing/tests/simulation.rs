//! One to eight gateways on one key of 100 requests a minute. `--nocapture` shows the figures.

use std::time::Duration;

use fastrand::Rng;
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    kind, seconds,
    simulated_kora::{SimulatedKora, Tally, Windows},
};
use crate::kora::pacing::{Lane, Pacer};

const LIMIT: u32 = 100;
const WINDOW: Duration = seconds(60);

/// The first window: nothing is held back before the first answer.
const WARM_UP: usize = 1;

/// Calls that each gateway always has to make, at full demand.
const FULL_DEMAND: usize = 50;

async fn call(pacer: &Pacer, kora: &SimulatedKora) {
    let deadline = Instant::now() + seconds(600);
    if let Ok(permit) = pacer
        .turn(kind(Lane::Interactive), "caller", deadline)
        .await
    {
        let (status, headers) = kora.request().await;
        permit.answered(status, &headers);
    }
}

/// The windows of `minutes` after the warm-up, each gateway making calls all the time.
async fn full_demand(kora: &SimulatedKora, gateways: u32, minutes: u32) -> Vec<Tally> {
    let mut demand = JoinSet::new();
    for _ in 0..gateways {
        let pacer = kora.pacer();
        for _ in 0..FULL_DEMAND {
            let (pacer, kora) = (pacer.clone(), kora.clone());
            demand.spawn(async move {
                loop {
                    call(&pacer, &kora).await;
                }
            });
        }
    }
    time::sleep(WINDOW * (minutes + WARM_UP as u32)).await;
    kora.tallies().split_off(WARM_UP)
}

/// The same, each gateway being idle for up to a minute and then having up to 120 calls at once.
async fn bursts(kora: &SimulatedKora, gateways: u32, minutes: u32) -> Vec<Tally> {
    let mut demand = JoinSet::new();
    for gateway in 0..gateways {
        let (pacer, kora) = (kora.pacer(), kora.clone());
        let mut random = Rng::with_seed(gateway.into());
        demand.spawn(async move {
            loop {
                time::sleep(WINDOW.mul_f64(random.f64())).await;
                let mut burst = JoinSet::new();
                for _ in 0..random.u32(1..=120) {
                    let (pacer, kora) = (pacer.clone(), kora.clone());
                    burst.spawn(async move { call(&pacer, &kora).await });
                }
                burst.join_all().await;
            }
        });
    }
    time::sleep(WINDOW * (minutes + WARM_UP as u32)).await;
    kora.tallies().split_off(WARM_UP)
}

fn mean(tallies: &[Tally], of: fn(&Tally) -> u32) -> f64 {
    f64::from(tallies.iter().map(of).sum::<u32>()) / tallies.len() as f64
}

/// Shows the figures, and holds them against what is promised of so many gateways.
#[expect(clippy::print_stdout, reason = "the figures are for people too")]
fn assert_well_spent(what: &str, gateways: u32, tallies: &[Tally], least_used: u32) {
    let used = tallies.iter().map(|tally| tally.used).min().unwrap();
    let refused = tallies.iter().map(|tally| tally.refused).max().unwrap();
    println!(
        "{what}, {gateways} gateways, {} windows: {:.1} used (least {used}), {:.2} refused (most {refused})",
        tallies.len(),
        mean(tallies, |tally| tally.used),
        mean(tallies, |tally| tally.refused),
    );
    assert!(
        used >= least_used,
        "{what}, {gateways} gateways: {used} used"
    );
    assert!(
        refused <= gateways,
        "{what}, {gateways} gateways: {refused} refused"
    );
    if gateways == 1 {
        let all = mean(tallies, |tally| tally.used + tally.refused);
        assert!(mean(tallies, |tally| tally.refused) < 0.01 * all, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn up_to_eight_gateways_use_the_budget_and_are_hardly_refused() {
    for windows in [Windows::Fixed, Windows::FromFirstCall] {
        for gateways in 1..=8 {
            let kora = SimulatedKora::new(LIMIT, WINDOW, windows, gateways.into());
            let tallies = full_demand(&kora, gateways, 20).await;
            assert_well_spent(&format!("{windows:?}"), gateways, &tallies, 96);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_answers_leave_no_budget_unused() {
    for gateways in [1, 2, 4, 8] {
        let mut kora = SimulatedKora::new(LIMIT, WINDOW, Windows::Fixed, gateways.into());
        kora.work = (seconds(2), seconds(20));
        let tallies = full_demand(&kora, gateways, 20).await;
        assert_well_spent("2 to 20 s", gateways, &tallies, 96);
    }
}

#[tokio::test(start_paused = true)]
async fn bursts_after_a_pause_do_not_overrun_what_others_left() {
    for gateways in 1..=8 {
        let kora = SimulatedKora::new(LIMIT, WINDOW, Windows::Fixed, gateways.into());
        let tallies = bursts(&kora, gateways, 60).await;
        // Until they have noticed one another, each comes with a tenth.
        let (first, tallies) = tallies.split_first().unwrap();
        assert!(first.refused <= gateways * LIMIT / 10, "{first:?}");
        assert_well_spent("bursts", gateways, tallies, 0);
    }
}
