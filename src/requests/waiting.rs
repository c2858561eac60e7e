//! Those who wait for one call: its own caller, and who joined it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::settled::Settled;

/// All of them. Their number is bounded by that of the joins. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<watch::Sender<Present>>);

#[derive(Default)]
struct Present {
    last_number: u64,
    /// Until when each of them waits.
    until: BTreeMap<u64, Instant>,
    /// What they are answered if the call takes longer than they wait.
    interim: Option<Settled>,
}

/// One who waits, until this is dropped.
pub(super) struct Waiter {
    waiting: Waiting,
    number: u64,
}

impl Waiting {
    /// Somebody waits until then.
    pub(super) fn enter(&self, until: Instant) -> Waiter {
        let mut number = 0;
        self.0.send_modify(|present| {
            present.last_number += 1;
            number = present.last_number;
            present.until.insert(number, until);
        });
        Waiter {
            waiting: self.clone(),
            number,
        }
    }

    /// Until when the last of them waits; `None` if nobody does.
    pub(super) fn latest(&self) -> Option<Instant> {
        self.0.borrow().until.values().max().copied()
    }

    /// Ends when nobody waits any more, or so long before the last of them has to be answered.
    pub(super) async fn is_over(&self, reserve: Duration) {
        let mut changes = self.0.subscribe();
        loop {
            let latest = changes.borrow_and_update().until.values().max().copied();
            let Some(latest) = latest else {
                return;
            };
            tokio::select! {
                () = sleep_until(latest.checked_sub(reserve).unwrap_or(latest)) => return,
                // The sender is held here.
                _ = changes.changed() => {}
            }
        }
    }

    /// From now on, whoever waits too short for the end gets this answer.
    pub(super) fn tell_interim(&self, answer: Settled) {
        self.0.send_modify(|present| present.interim = Some(answer));
    }

    /// What whoever waits too short for the end is answered, where that is known.
    pub(super) fn interim(&self) -> Option<Settled> {
        self.0.borrow().interim.clone()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let number = self.number;
        self.waiting.0.send_modify(|present| {
            present.until.remove(&number);
        });
    }
}
