//! What happens when Kora gives up on a SYNC screening whose caller asked for more: the same screening as ASYNC
//! (Kora docs: error-codes name that remedy), and the wait for its event.
//!
//! From the timeout on, nobody knows whether the first one happened. So whatever stops the second one, the
//! caller hears of the timeout.

use prost::Message;
use tokio::time::{Duration, Instant, sleep_until};

use super::Requests;
use crate::{
    error::{CallError, Reason},
    event::{SCREENING_COMPLETED, SCREENING_FAILED},
    kora::{Departure, Requester},
    pb,
    screening::{Mode, ScreenRequest, Screening, ScreeningStatus, TimeoutPolicy},
    store::Record,
};

/// How long before its caller has to be answered the wait for an event ends, so that the answer is recorded.
const ANSWER_RESERVE: Duration = Duration::from_millis(50);

/// How a screening ended, as its event says.
enum End {
    Completed(Box<pb::Screening>),
    Failed,
}

impl Requests {
    /// Screens, and goes on as ASYNC where Kora gives up and the request says so.
    pub(super) async fn screen_to_the_end(
        &self,
        request: ScreenRequest,
        caller: Requester,
        answer_by: Instant,
        departure: Departure,
    ) -> Result<pb::Screening, CallError> {
        let goes_on =
            request.mode == Mode::Sync && request.on_timeout == TimeoutPolicy::ContinueAsync;
        let first = self.kora.screen(&request, &caller, answer_by, &departure);
        let timeout = match first.await {
            Err(error) if goes_on && error.reason == Reason::KoraScreeningTimeout => error,
            other => {
                let screening = other?;
                self.await_end(&screening, answer_by).await;
                return Ok(screening.into());
            }
        };
        departure.is_unknown_for(Reason::KoraScreeningTimeout);
        // The event can be there before the answer that names the screening.
        let before = self.events.tail().bounds().head.sequence;
        let second = self
            .kora
            .screen_again_as_async(&request, &caller, answer_by, &departure);
        let taken = match second.await {
            Ok(taken) if taken.status == ScreeningStatus::Completed => return Ok(taken.into()),
            Ok(taken) => taken,
            Err(error) => {
                self.metrics.continued("not submitted");
                return Err(after(timeout, error.reason));
            }
        };
        self.await_end(&taken, answer_by).await;
        let give_up_at = answer_by.checked_sub(ANSWER_RESERVE).unwrap_or(answer_by);
        let end = tokio::select! {
            biased;
            end = self.end_of(&taken.screening_id, before) => end,
            () = sleep_until(give_up_at) => None,
            _ = departure.given_up() => None,
            () = self.orders.stop.started() => None,
        };
        match end {
            Some(End::Completed(screening)) => {
                self.metrics.continued("completed");
                Ok(finished(*screening, taken))
            }
            Some(End::Failed) => {
                self.metrics.continued("failed");
                Err(after(timeout, Reason::ScreeningFailed))
            }
            None => {
                self.metrics.continued("pending");
                Ok(taken.into())
            }
        }
    }

    /// Waits for the event that ends a screening, among those after `sequence`; `None` if the log cannot be read.
    async fn end_of(&self, screening_id: &str, mut sequence: u64) -> Option<End> {
        let mut head = self.events.tail().head();
        loop {
            head.mark_unchanged();
            let page = match self.events.read(sequence).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "the event of a screening cannot be waited for");
                    return None;
                }
            };
            for record in &page {
                sequence = record.sequence;
                if let Some(end) = end_in(record, screening_id) {
                    return Some(end);
                }
            }
            if page.is_empty() {
                head.changed().await.ok()?;
            }
        }
    }
}

/// The end that a record tells of this screening. One that says "completed" and cannot be read does not end it.
fn end_in(record: &Record, screening_id: &str) -> Option<End> {
    if record.keys.screening_id != screening_id {
        return None;
    }
    match record.keys.kind.as_str() {
        SCREENING_FAILED => Some(End::Failed),
        SCREENING_COMPLETED => {
            let event = pb::Event::decode(&record.event[..]).ok()?;
            let Some(pb::event::Payload::ScreeningUpdate(update)) = event.payload else {
                return None;
            };
            let screening = update.screening?;
            (screening.status() == pb::ScreeningStatus::Completed)
                .then(|| End::Completed(Box::new(screening)))
        }
        _ => None,
    }
}

/// The screening as its event tells it, with what is known from the answer that took it.
fn finished(event: pb::Screening, taken: Screening) -> pb::Screening {
    let taken = pb::Screening::from(taken);
    let or = |text: String, other: String| if text.is_empty() { other } else { text };
    pb::Screening {
        subject_id: or(event.subject_id, taken.subject_id),
        mode: taken.mode,
        purpose: match event.purpose {
            0 => taken.purpose,
            said => said,
        },
        checks: match event.checks.is_empty() {
            true => taken.checks,
            false => event.checks,
        },
        create_time: event.create_time.or(taken.create_time),
        kora_request_id: taken.kora_request_id,
        ..event
    }
}

/// The timeout, and for the log what stopped what came after it.
fn after(timeout: CallError, reason: Reason) -> CallError {
    timeout.because(format!(
        "Kora gave up on the SYNC screening, and the ASYNC one ended with {}",
        reason.name()
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::screening::KoraObject;

    fn taken() -> Screening {
        let body = json!({
            "screening_id": "scr_1", "status": "PENDING", "subject_id": "subj_taken", "purpose": "ONBOARDING",
            "checks": ["PEP"], "created_at": "2026-01-02T03:04:05Z",
        });
        let body = body.to_string();
        let object = KoraObject::read(body.as_bytes()).unwrap();
        Screening {
            kora_request_id: "req_1".to_owned(),
            ..Screening::from_kora(&object, None).unwrap()
        }
    }

    #[test]
    fn what_the_event_does_not_say_is_known_from_the_answer() {
        let ended = pb::Screening {
            screening_id: "scr_1".to_owned(),
            status: pb::ScreeningStatus::Completed.into(),
            ..pb::Screening::default()
        };
        let known = pb::Screening {
            status: ended.status,
            status_code: String::new(),
            ..pb::Screening::from(taken())
        };
        assert_ne!(known.purpose, 0);
        assert_eq!(known.checks.len(), 1);
        assert!(known.create_time.is_some());
        assert_eq!(finished(ended, taken()), known);
    }

    #[test]
    fn what_the_event_says_is_newer() {
        let said = pb::Screening {
            screening_id: "scr_1".to_owned(),
            subject_id: "subj_said".to_owned(),
            status: pb::ScreeningStatus::Completed.into(),
            purpose: pb::ScreeningPurpose::Periodic.into(),
            checks: vec![pb::CheckType::Sanctions.into(); 2],
            create_time: Some(prost_types::Timestamp::default()),
            ..pb::Screening::default()
        };
        let told = finished(said.clone(), taken());
        assert_eq!(told.kora_request_id, "req_1");
        let only_of_the_answer = pb::Screening {
            kora_request_id: String::new(),
            mode: said.mode,
            ..told
        };
        assert_eq!(only_of_the_answer, said);
    }
}
