//! The polls as others ask for them.

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{
    Sqlite,
    queue::{Operation, Written},
};
use crate::{
    event::NewEvent,
    store::{AppendError, Appended, Poll, PollLog, Polls, ReadError},
};

impl Sqlite {
    /// Whether it changed something.
    async fn change_polls(&self, operation: Operation) -> Result<bool, AppendError> {
        match self.write(operation).await? {
            Written::PollChanged(is_changed) => Ok(is_changed),
            other => unreachable!("a change of a poll was answered with {other:?}"),
        }
    }
}

impl PollLog for Sqlite {
    fn add_poll(
        &self,
        screening_id: String,
        subject_id: String,
        next_poll: Timestamp,
    ) -> BoxFuture<'_, Result<bool, AppendError>> {
        Box::pin(self.change_polls(Operation::AddPoll {
            screening_id,
            subject_id,
            next_poll,
        }))
    }

    fn polls(&self, limit: usize, latest: Timestamp) -> BoxFuture<'_, Result<Polls, ReadError>> {
        Box::pin(async move {
            if self.waiting.is_none() {
                return Ok(Polls::default());
            }
            self.readers.polls(limit, latest).await
        })
    }

    fn postpone(
        &self,
        poll: Poll,
        next_poll: Timestamp,
    ) -> BoxFuture<'_, Result<bool, AppendError>> {
        Box::pin(self.change_polls(Operation::Postpone(poll, next_poll)))
    }

    fn remove_poll(&self, screening_id: Vec<u8>) -> BoxFuture<'_, Result<bool, AppendError>> {
        Box::pin(self.change_polls(Operation::RemovePoll(screening_id)))
    }

    fn reconcile(&self, event: NewEvent) -> BoxFuture<'_, Result<Appended, AppendError>> {
        Box::pin(async {
            match self.write(Operation::Reconcile(event)).await? {
                Written::Appended(appended) => Ok(appended),
                other => unreachable!("an event was answered with {other:?}"),
            }
        })
    }
}
