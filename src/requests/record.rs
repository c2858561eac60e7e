//! What became of a request, for whoever asks.

use std::fmt;

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{COME_BACK_AFTER, Requests, answer::stored_error};
use crate::{
    error::{CallError, Outcome, Reason},
    store::{ReadError, RequestKey, StoredRequest, StoredState},
};

/// How far a request is.
pub enum RecordState {
    /// It is being worked on.
    InFlight,
    /// Answered with this message: a `Screening` or a `Subject`, encoded, as the RPC says.
    Succeeded(bytes::Bytes),
    /// Answered with the screening or subject that has this id at Kora; the answer was evicted.
    Evicted(String),
    /// Answered with this error, whose outcome says whether it happened.
    Failed(CallError),
}

/// What is known of a request.
#[derive(Debug)]
pub struct RequestRecord {
    /// The caller's id.
    pub request_id: Uuid,
    /// The RPC's name, such as `Screen`.
    pub rpc: String,
    /// How far it is.
    pub state: RecordState,
    /// When it was recorded.
    pub create_time: Timestamp,
    /// When its end was recorded.
    pub finish_time: Option<Timestamp>,
}

impl Requests {
    /// What became of the request with this id in a caller's scope. Asks nobody but the store.
    ///
    /// # Errors
    /// `REQUEST_NOT_FOUND`, `STORE_UNAVAILABLE`, `STORE_CORRUPT`; `DEADLINE_EXCEEDED` if the store has not answered
    /// by `answer_by`.
    pub async fn request(
        &self,
        scope: &str,
        request_id: Uuid,
        answer_by: Instant,
    ) -> Result<RequestRecord, CallError> {
        let record = self.look_up(scope, request_id);
        let in_time = timeout_at(answer_by, record).await;
        in_time.unwrap_or_else(|_| Err(Reason::DeadlineExceeded.into()))
    }

    async fn look_up(&self, scope: &str, request_id: Uuid) -> Result<RequestRecord, CallError> {
        let key = RequestKey {
            caller: scope.to_owned(),
            request_id,
        };
        let was_in_flight = self.in_flight.has(&key);
        let mut found = self.find(&key).await?;
        let mut is_in_flight = was_in_flight || self.in_flight.has(&key);
        if found.state == StoredState::InFlight && !is_in_flight && !found.is_held_elsewhere {
            // It can have ended since the record was read; its end is recorded before it is over.
            found = self.find(&key).await?;
            is_in_flight = self.in_flight.has(&key);
        }
        Ok(RequestRecord {
            request_id: found.key.request_id,
            state: match found.state {
                StoredState::InFlight if is_in_flight || found.is_held_elsewhere => {
                    RecordState::InFlight
                }
                StoredState::Succeeded if found.is_evicted => {
                    RecordState::Evicted(found.summary.result_id)
                }
                StoredState::Succeeded => RecordState::Succeeded(found.answer),
                StoredState::InFlight
                | StoredState::Abandoned
                | StoredState::Failed
                | StoredState::MayBeRepeated => RecordState::Failed(stored_error(&found)),
            },
            rpc: found.content.rpc,
            create_time: found.create_time,
            finish_time: found.finish_time,
        })
    }

    async fn find(&self, key: &RequestKey) -> Result<StoredRequest, CallError> {
        match self.log.request(key.clone()).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Reason::RequestNotFound.into()),
            Err(error @ ReadError::Corrupt { .. }) => {
                Err(CallError::new(Reason::StoreCorrupt).because(error))
            }
            Err(error) => Err(CallError {
                retry_after: Some(COME_BACK_AFTER),
                ..CallError::new(Reason::StoreUnavailable).because(error)
            }),
        }
    }
}

impl RequestRecord {
    /// The outcome of one that failed.
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.state {
            RecordState::Failed(error) => Some(error.reason.of_paid_call().1),
            RecordState::InFlight | RecordState::Succeeded(_) | RecordState::Evicted(_) => None,
        }
    }
}

impl fmt::Debug for RecordState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            RecordState::InFlight => "InFlight",
            RecordState::Succeeded(_) => "Succeeded(..)",
            RecordState::Evicted(_) => "Evicted(..)",
            RecordState::Failed(_) => "Failed(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_not_printed() {
        let mut error = CallError::new(Reason::KoraValidation);
        error.kora_request_id = Some("MARKER".to_owned());
        for state in [
            RecordState::Succeeded("MARKER".into()),
            RecordState::Failed(error),
        ] {
            let printed = format!("{state:?}");
            assert!(!printed.contains("MARKER"), "{printed}");
        }
    }
}
