//! What waits for the writer.

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::{
    event::NewEvent,
    store::{AppendError, Appended},
};

/// How many appends share one transaction.
const BATCH_APPENDS: usize = 512;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Append(Box<Append>),
    Close,
}

/// An event that waits to be durable.
#[derive(Debug)]
pub(super) struct Append {
    pub(super) event: NewEvent,
    pub(super) answer: oneshot::Sender<Result<Appended, AppendError>>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// All appends that wait, as many as fit, and whether they are the last ones.
pub(super) fn gather(first: Append, commands: &mut mpsc::Receiver<Command>) -> (Vec<Append>, bool) {
    let mut batch = vec![first];
    while batch.len() < BATCH_APPENDS {
        match commands.try_recv() {
            Ok(Command::Append(append)) => batch.push(*append),
            Ok(Command::Close) => return (batch, true),
            Err(_) => break,
        }
    }
    (batch, false)
}

pub(super) fn refuse(
    answers: impl Iterator<Item = oneshot::Sender<Result<Appended, AppendError>>>,
    error: AppendError,
) {
    for answer in answers {
        let _ = answer.send(Err(error));
    }
}
