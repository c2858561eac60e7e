//! The laws of a stream as a property: whatever happens to gateways and their subscribers, in whatever order,
//! every stream tells what a plain list of the events tells. On the embedded log, on NATS, and at two gateways on one
//! NATS server.
//!
//! `WATCH_MODEL_SEED` plays one run again; `WATCH_MODEL_SEEDS` says how many are played, or from which to which:
//! `1000..2000`.

mod asking;
mod chance;
mod ending;
mod follower;
mod hands;
mod lives;
mod log;
mod opening;
mod operation;
mod place;
mod process;
mod reference;
mod running;
mod script;
mod setting;
mod storage;
mod world;

use std::{env, panic};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio::{
    runtime::Handle,
    task::{JoinSet, spawn_blocking},
};

use chance::cases;
use operation::Case;
use place::Place;

/// How many runs are played where nobody says.
const SEEDS: u64 = 100;

/// How many are under way at a time: most of a run is waiting for the disk, or for NATS.
const AT_A_TIME: usize = 8;

/// How many simpler runs are tried when one has failed.
const SIMPLER_RUNS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_keeps_the_laws_whatever_happens() {
    check_all(Place::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_keeps_the_laws_on_nats() {
    check_all(Place::Nats).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_keeps_the_laws_at_two_gateways() {
    check_all(Place::Replicas).await;
}

/// Plays many runs.
async fn check_all(place: Place) {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    if let Ok(seed) = env::var("WATCH_MODEL_SEED") {
        let seed = number(&seed);
        return spawn_blocking(move || check(place, seed)).await.unwrap();
    }
    let mut seeds = match env::var("WATCH_MODEL_SEEDS") {
        Err(_) => 0..SEEDS,
        Ok(asked) => match asked.split_once("..") {
            Some((from, to)) => number(from)..number(to),
            None => 0..number(&asked),
        },
    };
    let mut runs = JoinSet::new();
    for seed in seeds.by_ref().take(AT_A_TIME) {
        runs.spawn_blocking(move || check(place, seed));
    }
    let mut failure = None;
    while let Some(run) = runs.join_next().await {
        failure = failure.or(run.err());
        // Those that are under way end on their own: cut short, they would fail as well.
        if let (None, Some(seed)) = (&failure, seeds.next()) {
            runs.spawn_blocking(move || check(place, seed));
        }
    }
    if let Some(failure) = failure {
        panic::resume_unwind(failure.into_panic());
    }
}

/// Plays the run of a seed. If it fails, so does the caller, with the seed and the simplest run that fails.
fn check(place: Place, seed: u64) {
    let runtime = Handle::current();
    let outcome = |case| runtime.block_on(outcome(case));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut tree = cases(place).new_tree(&mut runner).unwrap();
    let Err(first) = outcome(tree.current()) else {
        return;
    };
    let (mut simplest, mut last) = (tree.current(), first.clone());
    let mut can_change = tree.simplify();
    for _ in 0..SIMPLER_RUNS {
        if !can_change {
            break;
        }
        can_change = match outcome(tree.current()) {
            Err(failure) => {
                (simplest, last) = (tree.current(), failure);
                tree.simplify()
            }
            Ok(()) => tree.complicate(),
        };
    }
    panic!(
        "WATCH_MODEL_SEED={seed} fails: {first}\nThe simplest run that was found fails: {last}\n{simplest}"
    );
}

/// Why a run fails, if it does.
async fn outcome(case: Case) -> Result<(), String> {
    let failed = match tokio::spawn(script::play(case)).await {
        Ok(()) => return Ok(()),
        Err(failed) => failed.into_panic(),
    };
    let text = failed.downcast_ref::<String>().cloned();
    let text = text.or_else(|| failed.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Err(text.unwrap_or_default())
}
