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

use chance::cases;
use place::Place;

use crate::seeds;

/// How many runs are played where nobody says.
const SEEDS: u64 = 100;

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
    seeds::check_all("WATCH_MODEL", SEEDS, move || cases(place), script::play).await;
}
