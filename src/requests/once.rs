//! A request with an id: recorded before it is sent, and answered with what is recorded.

use tokio::{
    sync::oneshot,
    time::{Duration, Instant, sleep, sleep_until},
};
use uuid::Uuid;

use super::{
    Answered, COME_BACK_AFTER, Call, Requests,
    answer::{Answer, StoredEnd, stored},
    detached::{Delivery, deliver, panicked},
    in_flight::{Joinable, Lead, Role},
    settled::Settled,
};
use crate::{
    error::{CallError, Outcome, Reason},
    kora::Departure,
    store::{
        AppendError, Begun, Ending, Intent, RequestContent, RequestKey, StoredRequest, StoredState,
    },
};

/// How long before its caller has to be answered an answer is handed over, recorded or not.
const RECORDING_RESERVE: Duration = Duration::from_millis(20);

/// How often the record of a request is read that another process works on.
const ELSEWHERE_PAUSE: Duration = Duration::from_millis(200);

/// A call that leads: it alone may send its request.
struct Leader<M> {
    requests: Requests,
    lead: Lead,
    intent: Intent,
    departure: Departure,
    delivery: Delivery<M>,
    answer_by: Instant,
    keeps_raw_json: bool,
}

impl Requests {
    /// Sends a request if it is new, and otherwise answers what is known of it. Its record keeps Kora's body if
    /// `keeps_raw_json`.
    pub(super) async fn run_once<M: Answer>(
        &self,
        key: RequestKey,
        content: RequestContent,
        keeps_raw_json: bool,
        call: Call,
        departure: Departure,
        send: impl Future<Output = Result<M, CallError>> + Send + 'static,
    ) -> Result<Answered<M>, CallError> {
        let lead = loop {
            match self.in_flight.enter(key.clone(), &content) {
                Role::Lead(lead) => break lead,
                Role::Join(joinable) if joinable.content != content => {
                    self.metrics.reused();
                    return Err(Reason::RequestIdReused.into());
                }
                Role::Join(joinable) => {
                    if let Some(settled) = self.join(joinable, call.answer_by).await? {
                        self.metrics.joined();
                        return settled.answer();
                    }
                }
            }
        };
        let (delivery, delivered) = oneshot::channel();
        let (answer_by, place) = (call.answer_by, call.place);
        let leader = Leader {
            requests: self.clone(),
            lead,
            intent: Intent {
                key,
                content,
                attempt: Uuid::new_v4(),
            },
            departure: departure.clone(),
            delivery,
            answer_by,
            keeps_raw_json,
        };
        self.calls.spawn(async move {
            leader.run(send).await;
            drop(place);
        });
        self.wait(delivered, departure, answer_by).await
    }

    /// Waits for the end of a call that somebody else made; `None` if it was given up unsent, and is over.
    async fn join(
        &self,
        joinable: Joinable,
        answer_by: Instant,
    ) -> Result<Option<Settled>, CallError> {
        tokio::select! {
            biased;
            ended = end_of(joinable) => ended,
            () = sleep_until(answer_by) => Err(Reason::DeadlineExceeded.into()),
            () = self.orders.give_up.started() => {
                Err(CallError::new(Reason::KoraOutcomeUnknown)
                    .because("the gateway stopped before Kora answered"))
            }
        }
    }
}

impl<M: Answer> Leader<M> {
    async fn run(self, send: impl Future<Output = Result<M, CallError>> + Send) {
        let log = &self.requests.log;
        let begun = tokio::select! {
            biased;
            begun = log.begin(self.intent.clone()) => begun,
            // It may have been recorded all the same, and was certainly not sent.
            error = self.departure.given_up() => return self.record(Err(error)).await,
        };
        match begun {
            Ok(Begun::New) => {
                self.requests.metrics.new_request();
                let result = send.await;
                self.record(result).await;
            }
            Ok(Begun::Found(found)) => {
                let result = match self.end_elsewhere(found).await {
                    Ok(found) => self.replay(found).await,
                    Err(error) => Err(error),
                };
                self.hand_over(result);
            }
            Ok(Begun::Damaged) => {
                let error = CallError::new(Reason::KoraOutcomeUnknown)
                    .because("the record of this request_id is damaged");
                self.hand_over(Err(error));
            }
            // There is nothing to take back.
            Ok(Begun::Full) => {
                self.hand_over(Err(not_begun("request records fill --request-size")));
            }
            Err(error @ AppendError::Unavailable) => {
                self.hand_over(Err(not_begun(error)));
            }
            Err(error) => self.record(Err(not_begun(error))).await,
        }
    }

    /// Records how the request ended, and hands that over as soon as it is recorded; in time, if it is not.
    async fn record(self, result: Result<M, CallError>) {
        let requests = self.requests.clone();
        let room = requests.log.max_answer_bytes();
        let StoredEnd {
            state,
            answer,
            summary,
        } = stored(&result, self.keeps_raw_json, room, &requests.metrics);
        let recording = requests.log.finish(Ending {
            key: self.intent.key.clone(),
            attempt: self.intent.attempt,
            state,
            answer,
            summary,
        });
        tokio::pin!(recording);
        let result = result.map(|message| Answered {
            message,
            is_replay: false,
        });
        let in_time = tokio::select! {
            biased;
            recorded = &mut recording => Some(recorded),
            () = sleep_until(self.answer_by - RECORDING_RESERVE) => None,
            // The store may be away: what is known is better than "unknown".
            () = requests.orders.give_up.started() => None,
        };
        // Nobody else gets the request until its end is recorded, or certainly is not.
        let lead = self.hand_over(result);
        let recorded = match in_time {
            Some(recorded) => recorded,
            None => recording.await,
        };
        match recorded {
            Ok(true) => {}
            // It was not sent, or may be sent again.
            _ if state == StoredState::MayBeRepeated => {}
            Ok(false) => {
                requests.metrics.unrecorded();
                tracing::error!(
                    "an answer of Kora's could not be recorded; its record is damaged or gone"
                );
            }
            Err(error) => {
                requests.metrics.unrecorded();
                tracing::error!(%error, "an answer of Kora's could not be recorded; its request_id reads as UNKNOWN");
            }
        }
        drop(lead);
    }

    /// Waits while another process works on the request. It cannot be joined, so its record is read again and again.
    async fn end_elsewhere(&self, mut found: StoredRequest) -> Result<StoredRequest, CallError> {
        while found.is_held_elsewhere && found.content == self.intent.content {
            tokio::select! {
                biased;
                error = self.departure.given_up() => return Err(match error.reason {
                    Reason::DeadlineBeforeSend => Reason::DeadlineExceeded.into(),
                    // This process has sent nothing; the other one may have.
                    _ => CallError::new(Reason::KoraOutcomeUnknown)
                        .because("the gateway stopped before another one had an answer"),
                }),
                () = sleep(ELSEWHERE_PAUSE) => {}
            }
            match self.requests.log.request(found.key.clone()).await {
                Ok(Some(now)) => found = now,
                Ok(None) => {
                    return Err(CallError::new(Reason::KoraOutcomeUnknown)
                        .because("the record of this request_id is gone"));
                }
                // It can be read again when the store is there again.
                Err(error) => tracing::debug!(%error, "a request record cannot be read now"),
            }
        }
        Ok(found)
    }

    async fn replay(&self, found: StoredRequest) -> Result<Answered<M>, CallError> {
        let metrics = &self.requests.metrics;
        if found.content != self.intent.content {
            metrics.reused();
            return Err(Reason::RequestIdReused.into());
        }
        metrics.replayed();
        if found.state == StoredState::Succeeded && found.is_evicted {
            return self.read_again(&found.summary.result_id).await;
        }
        Settled::before(found).answer()
    }

    /// Reads from Kora what an earlier call created, because its answer was evicted. The request was done: an error of
    /// the reading must not look like one after which it may be sent again.
    async fn read_again(&self, result_id: &str) -> Result<Answered<M>, CallError> {
        let (kora, caller) = (&self.requests.kora, &self.intent.key.caller);
        match M::read(kora, result_id, caller, self.answer_by).await {
            Ok(message) => Ok(Answered {
                message,
                is_replay: true,
            }),
            Err(error) if error.reason.outcome() >= Some(Outcome::Accepted) => Err(error),
            Err(error) => Err(CallError {
                retry_after: error.retry_after,
                kora_request_id: error.kora_request_id.clone(),
                ..CallError::new(Reason::KoraOutcomeUnknown).because(error)
            }),
        }
    }

    fn hand_over(self, result: Result<Answered<M>, CallError>) -> Lead {
        self.lead.settle(Settled::now(&result));
        deliver(self.delivery, result);
        self.lead
    }
}

fn not_begun(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CallError {
    CallError {
        retry_after: Some(COME_BACK_AFTER),
        ..CallError::new(Reason::StoreUnavailable).because(error)
    }
}

async fn end_of(joinable: Joinable) -> Result<Option<Settled>, CallError> {
    let mut settled = joinable.settled;
    let ended = settled.wait_for(Option::is_some).await;
    let Some(end) = ended.ok().and_then(|settled| settled.clone()) else {
        return Err(panicked());
    };
    if !end.was_given_up() {
        return Ok(Some(end));
    }
    // Its place is free when it is gone.
    while settled.changed().await.is_ok() {}
    Ok(None)
}
