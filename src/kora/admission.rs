//! Whether a request may be sent now: its turn in Kora's rate limit, and the circuit.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Metrics,
    breaker::{self, Breaker},
    exchange::Answer,
    pacing::{Kind, Paced, Pacer, Permit},
};
use crate::{
    clock::Clock,
    error::{CallError, Reason},
};

/// Lets requests go to Kora, for one key.
pub(super) struct Admission {
    pacer: Pacer,
    breaker: Breaker,
}

/// Who waits for an answer of Kora's, and until when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    kind: Kind,
    /// The name of the caller; callers take turns.
    caller: &'a str,
    /// The caller is answered by then.
    pub(super) wait_until: Instant,
}

/// A request that may be sent now. Dropped without a word, it says nothing about Kora, and counts as sent.
pub(super) struct Admitted {
    permit: Permit,
    circuit: breaker::Admitted,
}

impl Admission {
    pub(super) fn new(clock: Clock, metrics: Metrics) -> Self {
        Admission {
            pacer: Pacer::new(clock, metrics.pacing.clone()),
            breaker: Breaker::new(metrics),
        }
    }

    /// Waits for the asker's turn. Nobody waits for a turn that an open circuit would make useless.
    ///
    /// # Errors
    /// `RATE_PACED` if the turn would come too late, `KORA_CIRCUIT_OPEN`. Nothing was sent.
    pub(super) async fn admit(&self, asker: Asker<'_>) -> Result<Admitted, CallError> {
        self.breaker.check(asker.caller())?;
        let turn = self.pacer.turn(asker.kind, asker.caller, asker.wait_until);
        let permit = turn.await?;
        match self.breaker.admit(asker.caller()) {
            Ok(circuit) => Ok(Admitted { permit, circuit }),
            Err(open) => {
                permit.not_sent();
                Err(open.into())
            }
        }
    }

    /// How long the asker would wait for a turn now.
    pub(super) fn wait(&self, asker: Asker<'_>) -> Duration {
        self.pacer
            .wait(asker.kind.lane, asker.caller, asker.wait_until)
    }
}

impl<'a> Asker<'a> {
    pub(super) fn new(kind: Kind, caller: &'a str, wait_until: Instant) -> Self {
        Asker {
            kind,
            caller,
            wait_until,
        }
    }

    /// The caller; `None` for a poll, which is the gateway's own.
    fn caller(&self) -> Option<&str> {
        (!self.kind.is_poll()).then_some(self.caller)
    }
}

impl Admitted {
    /// Kora answered, or something between.
    pub(super) fn answered(self, answer: &Answer) {
        self.permit.answered(answer.status, &answer.headers);
        match answer.is_from_something_else() {
            true => self.circuit.failed(),
            false => self.circuit.succeeded(),
        }
    }

    /// Kora answered with more than is read, so that nobody knows what it told of the rate limit.
    pub(super) fn unread(self) {
        self.circuit.succeeded();
    }

    /// It may have been sent, and no answer came.
    pub(super) fn lost(self) {
        self.circuit.failed();
    }

    /// Certainly nothing was sent, because there is no connection to Kora.
    pub(super) fn unreachable(self) {
        self.permit.not_sent();
        self.circuit.failed();
    }

    /// Certainly nothing was sent, for a reason that is not Kora's.
    pub(super) fn not_sent(self) {
        self.permit.not_sent();
    }
}

impl From<Paced> for CallError {
    fn from(paced: Paced) -> Self {
        CallError {
            retry_after: Some(paced.retry_after),
            ..CallError::new(Reason::RatePaced)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::kora::{Endpoint, Lane};

    fn admission() -> Admission {
        let metrics = Metrics::register(&mut Registry::default());
        Admission::new(Clock::system(), metrics)
    }

    fn asker() -> Asker<'static> {
        let kind = Kind {
            endpoint: Endpoint::GetSubject,
            lane: Lane::Interactive,
        };
        Asker::new(kind, "a", Instant::now() + Duration::from_secs(10))
    }

    /// An answer that leaves so many requests for a minute.
    fn answer(left: u32) -> Answer {
        let reset = Clock::system().now().as_second() + 60;
        let headers = [
            ("x-ratelimit-limit", 100),
            ("x-ratelimit-remaining", i64::from(left)),
            ("x-ratelimit-reset", reset),
        ];
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.into()));
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter(headers),
            body: Bytes::new(),
        }
    }

    async fn refusal(admission: &Admission) -> Option<Reason> {
        let admitted = admission.admit(asker()).await;
        admitted.err().map(|error| error.reason)
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_circuit_refuses_before_the_rate_limit_does() {
        let admission = admission();
        let mut admitted = Vec::new();
        for _ in 0..11 {
            admitted.push(admission.admit(asker()).await.ok().unwrap());
        }
        admitted.pop().unwrap().answered(&answer(0));
        assert_eq!(refusal(&admission).await, Some(Reason::RatePaced));
        let start = Instant::now();
        for admitted in admitted {
            admitted.lost();
        }
        assert_eq!(refusal(&admission).await, Some(Reason::KoraCircuitOpen));
        assert_eq!(Instant::now(), start);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_sent_leaves_its_turn_to_the_next() {
        let admission = admission();
        let first = admission.admit(asker()).await.ok().unwrap();
        first.answered(&answer(1));
        admission.admit(asker()).await.ok().unwrap().not_sent();
        admission.admit(asker()).await.ok().unwrap().unreachable();
        drop(admission.admit(asker()).await.ok().unwrap());
        assert_eq!(refusal(&admission).await, Some(Reason::RatePaced));
    }
}
