//! What waits for the writer.

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::backup::Target;
use crate::{
    event::NewEvent,
    store::{AppendError, Appended, Begun, Ending, Intent, Poll},
};

/// How many writes share one transaction.
const BATCH_WRITES: usize = 512;

/// What a write answers.
pub(super) type Answer = oneshot::Sender<Result<Written, AppendError>>;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Write(Box<Write>),
    /// Nobody has asked for anything for a while.
    LookAfter,
    /// Copy the log.
    BackUp(Box<Target>),
    Close,
}

/// Something that waits to be durable.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) operation: Operation,
    pub(super) answer: Answer,
    pub(super) _room: OwnedSemaphorePermit,
}

/// What is written.
#[derive(Debug)]
pub(super) enum Operation {
    Append(NewEvent),
    Begin(Intent),
    Finish(Ending),
    AddPoll {
        screening_id: String,
        subject_id: String,
        next_poll: Timestamp,
    },
    Postpone(Poll, Timestamp),
    RemovePoll(Vec<u8>),
    Reconcile(NewEvent),
}

/// What became of it.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one exists for a moment for each write, and is never kept"
)]
pub(super) enum Written {
    Appended(Appended),
    Begun(Begun),
    Finished(bool),
    PollChanged(bool),
}

impl Operation {
    /// How much it takes, roughly.
    pub(super) fn size(&self) -> usize {
        match self {
            Operation::Append(event) | Operation::Reconcile(event) => event.size(),
            Operation::Begin(_) => size_of::<Intent>(),
            Operation::Finish(ending) => size_of::<Ending>() + ending.answer.len(),
            Operation::AddPoll { .. } | Operation::Postpone(..) | Operation::RemovePoll(_) => {
                size_of::<Poll>()
            }
        }
    }
}

/// All writes that wait, as many as fit, and what comes after them if it is no write.
pub(super) fn gather(
    first: Write,
    commands: &mut mpsc::Receiver<Command>,
) -> (Vec<Write>, Option<Command>) {
    let mut batch = vec![first];
    while batch.len() < BATCH_WRITES {
        match commands.try_recv() {
            Ok(Command::Write(write)) => batch.push(*write),
            Ok(other) => return (batch, Some(other)),
            Err(_) => break,
        }
    }
    (batch, None)
}

pub(super) fn refuse(answers: impl Iterator<Item = Answer>, error: AppendError) {
    for answer in answers {
        let _ = answer.send(Err(error));
    }
}
