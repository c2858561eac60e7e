//! One attempt at a request: bounded in time, and certain about whether it was sent.
//!
//! The caller's deadline bounds everything before sending. From then on the attempt has a limit of its
//! own, whoever still waits.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Request;
use tokio::{
    sync::watch,
    time::{self, Instant},
};
use uuid::Uuid;

use super::{
    Account, Endpoint, HttpClient, Metrics, Orders, SetupError,
    admission::{Admission, Asker},
    connection::Connection,
    departure::Departure,
    ended::{Ended, Outcome},
    exchange::{Answer, exchange},
    pacing::MIN_TIME_TO_SEND,
    refusal::lost_reason,
    transmission::Transmission,
};
use crate::{
    clock::Clock,
    error::{CallError, Reason},
};

/// Makes attempts.
pub(super) struct Attempts {
    http: HttpClient,
    connection: Connection,
    metrics: Metrics,
    admission: Admission,
    orders: Orders,
    answering: watch::Sender<Option<bool>>,
}

impl Attempts {
    pub(super) fn new(
        http: HttpClient,
        account: &Account,
        clock: Clock,
        metrics: Metrics,
        orders: Orders,
    ) -> Result<Self, SetupError> {
        Ok(Attempts {
            connection: Connection::new(account)?,
            http,
            admission: Admission::new(clock, metrics.clone()),
            metrics,
            orders,
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
        asker: Asker<'_>,
        departure: &Departure,
    ) -> Result<Answer, CallError> {
        check_time(asker)?;
        let attempt = departure.attempt()?;
        let admitted = tokio::select! {
            biased;
            error = departure.given_up() => return Err(error),
            admitted = self.admission.admit(asker) => admitted?,
        };
        let transmission = &attempt.transmission;
        let request = self
            .connection
            .post(endpoint, transmission.body(body), idempotency_key);
        let given_up = async {
            tokio::select! {
                error = departure.given_up() => error,
                () = time::sleep_until(asker.wait_until) => Reason::DeadlineBeforeSend.into(),
            }
        };
        let start = Instant::now();
        let ended = {
            let exchange = self.exchange_once_sent(request, transmission);
            tokio::pin!(exchange);
            tokio::select! {
                biased;
                ended = &mut exchange => Ok(ended),
                error = given_up => match transmission.revoke() {
                    true => Err(error),
                    false => Ok(exchange.await),
                },
            }
        };
        match ended {
            Ok(ended) => {
                let outcome = ended.settle(endpoint, Some(transmission), admitted);
                self.observed(endpoint, start, outcome)
            }
            Err(error) => {
                admitted.not_sent();
                Err(error)
            }
        }
    }

    /// Reads what has this id. Any answer is returned, whatever its status.
    pub(super) async fn get(
        &self,
        endpoint: Endpoint,
        id: &str,
        asker: Asker<'_>,
    ) -> Result<Answer, CallError> {
        check_time(asker)?;
        let read = async {
            let admitted = tokio::select! {
                biased;
                admitted = self.admission.admit(asker) => admitted?,
                () = self.orders.stop.started() => return Err(CallError::draining()),
            };
            let start = Instant::now();
            let request = self.connection.get(endpoint, id);
            let ended = self.exchange_in_time(request, asker.wait_until).await;
            self.observed(endpoint, start, ended.settle(endpoint, None, admitted))
        };
        tokio::select! {
            biased;
            result = read => result,
            error = self.given_up(endpoint) => Err(error),
        }
    }

    /// Which version of the key the next attempt has, or an older one.
    pub(super) fn key_version(&self) -> u64 {
        self.connection.api_key().now().number
    }

    /// Whether there is a key that is newer than this version.
    pub(super) async fn has_newer_key(&self, version: u64) -> bool {
        self.connection.api_key().has_changed_since(version).await
    }

    /// How long the asker would wait for a turn now.
    pub(super) fn wait(&self, asker: Asker<'_>) -> Duration {
        self.admission.wait(asker)
    }

    /// Waits until the gateway ends, answered or not.
    pub(super) async fn given_up(&self, endpoint: Endpoint) -> CallError {
        self.orders.give_up.started().await;
        CallError::new(lost_reason(endpoint)).because("the gateway stopped before Kora answered")
    }

    /// Whether the gateway ends.
    pub(super) fn is_given_up(&self) -> bool {
        self.orders.give_up.is_started()
    }

    async fn exchange(&self, request: Request) -> Ended {
        let max_bytes = self.http.config.max_response_bytes;
        match exchange(&self.http.client(), request, max_bytes).await {
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
            () = transmission.started() => time::timeout(self.http.config.timeout, exchange)
                .await
                .unwrap_or(Ended::TimedOut),
        }
    }

    async fn exchange_in_time(&self, request: Request, wait_until: Instant) -> Ended {
        let limit = Instant::now() + self.http.config.timeout;
        match time::timeout_at(limit.min(wait_until), self.exchange(request)).await {
            Ok(ended) => ended,
            Err(_) if limit < wait_until => Ended::TimedOut,
            Err(_) => Ended::CallerGaveUp,
        }
    }

    /// Counts an attempt, and notes whether Kora answers.
    fn observed(
        &self,
        endpoint: Endpoint,
        start: Instant,
        outcome: Outcome,
    ) -> Result<Answer, CallError> {
        let Outcome {
            ending,
            answers,
            result,
        } = outcome;
        self.metrics.observe(endpoint, ending, start.elapsed());
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

fn check_time(asker: Asker<'_>) -> Result<(), CallError> {
    if asker.wait_until < Instant::now() + MIN_TIME_TO_SEND {
        return Err(Reason::DeadlineBeforeSend.into());
    }
    Ok(())
}
