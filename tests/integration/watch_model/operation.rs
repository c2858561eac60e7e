//! What can happen to a gateway, at random.

use std::fmt;

use proptest::{collection::vec, prelude::*, sample::Index};

/// One run: how the gateway is set up, what happens, and what is asked of it at the end.
#[derive(Clone, Debug)]
pub struct Case {
    /// `--retention-size`.
    pub retention_kib: u64,
    pub operations: Vec<Operation>,
    pub probes: Vec<Wish>,
}

#[derive(Clone, Debug)]
pub enum Operation {
    /// Kora sends something new.
    Deliver(News),
    /// Kora sends something again, of whenever.
    DeliverAgain(Index),
    /// Kora sends this much.
    Burst(usize, News),
    /// A subscriber comes.
    Open(Wish),
    /// A subscriber comes while this much is delivered.
    OpenAmid(Wish, usize),
    /// A subscriber reads some messages.
    Read(Index, usize),
    /// A subscriber goes.
    Close(Index),
    /// Time passes, and then something is done about what got too old.
    Pass(i64, Settling),
    /// So much time passes that nothing is kept; the gateway may come back after that.
    Empty { restarts: bool },
    /// The clock is set back.
    SetBack(i64),
    /// The gateway stops in order and comes back.
    Restart,
    /// The gateway is gone at once and comes back with what was on the disk.
    Crash,
    /// The directory is copied.
    Backup,
    /// The copy is put back; an empty directory, where there is none.
    Restore,
}

/// After time has passed: what makes the log drop what is too old.
#[derive(Clone, Copy, Debug)]
pub enum Settling {
    Deliver,
    DeliverAgain,
    Nothing,
}

#[derive(Clone, Debug)]
pub struct News {
    pub kind: usize,
    /// 0: none.
    pub subject: usize,
    pub screening: usize,
    /// Or known by its body.
    pub has_id: bool,
    pub padding: usize,
}

/// What a subscriber asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub start: WishedStart,
    pub types: Vec<&'static str>,
    pub subjects: Vec<usize>,
    pub screenings: Vec<usize>,
    pub until_caught_up: bool,
    pub skips_gaps: bool,
    pub is_raw: bool,
    pub heartbeat: Option<i64>,
}

#[derive(Clone, Debug)]
pub enum WishedStart {
    Unset,
    Latest,
    Earliest,
    /// A time near that of an event, by so many milliseconds.
    NearTimeOf(Index, i64),
    /// From now on, by so many milliseconds.
    NearNow(i64),
    /// Any token that was ever handed out.
    Token(Index),
    /// The token of a place that the log has, from before a copy was put back.
    LostToken(Index),
    /// The token of a place near the oldest one.
    NearOldest(i64),
}

/// The types that Kora sends here, one of them unheard of.
pub const KINDS: [&str; 5] = [
    "screening.completed",
    "screening.match_found",
    "screenings",
    "case.closed",
    "risk.threshold_breached",
];

const PATTERNS: [&str; 5] = [
    "screening.*",
    "case.*",
    "screening.completed",
    "screenings",
    "nothing.like.it",
];

/// An hour is how long events are kept, a minute how long a body is known.
const MINUTE: i64 = 60_000;

/// Longer than anything is kept.
pub const TOO_LONG: i64 = 61 * MINUTE;

/// One line for each thing that happens.
impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "retention-size {} KiB", self.retention_kib)?;
        for operation in &self.operations {
            writeln!(out, "{operation:?}")?;
        }
        for probe in &self.probes {
            writeln!(out, "probe {probe:?}")?;
        }
        Ok(())
    }
}

pub fn cases() -> impl Strategy<Value = Case> {
    let size = prop_oneof![2 => Just(1 << 20), 2 => Just(64_u64), 1 => Just(90)];
    let probes = vec(wishes(), 6..12);
    (size, vec(operations(), 8..45), probes).prop_map(|(retention_kib, operations, probes)| Case {
        retention_kib,
        operations,
        probes,
    })
}

fn operations() -> impl Strategy<Value = Operation> {
    let settling = prop_oneof![
        4 => Just(Settling::Deliver),
        4 => Just(Settling::DeliverAgain),
        1 => Just(Settling::Nothing),
    ];
    let pass = prop_oneof![
        1 => 1..10_i64,
        2 => MINUTE - 2..MINUTE + 2,
        3 => 10 * MINUTE..50 * MINUTE,
        1 => 60 * MINUTE - 2..60 * MINUTE + 2,
        1 => Just(TOO_LONG),
    ];
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
        16 => wishes().prop_map(Operation::Open),
        3 => (wishes(), 2..8_usize).prop_map(|(wish, count)| Operation::OpenAmid(wish, count)),
        20 => (any::<Index>(), 1..6_usize).prop_map(|(who, count)| Operation::Read(who, count)),
        5 => any::<Index>().prop_map(Operation::Close),
        7 => (pass, settling).prop_map(|(time, settling)| Operation::Pass(time, settling)),
        2 => any::<bool>().prop_map(|restarts| Operation::Empty { restarts }),
        1 => (1..MINUTE).prop_map(Operation::SetBack),
        2 => Just(Operation::Restart),
        1 => Just(Operation::Crash),
        3 => Just(Operation::Backup),
        2 => Just(Operation::Restore),
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

fn wishes() -> impl Strategy<Value = Wish> {
    let types = prop_oneof![
        3 => Just(Vec::new()),
        2 => vec(prop::sample::select(&PATTERNS[..]), 1..3),
    ];
    let some = || prop_oneof![3 => Just(Vec::new()), 1 => vec(1..4_usize, 1..3)];
    let heartbeat = prop::option::of(prop_oneof![Just(1_i64), Just(20), Just(600)]);
    (
        starts(),
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

fn starts() -> impl Strategy<Value = WishedStart> {
    prop_oneof![
        1 => Just(WishedStart::Unset),
        2 => Just(WishedStart::Latest),
        3 => Just(WishedStart::Earliest),
        3 => (any::<Index>(), -1..2_i64).prop_map(|(of, by)| WishedStart::NearTimeOf(of, by)),
        1 => prop_oneof![Just(0), Just(1), Just(5 * MINUTE)].prop_map(WishedStart::NearNow),
        8 => any::<Index>().prop_map(WishedStart::Token),
        3 => any::<Index>().prop_map(WishedStart::LostToken),
        3 => (-1..2_i64).prop_map(WishedStart::NearOldest),
    ]
}
