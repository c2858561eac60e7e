//! What can happen to gateways and their subscribers.

use std::fmt;

use proptest::sample::Index;

use super::{lives::Going, place::Place};

/// One run: how the gateways are set up, what happens, and what is asked of them at the end.
#[derive(Clone, Debug)]
pub struct Case {
    pub place: Place,
    /// `--retention-size`.
    pub retention_kib: u64,
    pub steps: Vec<Step>,
    /// Where the probes land.
    pub landings: u64,
    pub probes: Vec<Wish>,
}

/// Something happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which gateway each delivery and each stream of it lands at, bit by bit.
    pub landings: u64,
    pub operation: Operation,
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
    /// A subscriber comes to a gateway with the newest token of another one, which has had this much since the first
    /// one saw anything.
    OpenBehind(Wish, usize),
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
    /// A gateway stops in order and comes back; meanwhile another one, where there is one, gets this much.
    Restart(usize),
    /// The gateway is gone at once and comes back with what was on the disk.
    Crash,
    /// The directory is copied.
    Backup,
    /// The copy is put back; another log, where there is none.
    Restore,
    /// On NATS, the server drops a part of the log as too old, but never all of it.
    Outdate(Index),
    /// A gateway is killed and comes back.
    Kill,
    /// A gateway goes.
    Leave(Going),
    /// Whichever is away is there again.
    ComeBack,
    /// The NATS server is killed and comes back; meanwhile Kora offers this.
    LoseNats(News),
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
    /// The token of a place so many after that of a token that was handed out, from a log that went another way.
    Forged(Index, usize),
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

/// An hour is how long events are kept, a minute how long a body is known.
pub const MINUTE: i64 = 60_000;

/// Longer than anything is kept.
pub const TOO_LONG: i64 = 61 * MINUTE;

/// One line for each thing that happens.
impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "retention-size {} KiB", self.retention_kib)?;
        for Step {
            landings,
            operation,
        } in &self.steps
        {
            writeln!(out, "{landings:#x} {operation:?}")?;
        }
        writeln!(out, "{:#x}", self.landings)?;
        for probe in &self.probes {
            writeln!(out, "probe {probe:?}")?;
        }
        Ok(())
    }
}

impl News {
    /// With an id, and nothing special.
    pub fn plain() -> News {
        News {
            kind: 0,
            subject: 1,
            screening: 2,
            has_id: true,
            padding: 0,
        }
    }
}
