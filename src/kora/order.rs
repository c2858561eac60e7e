//! One call: what is to be created or read, in as many attempts as it takes and is certain to be harmless.

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{
    Client, Departure, Endpoint,
    admission::Asker,
    exchange::Answer,
    refusal::{Asked, refusal},
    tries::Tries,
};
use crate::{
    error::{CallError, Reason, Resource},
    screening::{KoraObject, Unreadable},
};

/// What is created, and for whom.
pub(super) struct Order<'a> {
    pub(super) body: Bytes,
    pub(super) key: Option<Uuid>,
    pub(super) asker: Asker<'a>,
    pub(super) departure: &'a Departure,
}

/// The key of a call's attempts.
struct KeyInUse {
    version: u64,
    /// It was looked for another one, which happens once.
    is_renewed: bool,
}

impl KeyInUse {
    fn new(version: u64) -> Self {
        KeyInUse {
            version,
            is_renewed: false,
        }
    }
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
            asker,
            departure,
        } = order;
        let mut tries = Tries::new(&self.retries, asked.endpoint, asker.wait_until);
        let mut api_key = KeyInUse::new(self.attempts.key_version());
        loop {
            let attempt = self
                .attempts
                .post(asked.endpoint, body.clone(), *key, *asker, departure);
            let answered = attempt.await;
            let error = match answered.and_then(|answer| self.read(asked, answer, &parse)) {
                Ok(read) => {
                    tries.succeeded();
                    return Ok(read);
                }
                Err(error) => self.with_turn(error, *asker),
            };
            let is_renewed = tokio::select! {
                biased;
                _ = departure.given_up() => false,
                is_renewed = self.is_key_renewed(&mut api_key, &error, asker.wait_until) => is_renewed,
            };
            if is_renewed {
                tries.refused_for_key(error);
                continue;
            }
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
        asker: Asker<'_>,
        parse: impl Fn(&Answer) -> Result<T, Unreadable>,
    ) -> Result<(T, Answer), CallError> {
        let mut tries = Tries::new(&self.retries, asked.endpoint, asker.wait_until);
        let mut key = KeyInUse::new(self.attempts.key_version());
        loop {
            let answered = self.attempts.get(asked.endpoint, id, asker).await;
            let error = match answered.and_then(|answer| self.read(asked, answer, &parse)) {
                Ok(read) => {
                    tries.succeeded();
                    return Ok(read);
                }
                Err(error) => self.with_turn(error, asker),
            };
            let is_renewed = tokio::select! {
                biased;
                _ = self.attempts.given_up(asked.endpoint) => false,
                is_renewed = self.is_key_renewed(&mut key, &error, asker.wait_until) => is_renewed,
            };
            if is_renewed {
                tries.refused_for_key(error);
                continue;
            }
            let pause = tries.failed(error, self.attempts.is_given_up())?;
            tokio::select! {
                biased;
                error = self.attempts.given_up(asked.endpoint) => return Err(tries.end(error)),
                () = sleep(pause) => {}
            }
        }
    }

    /// Whether Kora refused the key, and there is another one by now: then the call is made once more, since what was
    /// refused did not happen.
    async fn is_key_renewed(
        &self,
        key: &mut KeyInUse,
        error: &CallError,
        wait_until: Instant,
    ) -> bool {
        if error.reason != Reason::KoraCredentialRejected || key.is_renewed {
            return false;
        }
        key.is_renewed = true;
        let renewed = timeout_at(wait_until, self.attempts.has_newer_key(key.version));
        renewed.await.unwrap_or(false)
    }

    /// Whoever comes back after Kora's rate limit must not be told of a time at which the limit is still
    /// taken to be spent.
    fn with_turn(&self, error: CallError, asker: Asker<'_>) -> CallError {
        if error.reason != Reason::KoraRateLimited {
            return error;
        }
        CallError {
            retry_after: error.retry_after.max(Some(self.attempts.wait(asker))),
            ..error
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
                resource: resource_of(asked, &answer),
                kora_request_id: answer.kora_request_id(),
                ..CallError::new(Reason::KoraResponseInvalid).because(unreadable)
            }),
        }
    }
}

/// What the answer is about though the rest of it cannot be read: what was created, if its id can be read; what was
/// asked for.
fn resource_of(asked: &Asked<'_>, answer: &Answer) -> Option<Resource> {
    let id = |field| KoraObject::read(&answer.body).ok()?.id(field).ok();
    match asked.endpoint {
        Endpoint::CreateScreening => id("screening_id").map(Resource::Screening),
        Endpoint::CreateSubject => id("subject_id").map(Resource::Subject),
        Endpoint::GetScreening | Endpoint::GetSubject => asked.resource.clone(),
    }
}
