//! A call in a task of its own, and the caller's wait for it.

use tokio::{
    sync::oneshot,
    time::{Duration, sleep_until, timeout},
};

use super::{
    Answered, COME_BACK_AFTER, Call, Place, Requests, answer::Answer, permits::RecordPermit,
    settled::Settled, waiting::Waiting,
};
use crate::{
    access::Full,
    error::{CallError, Outcome, Reason},
    kora::{Departure, GivenUp},
};

/// How long a call that has to end may take to say how it ended.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What a call hands to whoever waits for it.
pub(super) type Delivery<M> = oneshot::Sender<Result<Answered<M>, CallError>>;

/// Nothing more is sent for a caller that has gone.
struct GiveUpOnDrop(Departure);

impl Requests {
    /// Runs a call that is not recorded.
    pub(super) async fn run_detached<M: Answer, F>(
        &self,
        call: Call,
        departure: Departure,
        waiting: Waiting,
        send: impl FnOnce(RecordPermit) -> F + Send + 'static,
    ) -> Result<Answered<M>, CallError>
    where
        F: Future<Output = Result<M, CallError>> + Send + 'static,
    {
        let permit = call.permits.call().await;
        let place = Place::new(
            permit.map_err(|_: Full| CallError::overloaded())?,
            call.message,
        );
        let record = call.permits.record().map_err(|_: Full| CallError {
            retry_after: Some(COME_BACK_AFTER),
            ..CallError::new(Reason::StoreUnavailable)
                .because("too many records are still to be written")
        })?;
        if self.orders.stop.is_started() {
            return Err(CallError::draining());
        }
        let (delivery, delivered) = oneshot::channel();
        let answer_by = call.answer_by;
        let waiter = waiting.enter(answer_by);
        self.calls.spawn(async move {
            let result = send(record).await.map(|message| Answered {
                message,
                is_replay: false,
            });
            deliver(delivery, result);
            drop(place);
        });
        let answer = self.wait(delivered, departure, &waiting, answer_by).await;
        drop(waiter);
        answer
    }

    /// Waits for a call until its caller has to be answered.
    pub(super) async fn wait<M: Answer>(
        &self,
        mut delivered: oneshot::Receiver<Result<Answered<M>, CallError>>,
        departure: Departure,
        waiting: &Waiting,
        answer_by: tokio::time::Instant,
    ) -> Result<Answered<M>, CallError> {
        let departure = GiveUpOnDrop(departure);
        let (mut is_due, mut is_stopping) = (false, false);
        loop {
            tokio::select! {
                biased;
                answer = &mut delivered => return answer.unwrap_or_else(|_| Err(panicked())),
                () = sleep_until(answer_by), if !is_due => {
                    is_due = true;
                    let is_ending = departure.0.give_up(GivenUp::CallerGone);
                    if let Some(interim) = waiting.interim() {
                        return interim.answer();
                    }
                    // Others may still wait for what follows an attempt after which nobody knows.
                    match departure.0.unknown_for() {
                        Some(reason) => return Err(reason.into()),
                        None if !is_ending => return Err(Reason::DeadlineExceeded.into()),
                        None => {}
                    }
                }
                () = self.orders.stop.started(), if !is_stopping => {
                    is_stopping = true;
                    departure.0.give_up(GivenUp::Stopping);
                }
                () = self.orders.give_up.started() => {
                    // Nothing on its way can also mean that the answer is just here.
                    let is_ending = departure.0.give_up(GivenUp::Stopping);
                    let patience = if is_ending { LAST_WORD } else { Duration::ZERO };
                    return match timeout(patience, delivered).await {
                        Ok(Ok(answer)) => answer,
                        _ => waiting.interim().map_or_else(
                            || {
                                let reason = departure.0.unknown_for();
                                Err(CallError::new(reason.unwrap_or(Reason::KoraOutcomeUnknown))
                                    .because("the gateway stopped before Kora answered"))
                            },
                            Settled::answer,
                        ),
                    };
                }
            }
        }
    }
}

/// Hands an answer over. Where nobody waits any more, the log says what whoever looks for it needs.
pub(super) fn deliver<M: Answer>(delivery: Delivery<M>, result: Result<Answered<M>, CallError>) {
    match delivery.send(result) {
        Ok(()) => {}
        Err(Ok(answered)) => tracing::warn!(
            id = answered.message.id(),
            "Kora answered after the caller had gone"
        ),
        Err(Err(error)) => {
            let (reason, outcome) = error.reason.of_paid_call();
            if outcome > Outcome::NotSent {
                tracing::warn!(
                    reason = reason.name(),
                    kora_request_id = error.kora_request_id.as_deref().unwrap_or_default(),
                    "a request failed after its caller had gone"
                );
            }
        }
    }
}

/// A defect of ours, after which nothing is certain. The panic's text could quote anything.
pub(super) fn panicked() -> CallError {
    CallError::new(Reason::KoraOutcomeUnknown).because("the call panicked")
}

impl Drop for GiveUpOnDrop {
    fn drop(&mut self) {
        self.0.give_up(GivenUp::CallerGone);
    }
}
