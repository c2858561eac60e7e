//! Model tests: random cases, each made from a seed. A failure names the seed that plays it again, and the simplest case
//! that was found to fail.
//!
//! For a test with the prefix `X`, `X_SEED` plays one case again; `X_SEEDS` says how many are played, or from which to
//! which: `1000..2000`.

use std::{env, fmt::Display, ops::Range, panic};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio::{
    runtime::Handle,
    task::{JoinSet, spawn_blocking},
};

/// How many cases are under way at a time: most of a case is waiting for the disk, or for NATS.
const AT_A_TIME: usize = 8;

/// How many simpler cases are tried when one has failed.
const SIMPLER_CASES: usize = 60;

/// Plays the cases that the environment asks for, or else the first `count` ones. Panics if one fails.
pub async fn check_all<S, P, F>(
    prefix: &'static str,
    count: u64,
    cases: impl Fn() -> S + Clone + Send + 'static,
    play: P,
) where
    S: Strategy<Value: Display + Clone + Send>,
    P: Fn(S::Value) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let check = move |seed| {
        let (cases, play) = (cases.clone(), play.clone());
        move || check(prefix, &cases(), play, seed)
    };
    if let Ok(seed) = env::var(format!("{prefix}_SEED")) {
        return spawn_blocking(check(number(&seed))).await.unwrap();
    }
    let mut seeds = asked_seeds(prefix).unwrap_or(0..count);
    let mut runs = JoinSet::new();
    for seed in seeds.by_ref().take(AT_A_TIME) {
        runs.spawn_blocking(check(seed));
    }
    let mut failure = None;
    while let Some(run) = runs.join_next().await {
        failure = failure.or(run.err());
        // Those that are under way end on their own: cut short, they would fail as well.
        if let (None, Some(seed)) = (&failure, seeds.next()) {
            runs.spawn_blocking(check(seed));
        }
    }
    if let Some(failure) = failure {
        panic::resume_unwind(failure.into_panic());
    }
}

fn asked_seeds(prefix: &str) -> Option<Range<u64>> {
    let asked = env::var(format!("{prefix}_SEEDS")).ok()?;
    Some(match asked.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&asked),
    })
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// Plays the case of a seed. If it fails, so does the caller, with the seed and the simplest case that fails.
fn check<S, F>(prefix: &str, cases: &S, play: impl Fn(S::Value) -> F, seed: u64)
where
    S: Strategy<Value: Display + Clone>,
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = Handle::current();
    let outcome = |case| runtime.block_on(outcome(play(case)));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut tree = cases.new_tree(&mut runner).unwrap();
    let Err(first) = outcome(tree.current()) else {
        return;
    };
    let (mut simplest, mut last) = (tree.current(), first.clone());
    let mut can_change = tree.simplify();
    for _ in 0..SIMPLER_CASES {
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
        "{prefix}_SEED={seed} fails: {first}\nThe simplest case that was found fails: {last}\n{simplest}"
    );
}

/// Why a case fails, if it does.
async fn outcome(case: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    let failed = match tokio::spawn(case).await {
        Ok(()) => return Ok(()),
        Err(failed) => failed.into_panic(),
    };
    let text = failed.downcast_ref::<String>().cloned();
    let text = text.or_else(|| failed.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Err(text.unwrap_or_default())
}
