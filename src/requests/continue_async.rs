//! What happens when Kora gives up on a SYNC screening whose caller asked for more: the same screening as ASYNC
//! (Kora docs: error-codes name that remedy), and the wait for its event.
//!
//! From the timeout on, nobody knows whether the first one happened. So whatever stops the second one, the
//! caller hears of the timeout. The second one is for everybody who waits: it is submitted while somebody does, and
//! its event is waited for until its own caller has to be answered, or, once that one has gone, the last of the others.
//! Whoever waits longer is then PENDING too: an answer that was given is on record.

use tokio::time::{Duration, Instant, timeout_at};

use super::{Requests, permits::RecordPermit, screening_end::End, waiting::Waiting};
use crate::{
    error::{CallError, Reason},
    kora::{Departure, GivenUp, Lane, Requester},
    pb,
    screening::{GetScreening, Mode, ScreenRequest, Screening, ScreeningStatus, TimeoutPolicy},
};

/// How long before its caller has to be answered the wait for an event ends, so that the answer is recorded.
const ANSWER_RESERVE: Duration = Duration::from_millis(50);

/// How long Kora is expected to take for reading a screening. Where less time is left, the event alone is answered.
const EXPECTED_READ: Duration = Duration::from_millis(500);

/// How long reading a screening may take, before the event alone is answered.
const MAX_READ: Duration = Duration::from_secs(5);

/// One screening, for its caller and for those who joined.
pub(super) struct Screen<'a> {
    pub(super) requests: &'a Requests,
    pub(super) request: &'a ScreenRequest,
    pub(super) caller: &'a Requester,
    /// When its own caller has to be answered.
    pub(super) answer_by: Instant,
    pub(super) departure: &'a Departure,
    pub(super) waiting: &'a Waiting,
    pub(super) record: &'a RecordPermit,
}

/// What is answered of a screening that ended.
#[derive(Debug, PartialEq)]
enum Verdict {
    Completed(Box<pb::Screening>),
    Failed,
    /// Event and answer tell different ends, or different subjects.
    Disputed,
    /// Nobody but the event tells whose screening it is.
    Unconfirmed,
}

/// Kora's answer about a screening that has ended cannot be relied on.
struct Contradictory;

impl Screen<'_> {
    /// Screens, and goes on as ASYNC where Kora gives up and the request says so.
    pub(super) async fn run(self) -> Result<pb::Screening, CallError> {
        let (kora, request) = (&self.requests.kora, self.request);
        let goes_on =
            request.mode == Mode::Sync && request.on_timeout == TimeoutPolicy::ContinueAsync;
        let first = kora.screen(request, self.caller, self.answer_by, self.departure);
        let timeout = match first.await {
            Err(error) if goes_on && error.reason == Reason::KoraScreeningTimeout => error,
            other => {
                let screening = other?;
                let requests = self.requests;
                requests
                    .await_end(&screening, self.answer_by, self.record)
                    .await;
                return Ok(screening.into());
            }
        };
        self.departure.is_unknown_for(Reason::KoraScreeningTimeout);
        // The event can be there before the answer that names the screening.
        let before = self.requests.events.tail().bounds().head.sequence;
        let metrics = &self.requests.metrics;
        let taken = match self.submit_as_async().await {
            Ok(taken) if taken.status == ScreeningStatus::Completed => return Ok(taken.into()),
            Ok(taken) => taken,
            Err(error) => {
                metrics.continued("not submitted");
                return Err(after(timeout, error.reason));
            }
        };
        match self.verdict_on(&taken, before).await {
            Some(Verdict::Completed(screening)) => {
                metrics.continued("completed");
                Ok(finished(*screening, taken))
            }
            Some(Verdict::Failed) => {
                metrics.continued("failed");
                Err(after(timeout, Reason::ScreeningFailed))
            }
            Some(Verdict::Disputed | Verdict::Unconfirmed) | None => {
                metrics.continued("pending");
                Ok(taken.into())
            }
        }
    }

    /// Submits the same screening as ASYNC, as long as anybody waits for it.
    async fn submit_as_async(&self) -> Result<Screening, CallError> {
        let (kora, orders) = (&self.requests.kora, &self.requests.orders);
        let departure = Departure::default();
        let wait_until = self.waiting.latest().ok_or(Reason::DeadlineBeforeSend)?;
        let second = kora.screen_again_as_async(self.request, self.caller, wait_until, &departure);
        tokio::pin!(second);
        tokio::select! {
            biased;
            () = orders.stop.started() => departure.give_up(GivenUp::Stopping),
            taken = &mut second => return taken,
            () = self.waiting.is_over(Duration::ZERO) => departure.give_up(GivenUp::CallerGone),
        };
        second.await
    }

    /// Waits for the end of a screening that Kora took, as long as anybody waits for the answer.
    async fn verdict_on(&self, taken: &Screening, before: u64) -> Option<Verdict> {
        let requests = self.requests;
        let until = self.waiting.until().unwrap_or(self.answer_by);
        requests.await_end(taken, until, self.record).await;
        let end = tokio::select! {
            biased;
            end = requests.end_of(taken, before) => end?,
            () = self.waiting.is_over(ANSWER_RESERVE) => return None,
            () = requests.orders.stop.started() => return None,
        };
        let verdict = match self.read(taken).await {
            Ok(read) => verdict(end, read, &taken.subject_id),
            Err(Contradictory) => Verdict::Disputed,
        };
        if verdict == Verdict::Disputed {
            requests.metrics.disputed_end();
            tracing::warn!(
                screening_id = taken.screening_id,
                "Kora's answer tells another end of a screening, or another subject, than its event"
            );
        }
        Some(verdict)
    }

    /// Reads a screening that has ended; `None` if that fails or does not end before the deadline.
    ///
    /// # Errors
    /// If Kora answers, and the answer contradicts itself, is about something else, or cannot be read.
    async fn read(&self, taken: &Screening) -> Result<Option<Screening>, Contradictory> {
        let now = Instant::now();
        let until = self.waiting.until();
        let until = until.and_then(|until| until.checked_sub(ANSWER_RESERVE));
        let Some(until) = until.filter(|until| *until >= now + EXPECTED_READ) else {
            return Ok(None);
        };
        let until = until.min(now + MAX_READ);
        let request = GetScreening {
            screening_id: taken.screening_id.clone(),
            include_raw_json: true,
        };
        let kora = &self.requests.kora;
        let read = kora.screening(&request, Lane::Interactive, &self.caller.name, until);
        match timeout_at(until, read).await {
            Ok(Ok(screening)) => Ok(Some(screening)),
            Ok(Err(error)) if error.reason == Reason::KoraResponseInvalid => Err(Contradictory),
            Ok(Err(error)) => {
                let (screening_id, reason) = (&request.screening_id, error.reason.name());
                tracing::info!(
                    screening_id,
                    reason,
                    "a screening cannot be read after its event"
                );
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}

/// What the event of a screening and Kora's answer, if there is one that is final, tell together. The subject is empty
/// where the answer that took the screening did not name it.
fn verdict(end: End, read: Option<Screening>, subject_id: &str) -> Verdict {
    let of_event = |end: End| match end.completed {
        Some(screening) => Verdict::Completed(screening),
        None => Verdict::Failed,
    };
    // Where the answer that took the screening did not name its subject, Kora's last answer has to.
    let has_to_name_it = subject_id.is_empty() && !end.subject_id.is_empty();
    let Some(read) = read else {
        return if has_to_name_it {
            Verdict::Unconfirmed
        } else {
            of_event(end)
        };
    };
    let is_unconfirmed = has_to_name_it && read.subject_id.is_empty();
    if is_unconfirmed || !is_one_subject([subject_id, &end.subject_id, &read.subject_id]) {
        return Verdict::Disputed;
    }
    match (read.status.clone(), &end.completed) {
        (ScreeningStatus::Failed, None) => Verdict::Failed,
        (ScreeningStatus::Completed, Some(told)) => {
            let read = pb::Screening::from(read);
            let is_other = told.decision.as_ref().is_some_and(|told| {
                let code = read.decision.as_ref().map(|read| &read.outcome_code);
                code != Some(&told.outcome_code)
            });
            if is_other {
                Verdict::Disputed
            } else {
                Verdict::Completed(Box::new(read))
            }
        }
        (ScreeningStatus::Failed | ScreeningStatus::Completed, _) => Verdict::Disputed,
        _ => of_event(end),
    }
}

/// Whether no two of these are ids of different subjects. Where there is none, it is empty.
fn is_one_subject<'a>(ids: impl IntoIterator<Item = &'a str>) -> bool {
    let mut named = ids.into_iter().filter(|id| !id.is_empty());
    let first = named.next();
    named.all(|id| Some(id) == first)
}

/// The screening as its event or Kora's last answer tells it, with what is known from the answer that took it.
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
        checks: if event.checks.is_empty() {
            taken.checks
        } else {
            event.checks
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
