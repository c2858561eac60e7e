//! One event's way to one subscription.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::join_all;
use tokio::time::sleep;

use super::event::Event;
use super::journal::Progress;
use super::order::Turn;
use super::post::post;
use super::subscription::Subscription;
use crate::emulator::Twin;
use crate::emulator::signature::sign;

/// The pause after the first attempt that was not answered 200. Each further one is twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// The longest pause between two attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Attempts at one delivery. Kora's number, schedule and timeout are not known.
pub(super) const MAX_ATTEMPTS: u32 = 20;

/// An event on its way to a subscription, in one copy or several.
pub(super) struct Delivery {
    pub(super) event: Event,
    pub(super) subscription: Arc<Subscription>,
    pub(super) delay: Duration,
    pub(super) turn: Turn,
    pub(super) copies: Vec<Copy>,
}

/// One copy.
pub(super) struct Copy {
    /// Its number in the journal.
    pub(super) number: u64,
    /// Whether its first attempt is signed wrongly.
    pub(super) bad_signature: bool,
}

impl Delivery {
    /// The numbers of its copies in the journal.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.copies.iter().map(|copy| copy.number)
    }

    /// Sends all copies at the same time, each until it is answered 200 or given up.
    pub(super) async fn run(mut self, twin: Arc<Twin>) {
        sleep(self.delay).await;
        self.turn.come().await;
        join_all(self.copies.iter().map(|copy| self.send(&twin, copy))).await;
    }

    async fn send(&self, twin: &Twin, copy: &Copy) {
        for attempt in 1.. {
            let sent_wrongly = copy.bad_signature && attempt == 1;
            let status = self.attempt(twin, sent_wrongly).await;
            let pause = backoff(attempt);
            let progress = match (status, pause) {
                (Some(StatusCode::OK), _) if !sent_wrongly => Progress::Delivered,
                (_, Some(_)) => Progress::Pending,
                (_, None) => Progress::GivenUp,
            };
            // By its number in the list: whoever fires one may name it as they like.
            let number = copy.number;
            tracing::debug!(number, attempt, ?status, ?progress, "emulator webhook");
            twin.state()
                .webhooks
                .note_attempt(copy.number, status, progress);
            match (progress, pause) {
                (Progress::Pending, Some(pause)) => sleep(pause).await,
                _ => return,
            }
        }
    }

    async fn attempt(&self, twin: &Twin, sent_wrongly: bool) -> Option<StatusCode> {
        let secret = &self.subscription.secret;
        let signature = match sent_wrongly {
            false => sign(secret, &self.event.body),
            true => sign(&format!("not {secret}"), &self.event.body),
        };
        let _turn = twin.background.turn_to_post().await;
        post(
            &self.subscription.target,
            self.event.body.clone(),
            &signature,
        )
        .await
    }
}

/// The pause after this attempt, the first being 1. `None` after the last one.
fn backoff(attempt: u32) -> Option<Duration> {
    if attempt >= MAX_ATTEMPTS {
        return None;
    }
    let doubled = 2_u32.saturating_pow(attempt - 1);
    Some(FIRST_BACKOFF.saturating_mul(doubled).min(MAX_BACKOFF))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_end() {
        let pauses: Vec<_> = (1..).map_while(backoff).collect();
        let milliseconds: Vec<_> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(milliseconds[..7], [100, 200, 400, 800, 1600, 3200, 5000]);
        assert!(milliseconds[7..].iter().all(|pause| *pause == 5000));
        assert_eq!(pauses.len(), MAX_ATTEMPTS as usize - 1);
    }
}
