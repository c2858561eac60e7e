//! The hold that a waiting side has on its call: whether something of it is on its way to Kora, and the way
//! to take it back.
//!
//! A call that was sent is not cut when its caller goes away; one that was not sent yet ends at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::transmission::Transmission;
use crate::error::{CallError, Reason};

/// One call's. Clones share it.
#[derive(Clone, Default)]
pub struct Departure(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    given_up: CancellationToken,
}

#[derive(Default)]
struct State {
    attempt: Option<Transmission>,
    given_up: Option<GivenUp>,
    unknown_for: Option<Reason>,
}

/// Why nobody waits any more for what was not sent yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// The caller's deadline is here, or the caller has gone.
    CallerGone,
    /// The gateway is stopping.
    Stopping,
}

/// An attempt that counts as on its way from when its body is asked for, until it is over.
pub(super) struct Attempt<'a> {
    departure: &'a Departure,
    pub(super) transmission: Transmission,
}

impl Departure {
    /// Nothing more is to be sent. True: nothing is on its way, and the call ends at once. False: an answer is
    /// still to come, or is here.
    pub fn give_up(&self, why: GivenUp) -> bool {
        let attempt = {
            let mut state = self.state();
            state.given_up.get_or_insert(why);
            state.attempt.clone()
        };
        let is_taken_back = attempt.is_none_or(|attempt| attempt.revoke());
        self.0.given_up.cancel();
        is_taken_back
    }

    /// From now on nobody knows whether the call happened, whatever becomes of the attempts that follow.
    pub fn is_unknown_for(&self, reason: Reason) {
        self.state().unknown_for = Some(reason);
    }

    /// Why nobody knows whether the call happened, if that is so already.
    pub fn unknown_for(&self) -> Option<Reason> {
        self.state().unknown_for
    }

    /// Waits until nobody waits any more, and says what the caller is told of a call that was never sent.
    pub async fn given_up(&self) -> CallError {
        self.0.given_up.cancelled().await;
        self.error()
    }

    /// Whether nobody waits any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.0.given_up.is_cancelled()
    }

    /// A new attempt, unless nobody waits for it.
    pub(super) fn attempt(&self) -> Result<Attempt<'_>, CallError> {
        let mut state = self.state();
        if state.given_up.is_some() {
            drop(state);
            return Err(self.error());
        }
        let transmission = Transmission::default();
        state.attempt = Some(transmission.clone());
        Ok(Attempt {
            departure: self,
            transmission,
        })
    }

    fn error(&self) -> CallError {
        match self.state().given_up {
            Some(GivenUp::Stopping) => CallError::draining(),
            Some(GivenUp::CallerGone) | None => Reason::DeadlineBeforeSend.into(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attempt<'_> {
    /// Nothing of it leaves any more, and it is over.
    fn drop(&mut self) {
        self.transmission.revoke();
        self.departure.state().attempt = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_on_its_way_is_not_taken_back() {
        let departure = Departure::default();
        let attempt = departure.attempt().ok().unwrap();
        let mut body = attempt.transmission.body("{}".into());
        let asked_for = std::future::poll_fn(|cx| {
            http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx)
        });
        assert!(asked_for.await.unwrap().is_ok());
        assert!(!departure.give_up(GivenUp::CallerGone));
        drop(attempt);
        // Its answer is here; there is no other attempt.
        assert!(departure.give_up(GivenUp::Stopping));
        assert!(departure.attempt().is_err());
        let error = departure.given_up().await;
        assert_eq!(
            error.reason,
            Reason::DeadlineBeforeSend,
            "the first reason stays"
        );
    }

    #[tokio::test]
    async fn what_was_not_sent_never_is() {
        let departure = Departure::default();
        let attempt = departure.attempt().ok().unwrap();
        assert!(departure.give_up(GivenUp::Stopping));
        assert!(attempt.transmission.revoke(), "it was taken back");
        assert_eq!(departure.given_up().await.reason, Reason::GatewayDraining);
    }
}
