//! Clocks as a property: whatever a wall clock does, and however processes start and end, no acknowledged event is deleted
//! that a right clock would keep, none that it would delete stays for ever, no request that is known is begun anew, no
//! screening is forgotten, and `receive_time` never goes back. On the embedded log and on NATS, whose own clock deletes by
//! age; there it is right, and everything else is checked.
//!
//! The model keeps true time beside the clocks that a schedule sets (see `machine`), and derives what may be deleted (see
//! `trust`).
//!
//! `CLOCK_MODEL_SEED` plays one schedule again; `CLOCK_MODEL_SEEDS` says how many are played, or from which to which:
//! `1000..2000`.

mod chance;
mod events;
mod found;
mod gateway;
mod machine;
mod operation;
mod place;
mod polls;
mod requests;
mod script;
mod trust;

use std::sync::Arc;

use chance::{schedules, schedules_on_nats};
use place::{Embedded, Nats};

use crate::{nats_server::NatsServer, seeds};

/// How many schedules are played where nobody says.
const SEEDS: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_clock_costs_what_a_right_one_keeps() {
    let play = |schedule| script::play(Embedded::new(), schedule);
    seeds::check_all("CLOCK_MODEL", SEEDS, schedules, play).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_clock_costs_what_a_right_one_keeps_on_nats() {
    let server = Arc::new(NatsServer::start());
    let play = move |schedule| script::play(Nats::on(Arc::clone(&server)), schedule);
    seeds::check_all("CLOCK_MODEL", SEEDS, schedules_on_nats, play).await;
}
