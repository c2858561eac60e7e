//! Doing it once: a screening or a new subject is sent, and what became of it can be asked.
//!
//! Each call that creates something runs in a task of its own, so that a caller that goes away does not cut
//! what was sent. One with a `request_id` is recorded before its first byte leaves, and so is its answer; the
//! same request again gets that answer, joins the call in flight, or hears that nobody knows. It is never
//! sent again unless it certainly did not happen.

mod answer;
mod continue_async;
mod detached;
mod fingerprint;
mod in_flight;
mod late_rules;
mod metrics;
mod once;
mod permits;
mod record;
mod screening_end;
mod settled;
mod waiting;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use metrics::Metrics;
pub use permits::{CallPermits, Permits};
pub use record::{RecordState, RequestRecord};

use crate::{
    access::Share,
    error::{CallError, Reason, Resource, Violation},
    kora::{self, Departure, Requester},
    lifecycle::Shutdown,
    pb,
    reconciler::Reconciler,
    screening::{CreateSubject, Party, ScreenRequest, Screening},
    store::{EventLog, RequestContent, RequestKey, RequestLog},
};
use answer::Answer;
use continue_async::Screen;
use in_flight::InFlight;
use permits::RecordPermit;
use waiting::Waiting;

/// When to come back where the store cannot take a record.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);

/// How long before its caller has to be answered an answer is given, whether its screening waits to be polled or
/// not. What is left is for recording the answer.
const POLL_RESERVE: Duration = Duration::from_millis(40);

/// What is asked of requests.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether one without a `request_id` is refused.
    pub is_request_id_required: bool,
}

/// The orders of a stop that concern calls.
#[derive(Clone, Debug)]
pub struct Orders {
    /// From now on, nothing more is sent.
    pub stop: Shutdown,
    /// Whoever still waits is answered now.
    pub give_up: Shutdown,
}

/// What is kept of requests, and of what becomes of them.
#[derive(Clone)]
pub struct Logs {
    /// The requests' records.
    pub requests: Arc<dyn RequestLog>,
    /// Kora's events, which say how screenings end.
    pub events: Arc<dyn EventLog>,
}

/// One call, as far as it matters here.
pub struct Call {
    /// Who makes it.
    pub caller: Requester,
    /// When the caller has to be answered.
    pub answer_by: Instant,
    /// Where it gets its permits. They are given back when the call is over, whoever still waits.
    pub permits: CallPermits,
    /// The memory of its message, where that is large.
    pub message: Option<Share>,
}

/// A place among the calls in flight, and the memory of a message that is large, until it is dropped.
pub struct Place {
    _call: Share,
    _message: Option<Share>,
}

/// An answer, and whether it is one that was given before.
#[derive(Debug)]
pub struct Answered<M> {
    /// The message.
    pub message: M,
    /// Whether it was stored.
    pub is_replay: bool,
}

/// One tenant's requests. Clones share everything.
#[derive(Clone)]
pub struct Requests {
    config: Config,
    kora: kora::Client,
    log: Arc<dyn RequestLog>,
    events: Arc<dyn EventLog>,
    reconciler: Reconciler,
    in_flight: InFlight,
    calls: TaskTracker,
    orders: Orders,
    metrics: Metrics,
}

impl Place {
    /// Both as one.
    pub fn new(call: Share, message: Option<Share>) -> Self {
        Place {
            _call: call,
            _message: message,
        }
    }
}

impl Requests {
    /// Requests to `kora`, kept in `logs`. Calls run in `calls`. What Kora has not finished is `reconciler`'s.
    pub fn new(
        config: Config,
        kora: kora::Client,
        logs: Logs,
        reconciler: Reconciler,
        metrics: Metrics,
        calls: TaskTracker,
        orders: Orders,
    ) -> Self {
        Requests {
            config,
            kora,
            log: logs.requests,
            events: logs.events,
            reconciler,
            in_flight: InFlight::default(),
            calls,
            orders,
            metrics,
        }
    }

    /// Screens a party. The answer holds Kora's body, unless it is a replay of one whose record was not to keep it.
    ///
    /// # Errors
    /// Those of [`kora::Client::screen`]; `REQUEST_ID_REUSED`, `STORE_UNAVAILABLE`, and what an earlier request
    /// with the same id was answered.
    pub async fn screen(
        &self,
        request: ScreenRequest,
        call: Call,
    ) -> Result<Answered<pb::Screening>, CallError> {
        let content = fingerprint::screening(&request);
        let request_id = request.request_id;
        let subject_id = match &request.party {
            Party::Known(subject_id) => Some(subject_id.clone()),
            Party::Inline(_) => None,
        };
        let (departure, waiting) = (Departure::default(), Waiting::default());
        let keeps_raw_json = request.include_raw_json;
        let violations = request.late_violations.clone();
        self.check_late_rules(&violations, request_id, &content, &call)
            .await?;
        let send = {
            let (requests, departure) = (self.clone(), departure.clone());
            let (caller, answer_by) = (call.caller.clone(), call.answer_by);
            let waiting = waiting.clone();
            // It is large, and is handed on several times.
            move |record| {
                Box::pin(async move {
                    late_rules::none(violations)?;
                    let screen = Screen {
                        requests: &requests,
                        request: &request,
                        caller: &caller,
                        answer_by,
                        departure: &departure,
                        waiting: &waiting,
                        record: &record,
                    };
                    screen.run().await
                })
            }
        };
        let hold = (departure, waiting);
        let mut answered = self
            .run(request_id, content, keeps_raw_json, call, hold, send)
            .await?;
        if let Some(subject_id) = subject_id {
            check_subject(&mut answered.message, subject_id)?;
        }
        Ok(answered)
    }

    /// Has a screening that Kora has not finished wait to be polled, before its caller hears of it. A store that
    /// is too slow for that caller goes on with it.
    async fn await_end(&self, screening: &Screening, answer_by: Instant, record: &RecordPermit) {
        if screening.status.is_final() {
            return;
        }
        let reconciler = self.reconciler.clone();
        let (id, subject_id) = (screening.screening_id.clone(), screening.subject_id.clone());
        let (give_up, record) = (self.orders.give_up.clone(), record.clone());
        let (asked, is_asked) = oneshot::channel();
        self.calls.spawn(async move {
            reconciler
                .expect(id, subject_id, asked, give_up.started())
                .await;
            drop(record);
        });
        let _ = timeout_at(answer_by - POLL_RESERVE, is_asked).await;
    }

    /// Creates a subject.
    ///
    /// # Errors
    /// Those of [`kora::Client::create_subject`], and of [`Requests::screen`] for the `request_id`.
    pub async fn create_subject(
        &self,
        request: CreateSubject,
        call: Call,
    ) -> Result<Answered<pb::Subject>, CallError> {
        let content = fingerprint::subject(&request);
        let (request_id, departure) = (request.request_id, Departure::default());
        let violations = request.late_violations.clone();
        self.check_late_rules(&violations, request_id, &content, &call)
            .await?;
        let send = {
            let (kora, departure) = (self.kora.clone(), departure.clone());
            let (caller, answer_by) = (call.caller.clone(), call.answer_by);
            move |_| {
                Box::pin(async move {
                    late_rules::none(violations)?;
                    let created = kora.create_subject(&request, &caller, answer_by, &departure);
                    Ok(pb::Subject::from(created.await?))
                })
            }
        };
        // A subject's answer holds no body of Kora's.
        let hold = (departure, Waiting::default());
        self.run(request_id, content, false, call, hold, send).await
    }

    async fn run<M: Answer, F>(
        &self,
        request_id: Option<Uuid>,
        content: RequestContent,
        keeps_raw_json: bool,
        call: Call,
        (departure, waiting): (Departure, Waiting),
        send: impl FnOnce(RecordPermit) -> F + Send + 'static,
    ) -> Result<Answered<M>, CallError>
    where
        F: Future<Output = Result<M, CallError>> + Send + 'static,
    {
        let Some(request_id) = request_id else {
            if self.config.is_request_id_required {
                return Err(request_id_required());
            }
            return self.run_detached(call, departure, waiting, send).await;
        };
        let key = RequestKey {
            caller: call.caller.scope.to_string(),
            request_id,
        };
        let hold = (departure, waiting);
        self.run_once(key, content, keeps_raw_json, call, hold, send)
            .await
    }
}

/// Checks that a screening is about the subject that was asked for, however the answer came: a replay can have been read from
/// Kora again, because its record was evicted.
fn check_subject(screening: &mut pb::Screening, subject_id: String) -> Result<(), CallError> {
    if screening.subject_id.is_empty() {
        screening.subject_id = subject_id;
    } else if screening.subject_id != subject_id {
        return Err(CallError {
            resource: Some(Resource::Screening(screening.screening_id.clone())),
            ..CallError::new(Reason::KoraResponseInvalid)
                .because("the screening is about another subject")
        });
    }
    Ok(())
}

fn request_id_required() -> CallError {
    let violation = Violation {
        field: "request_id".to_owned(),
        description: "is required by this gateway (--require-request-id)".into(),
    };
    CallError {
        violations: vec![violation],
        ..CallError::new(Reason::InvalidRequest)
    }
}

#[cfg(test)]
mod tests;
