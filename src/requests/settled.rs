//! How a request ended, as it is told to those who did not make the call: who joined it, and who asks again.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Answered,
    answer::{Answer, Failure, stored_error},
};
use crate::{
    error::{CallError, Reason},
    store::{StoredRequest, StoredState},
};

/// How a request ended.
#[derive(Clone)]
pub(super) struct Settled {
    /// The encoded message.
    result: Result<Bytes, Failure>,
    /// When to come back after a failure; it is true now, and so it is never stored.
    retry_after: Option<Duration>,
    /// Whether it was stored before.
    is_replay: bool,
    /// Whether it was given up before it was sent, for a deadline that was its own caller's.
    was_given_up: bool,
}

impl Settled {
    /// What those who joined are told.
    pub(super) fn now<M: Answer>(result: &Result<Answered<M>, CallError>) -> Self {
        match result {
            Ok(answered) => Settled {
                result: Ok(answered.message.encode_to_vec().into()),
                retry_after: None,
                is_replay: answered.is_replay,
                was_given_up: false,
            },
            Err(error) => Settled {
                result: Err(Failure::from(error)),
                retry_after: error.retry_after,
                is_replay: error.is_replay,
                was_given_up: matches!(
                    error.reason,
                    Reason::DeadlineBeforeSend | Reason::RatePaced
                ),
            },
        }
    }

    /// What a record says whose answer is still there. One that is still open has nobody who works on it any more.
    pub(super) fn before(found: StoredRequest) -> Self {
        let result = match found.state {
            StoredState::Succeeded if !found.is_evicted => Ok(found.answer),
            _ => Err(Failure::from(&stored_error(&found))),
        };
        Settled {
            result,
            retry_after: None,
            is_replay: true,
            was_given_up: false,
        }
    }

    /// What is known of a call that is not over.
    pub(super) fn interim(encoded: Bytes) -> Self {
        Settled {
            result: Ok(encoded),
            retry_after: None,
            is_replay: false,
            was_given_up: false,
        }
    }

    /// The same of a call that ended for its own caller's deadline: who joined and has more time may send it.
    #[must_use]
    pub(super) fn given_up(self) -> Self {
        Settled {
            was_given_up: true,
            ..self
        }
    }

    /// Whether it was given up before it was sent: for a deadline that was its own caller's.
    pub(super) fn was_given_up(&self) -> bool {
        self.was_given_up
    }

    /// What whoever joined or asked again is answered.
    pub(super) fn answer<M: Answer>(self) -> Result<Answered<M>, CallError> {
        match self.result {
            Ok(encoded) => {
                let message = M::decode(encoded).map_err(|_| {
                    CallError::new(Reason::KoraOutcomeUnknown)
                        .because("the stored answer cannot be read")
                })?;
                Ok(Answered {
                    message,
                    is_replay: self.is_replay,
                })
            }
            Err(failure) => Err(CallError {
                is_replay: self.is_replay,
                retry_after: self.retry_after,
                ..Failure::decode(&failure.encode())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb;

    #[test]
    fn whoever_joined_is_told_when_to_come_back_too() {
        let soon = Some(Duration::from_secs(1));
        let refusal = CallError {
            retry_after: soon,
            ..CallError::new(Reason::KoraRateLimited)
        };
        let settled = Settled::now::<pb::Screening>(&Err(refusal));
        let told = settled.answer::<pb::Screening>().unwrap_err();
        assert_eq!(told.reason, Reason::KoraRateLimited);
        assert_eq!(told.retry_after, soon);
        assert!(!told.is_replay);
    }
}
