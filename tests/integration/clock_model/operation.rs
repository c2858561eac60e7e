//! What happens in a schedule.

use std::{fmt, time::Duration};

use jiff::SignedDuration;
use proptest::sample::Index;

/// A whole schedule: how the first process is set, and what happens after its start.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub settings: Settings,
    pub operations: Vec<Operation>,
}

/// How a log is set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub retention_age: Duration,
    pub retention_bytes: u64,
    pub dedup_window: Duration,
    pub request_retention: Duration,
}

#[derive(Clone, Debug)]
pub enum Operation {
    /// An event with an id of Kora's, one of a few, and a body of this size.
    AppendId(u8, usize),
    /// An event that is known by its body alone, one of a few.
    AppendBody(u8),
    /// The end of a screening by webhook: of one that is known, if there is one.
    AppendEnd(Index),
    /// A request, one of a few.
    Begin(u8),
    /// The end of an open request, if there is one.
    Finish(Index, Outcome),
    /// A screening, one of a few, waits for its end.
    AddPoll(u8),
    /// The polls that are due are made. The screening of one of them may have ended.
    PollRound(Option<Index>),
    /// Time passes.
    Elapse(SignedDuration),
    /// The same while the machine is suspended, which may wake with another wall clock.
    Suspend(SignedDuration, SignedDuration),
    /// Somebody sets the wall clock.
    Step(SignedDuration),
    /// Somebody sets it right.
    Correct,
    /// An operator accepts the pending step, if there is one.
    Accept,
    /// The log commits something, and looks for what is too old.
    Maintain,
    Restart(Restart),
}

/// How a request ends.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Succeeded,
    Failed,
    MayBeRepeated,
}

#[derive(Clone, Debug)]
pub struct Restart {
    /// Whether the process ends with nothing but what is on the disk.
    pub is_crash: bool,
    /// How long no process runs.
    pub down: SignedDuration,
    /// What the wall clock steps by meanwhile.
    pub step: SignedDuration,
    /// How long the machine has been up then, if it is another one, or was booted.
    pub other_boot: Option<SignedDuration>,
    pub settings: Option<Settings>,
}

/// One line for each thing that happens.
impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:?}", self.settings)?;
        for operation in &self.operations {
            writeln!(out, "{operation:?}")?;
        }
        Ok(())
    }
}
