//! Schedules that cost something once.

use std::time::Duration;

use jiff::SignedDuration;

use super::{
    operation::{Operation, Restart, Schedule, Settings},
    place::Embedded,
    script::play,
};

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

const SETTINGS: Settings = Settings {
    retention_age: Duration::from_secs(24 * 3600),
    retention_bytes: 1 << 30,
    dedup_window: Duration::from_secs(5),
    request_retention: Duration::from_secs(3600),
};

async fn check(settings: Settings, operations: Vec<Operation>) {
    let schedule = Schedule {
        settings,
        operations,
    };
    play(Embedded::new(), schedule).await;
}

/// On another machine, after a clean end.
fn move_elsewhere(down: SignedDuration, step: SignedDuration) -> Operation {
    Operation::Restart(Restart {
        is_crash: false,
        down,
        step,
        other_boot: Some(HOUR),
        settings: None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_made_of_a_body_is_new_although_receive_time_stands_still_and_the_first_is_trimmed() {
    let settings = Settings {
        retention_age: Duration::from_secs(3600),
        ..SETTINGS
    };
    check(
        settings,
        vec![
            Operation::AppendBody(2),
            Operation::Step(-YEAR),
            Operation::Elapse(6 * HOUR),
            Operation::AppendBody(1),
            Operation::AppendBody(2),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_while_a_gap_before_the_start_is_doubtful_does_not_age_by_it() {
    check(
        SETTINGS,
        vec![
            Operation::AppendBody(0),
            Operation::Begin(0),
            move_elsewhere(80 * HOUR, SignedDuration::ZERO),
            Operation::AppendBody(1),
            Operation::Begin(1),
            Operation::Accept,
            Operation::AppendBody(2),
            Operation::Begin(0),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_goes_on_from_the_end_of_the_last_process_not_from_an_older_event() {
    check(
        SETTINGS,
        vec![
            Operation::AppendBody(2),
            Operation::Elapse(6 * SECOND),
            Operation::Step(-72 * HOUR),
            move_elsewhere(SECOND, SignedDuration::ZERO),
            Operation::AppendBody(2),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_from_a_wrong_clock_does_not_vouch_for_that_clock_later() {
    check(
        SETTINGS,
        vec![
            Operation::Step(YEAR),
            Operation::Accept,
            Operation::AppendId(0, 2),
            Operation::Correct,
            Operation::Accept,
            Operation::AppendId(1, 2),
            move_elsewhere(SECOND, YEAR),
            Operation::AppendId(2, 2),
        ],
    )
    .await;
}
