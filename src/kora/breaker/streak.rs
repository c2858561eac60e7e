//! Failures in a row, and whose they are.

use std::{collections::HashMap, sync::Arc};

use super::window::Window;

/// How many failures in a row open the circuit.
pub(super) const MAX_FAILURES: u32 = 10;

/// How many of them may be one caller's while calls of other callers succeed.
pub(super) const MAX_FAILURES_OF_ONE: u32 = MAX_FAILURES / 2;

/// The failures since the last success.
#[derive(Default)]
pub(super) struct Streak {
    by_caller: HashMap<Arc<str>, u32>,
    /// The gateway's own.
    polls: u32,
}

impl Streak {
    /// Counts a call. A success ends the streak.
    pub(super) fn record(&mut self, caller: Option<&Arc<str>>, is_failure: bool) {
        if !is_failure {
            *self = Streak::default();
            return;
        }
        let failures = match caller {
            Some(caller) => self.by_caller.entry(Arc::clone(caller)).or_default(),
            None => &mut self.polls,
        };
        *failures = failures.saturating_add(1);
    }

    /// Whether there are enough of them. Those of one caller beyond its part do not count while calls of others succeed:
    /// then it is not Kora that is down.
    pub(super) fn is_long(&self, recent: &Window) -> bool {
        let sum = |most: u32| {
            let counted = self.by_caller.values().map(|failures| *failures.min(&most));
            counted.fold(self.polls, u32::saturating_add)
        };
        if sum(u32::MAX) < MAX_FAILURES {
            return false;
        }
        let mut beyond = self.by_caller.iter();
        let beyond = beyond.find(|(_, failures)| **failures > MAX_FAILURES_OF_ONE);
        sum(MAX_FAILURES_OF_ONE) >= MAX_FAILURES
            || beyond.is_none_or(|(caller, _)| !recent.has_success_besides(caller))
    }
}
