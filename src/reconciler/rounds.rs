//! The one task that polls: waits until polls are due, and makes them round by round.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout};

use super::{Reconciler, metrics::Ending, pause::after, result};
use crate::{
    kora::Lane,
    lifecycle::Shutdown,
    screening::GetScreening,
    store::{AppendError, Appended, Poll},
    telemetry::Throttle,
};

static EVENT_CUT: Throttle = Throttle::new("parts of a reconciled event were left out");

/// How many polls one round has.
const ROUND_POLLS: usize = 64;

/// How many of them are made at the same time.
const CONCURRENT_POLLS: usize = 4;

/// How long one poll may take.
const POLL_TIMEOUT: Duration = Duration::from_secs(30);

/// Whose turns in Kora's rate limit the polls take, beside the callers'.
const ASKER: &str = "reconciler";

/// How long to leave a store alone that could not do what was asked.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// After how long to look again at the latest: the wall clock can be set.
const MAX_SLEEP: Duration = Duration::from_secs(60);

/// The store could not do what was asked. It has said why in the log.
struct StoreFailed;

impl From<AppendError> for StoreFailed {
    fn from(_: AppendError) -> Self {
        StoreFailed
    }
}

impl Reconciler {
    /// Polls until the order to stop. Nobody else may poll the same log.
    pub async fn run(self, stop: Shutdown) {
        tokio::select! {
            () = stop.started() => {}
            () = self.poll_for_ever() => {}
        }
    }

    async fn poll_for_ever(&self) {
        loop {
            match self.round().await {
                Ok(None) => {}
                Ok(Some(pause)) => {
                    // Whatever ends it, the next round looks again.
                    let _ = timeout(pause, self.added.notified()).await;
                }
                Err(StoreFailed) => sleep(STORE_PAUSE).await,
            }
        }
    }

    /// Makes the polls that are due. If none is: how long to wait.
    async fn round(&self) -> Result<Option<Duration>, StoreFailed> {
        let now = self.clock.now();
        // No pause is that long: it was made while a clock was far ahead.
        let latest = after(now, self.config.longest_wait());
        let polls = self.log.polls(ROUND_POLLS, latest).await.map_err(|error| {
            tracing::error!(%error, "the polls cannot be read");
            StoreFailed
        })?;
        for screening_id in polls.damaged {
            tracing::error!(
                screening_id = %screening_id.escape_ascii(),
                "a poll differs from its checksum"
            );
            self.give_up(screening_id).await?;
        }
        let Some(first) = polls.sound.first() else {
            return Ok(Some(MAX_SLEEP));
        };
        let is_due = |poll: &Poll| poll.next_poll <= now || poll.next_poll > latest;
        if !is_due(first) {
            let pause = Duration::try_from(first.next_poll.duration_since(now));
            return Ok(Some(pause.unwrap_or(MAX_SLEEP).min(MAX_SLEEP)));
        }
        let due = polls.sound.into_iter().filter(is_due);
        let made: Vec<_> = stream::iter(due)
            .map(|poll| self.poll(poll))
            .buffer_unordered(CONCURRENT_POLLS)
            .collect()
            .await;
        made.into_iter().collect::<Result<(), _>>()?;
        Ok(None)
    }

    /// Makes one poll. It is postponed first: where the store cannot take that, Kora is not asked more and more.
    async fn poll(&self, poll: Poll) -> Result<(), StoreFailed> {
        let now = self.clock.now();
        let (screening_id, subject_id) = (poll.screening_id.clone(), poll.subject_id.clone());
        let is_last = self.config.is_last_poll(poll.attempts);
        let polls_then = poll.attempts.saturating_add(1);
        let pause = self.config.pause(polls_then, fastrand::f64());
        if !self.log.postpone(poll, after(now, pause)).await? {
            // Its end came since the poll was read.
            return Ok(());
        }
        let asked = self.ask(screening_id.clone(), &subject_id).await;
        let ending = *asked.as_ref().unwrap_or(&Ending::Failed);
        self.metrics.polled(ending);
        match ending {
            // Whatever failed: a store that can never take this end must not have it polled for ever.
            Ending::Unfinished | Ending::Failed if is_last => {
                tracing::warn!(screening_id, "the end of a screening never came");
                self.give_up(screening_id.into_bytes()).await?;
            }
            Ending::Reconciled | Ending::Overtaken | Ending::Unfinished | Ending::Failed => {}
        }
        asked.map(drop)
    }

    async fn ask(&self, screening_id: String, subject_id: &str) -> Result<Ending, StoreFailed> {
        let request = GetScreening {
            screening_id,
            include_raw_json: true,
        };
        let wait_until = Instant::now() + POLL_TIMEOUT;
        let read = self
            .kora
            .screening(&request, Lane::Background, ASKER, wait_until);
        let screening = match read.await {
            Ok(screening) => screening,
            Err(error) => {
                let (screening_id, reason) = (request.screening_id, error.reason.name());
                tracing::info!(screening_id, reason, "a poll failed; there will be another");
                return Ok(Ending::Failed);
            }
        };
        let named = &screening.subject_id;
        if !subject_id.is_empty() && !named.is_empty() && named != subject_id {
            self.metrics.other_subject();
            let screening_id = &screening.screening_id;
            tracing::warn!(
                screening_id,
                "Kora's answer about another subject does not end a screening"
            );
            return Ok(Ending::Failed);
        }
        let Some(event) = result::event(screening) else {
            return Ok(Ending::Unfinished);
        };
        if !event.cuts.is_empty() {
            let (screening_id, cuts) = (&event.keys.screening_id, &event.cuts);
            if EVENT_CUT.allows() {
                tracing::warn!(screening_id, %cuts, "parts of an event were left out: it was too large for clients");
            }
            cuts.count(&self.metrics.events_cut);
        }
        let screening_id = event.keys.screening_id.clone();
        match self.log.reconcile(event).await {
            Ok(Appended::New) => Ok(Ending::Reconciled),
            Ok(Appended::Duplicate) => Ok(Ending::Overtaken),
            // The store is well, and takes the other ends.
            Err(AppendError::TooLarge) => {
                tracing::error!(
                    screening_id,
                    "the end of a screening is larger than the store accepts"
                );
                Ok(Ending::Failed)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn give_up(&self, screening_id: Vec<u8>) -> Result<(), StoreFailed> {
        if self.log.remove_poll(screening_id).await? {
            self.metrics.given_up();
        }
        Ok(())
    }
}
