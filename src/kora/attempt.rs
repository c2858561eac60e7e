//! One attempt at a request: bounded in time, and certain about whether it was sent.
//!
//! The caller's deadline bounds everything before sending. From then on the attempt has a limit of its
//! own, whoever still waits.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use reqwest::Request;
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use uuid::Uuid;

use super::{
    Config, Endpoint, Metrics, SetupError,
    breaker::{Admitted, Breaker},
    connection::Connection,
    departure::Departure,
    exchange::{Answer, Lost, exchange},
    metrics::Ending,
    refusal::lost_reason,
    transmission::Transmission,
};
use crate::{
    error::{CallError, Reason},
    lifecycle::Shutdown,
};

/// A POST that has less time than this is not sent: it would hardly be answered in time, and its caller
/// would be left not knowing.
pub(super) const MIN_TIME_TO_SEND: Duration = Duration::from_millis(10);

/// Makes attempts.
pub(super) struct Attempts {
    connection: Connection,
    timeout: Duration,
    max_response_bytes: usize,
    metrics: Metrics,
    breaker: Breaker,
    give_up: Shutdown,
    answering: watch::Sender<Option<bool>>,
}

/// How an exchange ended.
enum Ended {
    Answered(Answer),
    /// Without a whole answer; certainly not sent if a POST's body was never asked for.
    Lost(Lost),
    /// The attempt's limit passed.
    TimedOut,
    /// The caller's deadline passed first.
    CallerGaveUp,
}

impl Attempts {
    pub(super) fn new(
        config: &Config,
        metrics: Metrics,
        give_up: Shutdown,
    ) -> Result<Self, SetupError> {
        Ok(Attempts {
            connection: Connection::new(config)?,
            timeout: config.timeout,
            max_response_bytes: config.max_response_bytes,
            breaker: Breaker::new(metrics.clone()),
            metrics,
            give_up,
            answering: watch::Sender::new(None),
        })
    }

    /// Whether Kora answered when it was asked last; `None` before the first time.
    pub(super) fn answering(&self) -> watch::Receiver<Option<bool>> {
        self.answering.subscribe()
    }

    /// Creates something. Any answer is returned, whatever its status. Once it was sent, it runs to its end,
    /// whoever still waits.
    pub(super) async fn post(
        &self,
        endpoint: Endpoint,
        body: Bytes,
        idempotency_key: Option<Uuid>,
        wait_until: Instant,
        departure: &Departure,
    ) -> Result<Answer, CallError> {
        check_time(wait_until)?;
        let admitted = self.breaker.admit()?;
        let attempt = departure.attempt()?;
        let transmission = &attempt.transmission;
        let request = self
            .connection
            .post(endpoint, transmission.body(body), idempotency_key);
        let exchange = self.exchange_once_sent(request, transmission);
        let ended = self.observed(endpoint, Some(transmission), admitted, exchange);
        tokio::pin!(ended);
        let given_up = async {
            tokio::select! {
                error = departure.given_up() => error,
                () = time::sleep_until(wait_until) => Reason::DeadlineBeforeSend.into(),
            }
        };
        tokio::select! {
            biased;
            result = &mut ended => result,
            error = given_up => match transmission.revoke() {
                true => Err(error),
                false => ended.await,
            },
        }
    }

    /// Reads what has this id. Any answer is returned, whatever its status.
    pub(super) async fn get(
        &self,
        endpoint: Endpoint,
        id: &str,
        wait_until: Instant,
    ) -> Result<Answer, CallError> {
        check_time(wait_until)?;
        let admitted = self.breaker.admit()?;
        let request = self.connection.get(endpoint, id);
        let limit = Instant::now() + self.timeout;
        let exchange = async {
            match time::timeout_at(limit.min(wait_until), self.exchange(request)).await {
                Ok(ended) => ended,
                Err(_) if limit < wait_until => Ended::TimedOut,
                Err(_) => Ended::CallerGaveUp,
            }
        };
        tokio::select! {
            biased;
            result = self.observed(endpoint, None, admitted, exchange) => result,
            error = self.given_up(endpoint) => Err(error),
        }
    }

    /// Waits until the gateway ends, answered or not.
    pub(super) async fn given_up(&self, endpoint: Endpoint) -> CallError {
        self.give_up.started().await;
        CallError::new(lost_reason(endpoint)).because("the gateway stopped before Kora answered")
    }

    /// Whether the gateway ends.
    pub(super) fn is_given_up(&self) -> bool {
        self.give_up.is_started()
    }

    async fn exchange(&self, request: Request) -> Ended {
        match exchange(self.connection.http(), request, self.max_response_bytes).await {
            Ok(answer) => Ended::Answered(answer),
            Err(lost) => Ended::Lost(lost),
        }
    }

    /// Before it is sent, the caller's deadline and the connect timeout bound the exchange.
    async fn exchange_once_sent(&self, request: Request, transmission: &Transmission) -> Ended {
        let exchange = self.exchange(request);
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            ended = &mut exchange => ended,
            () = transmission.started() => time::timeout(self.timeout, exchange)
                .await
                .unwrap_or(Ended::TimedOut),
        }
    }

    /// Runs an exchange, counts it, and says what its end means.
    async fn observed(
        &self,
        endpoint: Endpoint,
        transmission: Option<&Transmission>,
        admitted: Admitted,
        exchange: impl Future<Output = Ended>,
    ) -> Result<Answer, CallError> {
        let start = Instant::now();
        let (ending, answers, result) = match exchange.await {
            Ended::Answered(answer) => {
                let ending = Ending::Status(answer.status.as_u16());
                (ending, Some(true), Ok(answer))
            }
            Ended::Lost(lost) => lost_result(endpoint, transmission, lost),
            Ended::TimedOut => (
                Ending::TimedOut,
                Some(false),
                Err(Reason::DeadlineExceeded.into()),
            ),
            Ended::CallerGaveUp => (Ending::TimedOut, None, Err(Reason::DeadlineExceeded.into())),
        };
        self.metrics.observe(endpoint, ending, start.elapsed());
        match &result {
            Ok(answer) if answer.is_from_something_else() => admitted.failed(),
            _ => match answers {
                Some(true) => admitted.succeeded(),
                Some(false) => admitted.failed(),
                None => drop(admitted),
            },
        }
        // A caller in a hurry says nothing about Kora.
        if answers.is_some() {
            self.answering.send_if_modified(|last| {
                let is_news = *last != answers;
                *last = answers;
                is_news
            });
        }
        result
    }
}

/// How to count an exchange without a whole answer, whether Kora answers, and what the caller is told.
fn lost_result(
    endpoint: Endpoint,
    transmission: Option<&Transmission>,
    lost: Lost,
) -> (Ending, Option<bool>, Result<Answer, CallError>) {
    let Lost {
        cause,
        kora_request_id,
    } = lost;
    let was_not_sent = match transmission {
        Some(transmission) => transmission.revoke(),
        None => cause.is_before_sending(),
    };
    let (ending, answers, reason) = match was_not_sent {
        true if cause.is_before_sending() => {
            (Ending::NotSent, Some(false), Reason::KoraUnreachable)
        }
        // Taken back by its caller, or handed back by the client.
        true => (Ending::NotSent, None, Reason::KoraUnreachable),
        false => (Ending::Lost, Some(false), cause.reason(endpoint)),
    };
    let error = CallError {
        kora_request_id,
        ..CallError::new(reason).because(cause)
    };
    (ending, answers, Err(error))
}

fn check_time(wait_until: Instant) -> Result<(), CallError> {
    if wait_until < Instant::now() + MIN_TIME_TO_SEND {
        return Err(Reason::DeadlineBeforeSend.into());
    }
    Ok(())
}
