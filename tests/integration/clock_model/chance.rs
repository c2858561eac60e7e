//! What happens in a schedule, at random.

use std::time::Duration;

use jiff::SignedDuration;
use proptest::{collection::vec, option, prelude::*, sample::Index};

use super::operation::{Operation, Outcome, Restart, Schedule, Settings};

const SECOND: i64 = 1;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Schedules for the embedded log.
pub fn schedules() -> BoxedStrategy<Schedule> {
    let operations = prop_oneof![8 => anywhere(), 1 => restarts().prop_map(Operation::Restart)];
    (settings(), vec(operations, 10..60))
        .prop_map(|(settings, operations)| Schedule {
            settings,
            operations,
        })
        .boxed()
}

/// Schedules for NATS, whose own clock deletes: nothing is set so that it would.
pub fn schedules_on_nats() -> BoxedStrategy<Schedule> {
    let restart = restarts().prop_map(|restart| {
        Operation::Restart(Restart {
            is_crash: false,
            settings: None,
            ..restart
        })
    });
    let operations = prop_oneof![10 => anywhere(), 1 => restart];
    vec(operations, 8..40)
        .prop_map(|operations| Schedule {
            settings: Settings {
                retention_age: Duration::from_secs(3650 * 86_400),
                retention_bytes: 4 << 20,
                dedup_window: Duration::from_secs(86_400),
                request_retention: Duration::from_secs(365 * 86_400),
            },
            operations,
        })
        .boxed()
}

fn anywhere() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => (0..12_u8, sizes()).prop_map(|(id, size)| Operation::AppendId(id, size)),
        8 => (0..3_u8).prop_map(Operation::AppendBody),
        3 => any::<Index>().prop_map(Operation::AppendEnd),
        8 => (0..8_u8).prop_map(Operation::Begin),
        6 => (any::<Index>(), outcomes()).prop_map(|(which, how)| Operation::Finish(which, how)),
        6 => (0..8_u8).prop_map(Operation::AddPoll),
        10 => option::of(any::<Index>()).prop_map(Operation::PollRound),
        14 => elapsed().prop_map(Operation::Elapse),
        3 => (elapsed(), steps()).prop_map(|(time, step)| Operation::Suspend(time, step)),
        8 => steps().prop_map(Operation::Step),
        5 => Just(Operation::Correct),
        4 => Just(Operation::Accept),
        4 => Just(Operation::Maintain),
    ]
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(2_usize), 1 => 100..6000_usize]
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Succeeded),
        2 => Just(Outcome::Failed),
        1 => Just(Outcome::MayBeRepeated),
    ]
}

/// How much time passes at once.
fn elapsed() -> impl Strategy<Value = SignedDuration> {
    let seconds = prop_oneof![
        4 => SECOND..MINUTE,
        4 => MINUTE..HOUR,
        3 => HOUR..2 * HOUR,
        3 => HOUR..DAY,
        2 => DAY..10 * DAY,
        1 => 10 * DAY..60 * DAY,
    ];
    seconds.prop_map(SignedDuration::from_secs)
}

/// What a wall clock steps by.
fn steps() -> impl Strategy<Value = SignedDuration> {
    let size = prop_oneof![
        1 => Just(0_i64),
        1 => SECOND..5 * MINUTE,
        3 => 6 * MINUTE..3 * HOUR,
        3 => 3 * HOUR..3 * DAY,
        3 => 3 * DAY..90 * DAY,
        3 => YEAR..20 * YEAR,
    ];
    (size, any::<bool>()).prop_map(|(size, is_back)| {
        let size = SignedDuration::from_secs(size);
        if is_back { -size } else { size }
    })
}

fn restarts() -> impl Strategy<Value = Restart> {
    let step = prop_oneof![2 => Just(SignedDuration::ZERO), 1 => steps()];
    let down = prop_oneof![1 => Just(SignedDuration::from_secs(1)), 1 => elapsed()];
    let uptime = prop_oneof![2 => MINUTE..HOUR, 1 => DAY..YEAR];
    let other_boot = option::of(uptime.prop_map(SignedDuration::from_secs));
    (
        any::<bool>(),
        down,
        step,
        other_boot,
        option::weighted(0.3, settings()),
    )
        .prop_map(|(is_crash, down, step, other_boot, settings)| Restart {
            is_crash,
            down,
            step,
            other_boot,
            settings,
        })
}

fn settings() -> impl Strategy<Value = Settings> {
    let retention_age = prop::sample::select(&[HOUR, DAY, 7 * DAY, 30 * DAY][..]);
    let retention_bytes = prop_oneof![
        4 => Just(1_u64 << 30),
        1 => Just(20 << 10),
        1 => Just(1),
    ];
    let dedup_window = prop::sample::select(&[5, 10 * MINUTE, HOUR][..]);
    let request_retention = prop::sample::select(&[HOUR, DAY, 7 * DAY][..]);
    let seconds = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
    (
        retention_age,
        retention_bytes,
        dedup_window,
        request_retention,
    )
        .prop_map(
            move |(retention_age, retention_bytes, dedup_window, request_retention)| Settings {
                retention_age: seconds(retention_age),
                retention_bytes,
                dedup_window: seconds(dedup_window),
                request_retention: seconds(request_retention),
            },
        )
}
