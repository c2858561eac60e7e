//! What happens in a run, at random.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    lives::Going,
    operation::{
        Case, KINDS, MINUTE, News, Operation, Settling, Step, TOO_LONG, Wish, WishedStart,
    },
    place::Place,
};

const PATTERNS: [&str; 5] = [
    "screening.*",
    "case.*",
    "screening.completed",
    "screenings",
    "nothing.like.it",
];

/// The runs at a place.
pub fn cases(place: Place) -> impl Strategy<Value = Case> {
    let size = prop_oneof![2 => Just(1 << 20), 2 => Just(64_u64), 1 => Just(90)];
    let step = (operations(place), landings(place)).prop_map(|(operation, landings)| Step {
        landings,
        operation,
    });
    let probes = vec(wishes(place), 6..12);
    (size, vec(step, 8..45), probes, landings(place)).prop_map(
        move |(retention_kib, steps, probes, landings)| Case {
            place,
            retention_kib,
            steps,
            landings,
            probes,
        },
    )
}

fn landings(place: Place) -> BoxedStrategy<u64> {
    match place {
        Place::Embedded | Place::Nats => Just(0).boxed(),
        Place::Replicas => any::<u64>().boxed(),
    }
}

fn operations(place: Place) -> BoxedStrategy<Operation> {
    let of_the_place = match place {
        Place::Embedded => on_a_directory().boxed(),
        Place::Nats => on_nats().boxed(),
        Place::Replicas => prop_oneof![3 => on_nats(), 2 => of_replicas()].boxed(),
    };
    prop_oneof![84 => of_subscribers(place), 17 => of_the_place].boxed()
}

/// What can happen everywhere.
fn of_subscribers(place: Place) -> impl Strategy<Value = Operation> {
    prop_oneof![
        24 => news().prop_map(Operation::Deliver),
        8 => any::<Index>().prop_map(Operation::DeliverAgain),
        3 => (3..20_usize, news()).prop_map(|(count, news)| Operation::Burst(count, news)),
        1 => (100..135_usize, news()).prop_map(|(count, news)| Operation::Burst(count, News {
            padding: 0,
            ..news
        })),
        // More than the gateway sends to one who does not read.
        3 => (8..14_usize, news(), 5000..9000_usize).prop_map(|(count, news, padding)| {
            Operation::Burst(count, News { padding, ..news })
        }),
        16 => wishes(place).prop_map(Operation::Open),
        3 => (wishes(place), 2..8_usize).prop_map(|(wish, count)| Operation::OpenAmid(wish, count)),
        20 => (any::<Index>(), 1..6_usize).prop_map(|(who, count)| Operation::Read(who, count)),
        5 => any::<Index>().prop_map(Operation::Close),
        1 => (1..MINUTE).prop_map(Operation::SetBack),
    ]
}

fn on_a_directory() -> impl Strategy<Value = Operation> {
    let settling = prop_oneof![
        4 => Just(Settling::Deliver),
        4 => Just(Settling::DeliverAgain),
        1 => Just(Settling::Nothing),
    ];
    prop_oneof![
        7 => (times(), settling).prop_map(|(time, settling)| Operation::Pass(time, settling)),
        2 => any::<bool>().prop_map(|restarts| Operation::Empty { restarts }),
        2 => Just(Operation::Restart(0)),
        1 => Just(Operation::Crash),
        3 => Just(Operation::Backup),
        2 => Just(Operation::Restore),
    ]
}

/// No backup is put back: a token of a log that went another way is forged.
fn on_nats() -> impl Strategy<Value = Operation> {
    prop_oneof![
        5 => times().prop_map(|time| Operation::Pass(time, Settling::Nothing)),
        3 => any::<Index>().prop_map(Operation::Outdate),
        2 => any::<bool>().prop_map(|restarts| Operation::Empty { restarts }),
        2 => (0..4_usize).prop_map(Operation::Restart),
        2 => Just(Operation::Kill),
        1 => Just(Operation::Restore),
        1 => news().prop_map(Operation::LoseNats),
    ]
}

/// One is away for a while.
fn of_replicas() -> impl Strategy<Value = Operation> {
    prop_oneof![
        1 => (0..4_usize).prop_map(|count| Operation::Leave(Going::InOrder(count))),
        1 => Just(Operation::Leave(Going::Killed)),
        1 => Just(Operation::ComeBack),
        3 => (wishes(Place::Replicas), 1..4_usize)
            .prop_map(|(wish, count)| Operation::OpenBehind(wish, count)),
    ]
}

/// How much time passes.
fn times() -> impl Strategy<Value = i64> {
    prop_oneof![
        1 => 1..10_i64,
        2 => MINUTE - 2..MINUTE + 2,
        3 => 10 * MINUTE..50 * MINUTE,
        1 => 60 * MINUTE - 2..60 * MINUTE + 2,
        1 => Just(TOO_LONG),
    ]
}

fn news() -> impl Strategy<Value = News> {
    let padding = prop_oneof![3 => Just(0_usize), 1 => 500..9000_usize];
    (
        0..KINDS.len(),
        0..4_usize,
        0..4_usize,
        any::<bool>(),
        padding,
    )
        .prop_map(|(kind, subject, screening, has_id, padding)| News {
            kind,
            subject,
            screening,
            has_id,
            padding,
        })
}

fn wishes(place: Place) -> impl Strategy<Value = Wish> {
    let types = prop_oneof![
        3 => Just(Vec::new()),
        2 => vec(prop::sample::select(&PATTERNS[..]), 1..3),
    ];
    let some = || prop_oneof![3 => Just(Vec::new()), 1 => vec(1..4_usize, 1..3)];
    let heartbeat = prop::option::of(prop_oneof![Just(1_i64), Just(20), Just(600)]);
    (
        starts(place),
        (types, some(), some()),
        (any::<bool>(), any::<bool>(), any::<bool>()),
        heartbeat,
    )
        .prop_map(
            |(start, (types, subjects, screenings), (until, skips, is_raw), heartbeat)| Wish {
                start,
                types,
                subjects,
                screenings,
                until_caught_up: until,
                skips_gaps: skips,
                is_raw,
                heartbeat,
            },
        )
}

fn starts(place: Place) -> impl Strategy<Value = WishedStart> {
    let elsewhere = match place {
        Place::Embedded => any::<Index>().prop_map(WishedStart::LostToken).boxed(),
        Place::Nats | Place::Replicas => (any::<Index>(), 0..4_usize)
            .prop_map(|(of, by)| WishedStart::Forged(of, by))
            .boxed(),
    };
    prop_oneof![
        1 => Just(WishedStart::Unset),
        2 => Just(WishedStart::Latest),
        3 => Just(WishedStart::Earliest),
        3 => (any::<Index>(), -1..2_i64).prop_map(|(of, by)| WishedStart::NearTimeOf(of, by)),
        1 => prop_oneof![Just(0), Just(1), Just(5 * MINUTE)].prop_map(WishedStart::NearNow),
        8 => any::<Index>().prop_map(WishedStart::Token),
        3 => elsewhere,
        3 => (-1..2_i64).prop_map(WishedStart::NearOldest),
    ]
}
