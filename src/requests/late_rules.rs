//! Rules for requests that were added since requests are recorded. A request that was taken before one of them, and is
//! on record, gets its recorded answer when it is repeated; any other that breaks one is refused.

use tokio::time::timeout_at;
use uuid::Uuid;

use super::{Call, Requests, once::not_begun};
use crate::{
    error::{CallError, Violation},
    store::{ReadError, RequestContent, RequestKey, StoredState},
};

impl Requests {
    /// Checks that a request breaks no late rule, or is on record and will be answered from there.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, and `STORE_UNAVAILABLE` where it cannot be told whether it is on record.
    pub(super) async fn check_late_rules(
        &self,
        violations: &[Violation],
        request_id: Option<Uuid>,
        content: &RequestContent,
        call: &Call,
    ) -> Result<(), CallError> {
        if violations.is_empty() {
            return Ok(());
        }
        let Some(request_id) = request_id else {
            return none(violations.to_vec());
        };
        let key = RequestKey {
            caller: call.caller.scope.to_string(),
            request_id,
        };
        let _repeat = call
            .permits
            .repeat()
            .map_err(|_| not_begun("too many request_ids are being looked up"))?;
        let read = timeout_at(call.answer_by, self.log.request(key)).await;
        let late =
            || ReadError::Unavailable("the store had not answered by the deadline".to_owned());
        let found = read.unwrap_or_else(|_| Err(late()));
        match found {
            Ok(Some(found))
                if found.content == *content && found.state != StoredState::MayBeRepeated =>
            {
                Ok(())
            }
            // It is on record, and what reads it next tells so.
            Err(ReadError::Corrupt { .. }) => Ok(()),
            Ok(_) => none(violations.to_vec()),
            Err(error) => Err(not_begun(error)),
        }
    }
}

/// Nothing that breaks a rule is sent, whatever became of its record since it was looked for.
///
/// # Errors
/// `INVALID_REQUEST`, if there are violations.
pub(super) fn none(violations: Vec<Violation>) -> Result<(), CallError> {
    if violations.is_empty() {
        return Ok(());
    }
    Err(CallError::invalid(violations))
}
