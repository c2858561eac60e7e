//! One call: what is to be created or read, in as many attempts as it takes and is certain to be harmless.

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    Client, Departure,
    exchange::Answer,
    refusal::{Asked, refusal},
    tries::Tries,
};
use crate::{
    error::{CallError, Reason},
    screening::Unreadable,
};

/// What is created, and for whom.
pub(super) struct Order<'a> {
    pub(super) body: Bytes,
    pub(super) key: Option<Uuid>,
    pub(super) wait_until: Instant,
    pub(super) departure: &'a Departure,
}

impl Client {
    /// Creates something, in as many attempts as it takes and is certain to be harmless.
    pub(super) async fn post<T>(
        &self,
        asked: &Asked<'_>,
        order: &Order<'_>,
        parse: impl Fn(&Answer) -> Result<T, Unreadable>,
    ) -> Result<(T, Answer), CallError> {
        let Order {
            body,
            key,
            wait_until,
            departure,
        } = order;
        let mut tries = Tries::new(&self.retries, asked.endpoint, *wait_until);
        loop {
            let attempt =
                self.attempts
                    .post(asked.endpoint, body.clone(), *key, *wait_until, departure);
            let answered = attempt.await;
            let error = match answered.and_then(|answer| self.read(asked, answer, &parse)) {
                Ok(read) => {
                    tries.succeeded();
                    return Ok(read);
                }
                Err(error) => error,
            };
            let pause = tries.failed(error, departure.is_given_up())?;
            tokio::select! {
                biased;
                error = departure.given_up() => return Err(tries.end(error)),
                () = sleep(pause) => {}
            }
        }
    }

    /// Reads something, in as many attempts as it takes.
    pub(super) async fn get<T>(
        &self,
        asked: &Asked<'_>,
        id: &str,
        wait_until: Instant,
        parse: impl Fn(&Answer) -> Result<T, Unreadable>,
    ) -> Result<(T, Answer), CallError> {
        let mut tries = Tries::new(&self.retries, asked.endpoint, wait_until);
        loop {
            let answered = self.attempts.get(asked.endpoint, id, wait_until).await;
            let error = match answered.and_then(|answer| self.read(asked, answer, &parse)) {
                Ok(read) => {
                    tries.succeeded();
                    return Ok(read);
                }
                Err(error) => error,
            };
            let pause = tries.failed(error, self.attempts.is_given_up())?;
            tokio::select! {
                biased;
                error = self.attempts.given_up(asked.endpoint) => return Err(tries.end(error)),
                () = sleep(pause) => {}
            }
        }
    }

    fn read<T>(
        &self,
        asked: &Asked<'_>,
        answer: Answer,
        parse: impl Fn(&Answer) -> Result<T, Unreadable>,
    ) -> Result<(T, Answer), CallError> {
        if !answer.status.is_success() {
            return Err(refusal(asked, &answer, self.clock.now()));
        }
        match parse(&answer) {
            Ok(read) => Ok((read, answer)),
            Err(unreadable) => Err(CallError {
                kora_request_id: answer.kora_request_id(),
                ..CallError::new(Reason::KoraResponseInvalid).because(unreadable)
            }),
        }
    }
}
