//! A request with an id: recorded before it is sent, and answered with what is recorded.

use std::sync::Arc;

use tokio::{
    sync::oneshot,
    time::{Duration, Instant, sleep, sleep_until},
};
use uuid::Uuid;

use super::{
    Answered, COME_BACK_AFTER, Call, Place, Requests,
    answer::{Answer, StoredEnd, stored},
    detached::{Delivery, deliver, panicked},
    in_flight::{Joinable, Lead, Role},
    permits::{CallPermits, RecordPermit},
    settled::Settled,
    waiting::Waiting,
};
use crate::{
    access::{Full, Share},
    error::{CallError, Outcome, Reason},
    kora::Departure,
    store::{
        AppendError, Begun, Ending, Intent, ReadError, RequestContent, RequestKey, StoredRequest,
        StoredState, until_written,
    },
};

/// How long before its caller has to be answered an answer is handed over, recorded or not.
const RECORDING_RESERVE: Duration = Duration::from_millis(20);

/// How often the record of a request is read that another process works on.
const ELSEWHERE_PAUSE: Duration = Duration::from_millis(200);

/// A call that leads: it alone may send its request.
struct Leader<M> {
    requests: Requests,
    /// The caller's name, which is not always the scope of its ids.
    caller: Arc<str>,
    lead: Lead,
    intent: Intent,
    departure: Departure,
    waiting: Waiting,
    permits: CallPermits,
    message: Option<Share>,
    delivery: Delivery<M>,
    answer_by: Instant,
    keeps_raw_json: bool,
}

/// What a leader may do.
enum Admitted {
    /// Begin its request, unless that is known.
    New(Share, RecordPermit),
    /// Answer what is known, without a permit for sending.
    Known(Box<StoredRequest>, Share),
}

impl Requests {
    /// Sends a request if it is new, and otherwise answers what is known of it. Its record keeps Kora's body if
    /// `keeps_raw_json`.
    pub(super) async fn run_once<M: Answer, F>(
        &self,
        key: RequestKey,
        content: RequestContent,
        keeps_raw_json: bool,
        call: Call,
        (departure, waiting): (Departure, Waiting),
        send: impl FnOnce(RecordPermit) -> F + Send + 'static,
    ) -> Result<Answered<M>, CallError>
    where
        F: Future<Output = Result<M, CallError>> + Send + 'static,
    {
        let waiter = waiting.enter(call.answer_by);
        let lead = loop {
            match self.in_flight.enter(key.clone(), &content, &waiting) {
                Role::Lead(lead) => break lead,
                Role::Join(joinable) if joinable.content != content => {
                    self.metrics.reused();
                    return Err(Reason::RequestIdReused.into());
                }
                Role::Join(joinable) => {
                    if let Some(settled) = self.join(&joinable, &call).await? {
                        self.metrics.joined();
                        return settled.answer();
                    }
                }
            }
        };
        let (delivery, delivered) = oneshot::channel();
        let answer_by = call.answer_by;
        let leader = Leader {
            requests: self.clone(),
            caller: call.caller.name,
            lead,
            intent: Intent {
                key,
                content,
                attempt: Uuid::new_v4(),
            },
            departure: departure.clone(),
            waiting: waiting.clone(),
            permits: call.permits,
            message: call.message,
            delivery,
            answer_by,
            keeps_raw_json,
        };
        self.calls.spawn(leader.run(send));
        let answer = self.wait(delivered, departure, &waiting, answer_by).await;
        drop(waiter);
        answer
    }

    /// Waits for the end of a call that somebody else made; `None` if it was given up unsent, and is over.
    async fn join(&self, joinable: &Joinable, call: &Call) -> Result<Option<Settled>, CallError> {
        if let Some(settled) = joinable.told() {
            return Ok(Some(settled));
        }
        let Ok(_repeat) = call.permits.repeat() else {
            return Err(not_served("too many repeats are waiting"));
        };
        let Some(_join) = joinable.join() else {
            return Err(not_served("too many calls wait for this request_id"));
        };
        let _waiter = joinable.waiting.enter(call.answer_by);
        let error = tokio::select! {
            biased;
            ended = end_of(joinable) => return ended,
            () = sleep_until(call.answer_by) => Reason::DeadlineExceeded.into(),
            () = self.orders.give_up.started() => {
                not_served("the gateway stopped before Kora answered")
            }
        };
        // Of one that was given up unsent, the record may still be on its way.
        let settled = joinable.settled.borrow().clone();
        let interim = || joinable.waiting.interim();
        settled.or_else(interim).map(Some).ok_or(error)
    }
}

impl<M: Answer> Leader<M> {
    async fn run<F>(mut self, send: impl FnOnce(RecordPermit) -> F + Send)
    where
        F: Future<Output = Result<M, CallError>> + Send + 'static,
    {
        let (place, record) = match self.admit().await {
            Ok(Admitted::New(call, record)) => (Place::new(call, self.message.take()), record),
            Ok(Admitted::Known(found, repeat)) => return self.answer_known(*found, repeat).await,
            Err(error) => return drop(self.hand_over(Err(error))),
        };
        let log = &self.requests.log;
        let begun = tokio::select! {
            biased;
            begun = log.begin(self.intent.clone()) => begun,
            () = sleep_until(self.answer_by) => Err(AppendError::TooSlow),
            () = self.requests.orders.give_up.started() => Err(AppendError::TooSlow),
        };
        match begun {
            Ok(Begun::New) => {
                self.requests.metrics.new_request();
                let result = send(record.clone()).await;
                let deliver_by = self.deliver_by();
                self.record(result, deliver_by, (place, record)).await;
            }
            Ok(Begun::Found(found)) => {
                drop((place, record));
                match self.permits.repeat() {
                    Ok(repeat) => self.answer_known(found, repeat).await,
                    Err(_) => {
                        let error = not_served("too many repeats are waiting");
                        self.hand_over(Err(error));
                    }
                }
            }
            Ok(Begun::Damaged) => {
                self.hand_over(Err(damaged()));
            }
            // There is nothing to take back.
            Ok(Begun::Full) => {
                self.hand_over(Err(not_begun("request records fill --request-size")));
            }
            Err(error @ AppendError::Unavailable) => {
                self.hand_over(Err(not_begun(error)));
            }
            // It may be recorded all the same, and was certainly not sent.
            Err(error) => {
                let result = Err(not_begun(error));
                self.record(result, Instant::now(), (place, record)).await;
            }
        }
    }

    /// Decides what this call may do. Only a new request needs a permit for sending: where there is none at once, the
    /// store is asked first whether this one is new.
    async fn admit(&self) -> Result<Admitted, CallError> {
        let stop = &self.requests.orders.stop;
        if !stop.is_started()
            && let Ok(call) = self.permits.try_call()
            && let Ok(record) = self.permits.record()
        {
            return Ok(Admitted::New(call, record));
        }
        if let Some(known) = self.look_up().await? {
            return Ok(known);
        }
        if stop.is_started() {
            return Err(CallError::draining());
        }
        let call = self.permits.call().await;
        let call = call.map_err(|_: Full| CallError::overloaded())?;
        let record = self.permits.record();
        let record =
            record.map_err(|_: Full| not_begun("too many records are still to be written"))?;
        Ok(Admitted::New(call, record))
    }

    /// What is known of the request; `None` if it is new, or may be sent again.
    async fn look_up(&self) -> Result<Option<Admitted>, CallError> {
        let repeat = self.permits.repeat();
        let repeat =
            repeat.map_err(|_: Full| not_begun("too many request_ids are being looked up"))?;
        let found = tokio::select! {
            biased;
            found = self.requests.log.request(self.intent.key.clone()) => found,
            () = sleep_until(self.answer_by) => return Err(not_begun(AppendError::TooSlow)),
            () = self.requests.orders.give_up.started() => {
                return Err(not_begun(AppendError::TooSlow));
            }
        };
        match found {
            Ok(None) => Ok(None),
            Ok(Some(found))
                if found.state == StoredState::MayBeRepeated
                    && found.content == self.intent.content =>
            {
                Ok(None)
            }
            Ok(Some(found)) => Ok(Some(Admitted::Known(Box::new(found), repeat))),
            Err(ReadError::Corrupt { .. }) => Err(damaged()),
            Err(error) => Err(not_begun(error)),
        }
    }

    /// Answers what a record says, and holds a permit of those for repeats meanwhile.
    async fn answer_known(self, found: StoredRequest, _repeat: Share) {
        let result = match self.end_elsewhere(found).await {
            Ok(found) => self.replay(found).await,
            Err(error) => Err(error),
        };
        self.hand_over(result);
    }

    /// Until when an answer may wait for its record: its own caller's deadline, and once that has passed, those of the
    /// ones who joined.
    fn deliver_by(&self) -> Instant {
        let own = self.answer_by - RECORDING_RESERVE;
        if Instant::now() < own {
            return own;
        }
        let latest = self.waiting.latest().unwrap_or(self.answer_by);
        latest - RECORDING_RESERVE
    }

    /// Records how the request ended, and hands that over as soon as it is recorded; by `deliver_by`, if it is not. It
    /// is written until it lands, and until then nobody else gets the request.
    async fn record(
        self,
        result: Result<M, CallError>,
        deliver_by: Instant,
        (place, record): (Place, RecordPermit),
    ) {
        let requests = self.requests.clone();
        let room = requests.log.max_answer_bytes();
        let StoredEnd {
            state,
            answer,
            summary,
        } = stored(&result, self.keeps_raw_json, room, &requests.metrics);
        let ending = Ending {
            key: self.intent.key.clone(),
            attempt: self.intent.attempt,
            state,
            answer,
            summary,
        };
        let first_try = requests.log.finish(ending.clone());
        tokio::pin!(first_try);
        let result = result.map(|message| Answered {
            message,
            is_replay: false,
        });
        let settled = Settled::now(&result);
        self.waiting.tell_interim(settled.clone());
        let tried = tokio::select! {
            biased;
            recorded = &mut first_try => Some(recorded),
            () = sleep_until(deliver_by) => None,
            // The store may be away: what is known is better than "unknown".
            () = requests.orders.give_up.started() => None,
        };
        let lead = self.hand_over_as(settled, result);
        drop(place);
        let recorded = match tried {
            Some(Ok(is_recorded)) => Ok(is_recorded),
            tried => {
                let _pending = requests.metrics.pending_record();
                let tried = match tried {
                    Some(tried) => tried,
                    None => first_try.await,
                };
                match tried {
                    Ok(is_recorded) => Ok(is_recorded),
                    Err(_) => {
                        let give_up = requests.orders.give_up.started();
                        until_written(|| requests.log.finish(ending.clone()), give_up).await
                    }
                }
            }
        };
        requests.note_unrecorded(recorded, state);
        drop((lead, record));
    }

    /// Waits while another process works on the request. It cannot be joined, so its record is read again and again.
    async fn end_elsewhere(&self, mut found: StoredRequest) -> Result<StoredRequest, CallError> {
        while found.is_held_elsewhere && found.content == self.intent.content {
            let next = async {
                sleep(ELSEWHERE_PAUSE).await;
                self.requests.log.request(found.key.clone()).await
            };
            let read = tokio::select! {
                biased;
                error = self.departure.given_up() => return Err(match error.reason {
                    Reason::DeadlineBeforeSend => Reason::DeadlineExceeded.into(),
                    // This process has sent nothing; the other one may have.
                    _ => not_served("the gateway stopped before another one had an answer"),
                }),
                read = next => read,
            };
            match read {
                Ok(Some(now)) => found = now,
                Ok(None) => return Err(not_served("the record of this request_id is gone")),
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
        let (kora, caller) = (&self.requests.kora, &self.caller);
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
        self.hand_over_as(Settled::now(&result), result)
    }

    /// Tells those who joined how the call ended, and its own caller.
    fn hand_over_as(self, settled: Settled, result: Result<Answered<M>, CallError>) -> Lead {
        let is_for_its_deadline = Instant::now() >= self.answer_by
            && matches!(&result, Err(error) if error.reason == Reason::StoreUnavailable);
        self.lead.settle(if is_for_its_deadline {
            settled.given_up()
        } else {
            settled
        });
        deliver(self.delivery, result);
        self.lead
    }
}

impl Requests {
    /// Logs and counts an end that is not recorded, where that matters: what was not sent may be sent again.
    fn note_unrecorded(&self, recorded: Result<bool, AppendError>, state: StoredState) {
        let error = match recorded {
            Ok(true) => return,
            _ if state == StoredState::MayBeRepeated => return,
            Ok(false) => "its record is damaged or gone".to_owned(),
            Err(error) => error.to_string(),
        };
        self.metrics.unrecorded();
        tracing::error!(
            error,
            "an answer of Kora's could not be recorded; its request_id reads as UNKNOWN"
        );
    }
}

/// Nothing was sent for this call. What became of an earlier one with the same id is not known here.
pub(super) fn not_begun(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CallError {
    CallError {
        retry_after: Some(COME_BACK_AFTER),
        ..CallError::new(Reason::StoreUnavailable).because(error)
    }
}

/// The request is known, and was or may have been sent; this repeat of it gets no other answer.
fn not_served(why: &'static str) -> CallError {
    CallError::new(Reason::KoraOutcomeUnknown).because(why)
}

fn damaged() -> CallError {
    not_served("the record of this request_id is damaged")
}

async fn end_of(joinable: &Joinable) -> Result<Option<Settled>, CallError> {
    let mut settled = joinable.settled.clone();
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
