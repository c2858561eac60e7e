//! How many of the recent calls failed, of each caller.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

/// How far back calls count.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Calls that end within this time of each other are kept, and forgotten, together. It bounds the memory,
/// whatever the load: a window holds about a hundred slots, and each a tally for each caller that called in it.
pub(super) const SLOT: Duration = Duration::from_millis(100);

/// The calls of the last ten seconds, to within a slot.
#[derive(Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    all: Tallies,
}

struct Slot {
    since: Instant,
    tallies: Tallies,
}

/// By caller, and in sum.
#[derive(Default)]
struct Tallies {
    by_caller: HashMap<Arc<str>, Tally>,
    /// Those of the callers together.
    callers: Tally,
    /// All, those that no caller made included.
    sum: Tally,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    calls: u32,
    failures: u32,
}

impl Window {
    /// Counts a call that ended at `now`, which never goes back, and forgets those that are too old. `caller` is `None`
    /// for the gateway's own.
    pub(super) fn record(&mut self, now: Instant, caller: Option<&Arc<str>>, is_failure: bool) {
        while let Some(oldest) = self.slots.pop_front_if(|slot| slot.since + WINDOW <= now) {
            self.all.subtract(&oldest.tallies);
        }
        if self
            .slots
            .back()
            .is_none_or(|newest| newest.since + SLOT <= now)
        {
            self.slots.push_back(Slot {
                since: now,
                tallies: Tallies::default(),
            });
        }
        let newest = self.slots.back_mut().map(|slot| &mut slot.tallies);
        for tallies in newest.into_iter().chain([&mut self.all]) {
            tallies.add(caller, is_failure);
        }
    }

    /// How many calls there were when the last one was recorded.
    pub(super) fn calls(&self) -> u32 {
        self.all.sum.calls
    }

    /// Whether at least half of them failed, and also of the callers' without those of any one caller.
    pub(super) fn is_half_failures(&self) -> bool {
        let all = &self.all;
        let is_without = |one: &Tally| all.callers.without(*one).is_half_failures();
        all.sum.is_half_failures() && all.by_caller.values().all(is_without)
    }

    /// Whether a call of another caller succeeded.
    pub(super) fn has_success_besides(&self, caller: &str) -> bool {
        let own = self.all.by_caller.get(caller).copied().unwrap_or_default();
        let others = self.all.callers.without(own);
        others.failures < others.calls
    }
}

impl Tallies {
    fn add(&mut self, caller: Option<&Arc<str>>, is_failure: bool) {
        self.sum.add(is_failure);
        if let Some(caller) = caller {
            self.callers.add(is_failure);
            let own = self.by_caller.entry(Arc::clone(caller)).or_default();
            own.add(is_failure);
        }
    }

    fn subtract(&mut self, old: &Tallies) {
        self.sum = self.sum.without(old.sum);
        self.callers = self.callers.without(old.callers);
        for (caller, tally) in &old.by_caller {
            if let Some(own) = self.by_caller.get_mut(caller) {
                *own = own.without(*tally);
                if own.calls == 0 {
                    self.by_caller.remove(caller);
                }
            }
        }
    }
}

impl Tally {
    fn add(&mut self, is_failure: bool) {
        self.calls += 1;
        self.failures += u32::from(is_failure);
    }

    fn without(self, part: Tally) -> Tally {
        Tally {
            calls: self.calls - part.calls,
            failures: self.failures - part.failures,
        }
    }

    fn is_half_failures(self) -> bool {
        self.failures >= self.calls.div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times do not pass, they are made up.
    fn window(calls: impl IntoIterator<Item = (Duration, bool)>) -> Window {
        let (start, caller) = (Instant::now(), "a".into());
        let mut window = Window::default();
        for (at, is_failure) in calls {
            window.record(start + at, Some(&caller), is_failure);
        }
        window
    }

    #[test]
    fn a_call_is_forgotten_when_the_window_has_passed() {
        let last = |at| {
            let first = (Duration::ZERO, true);
            let window = window([first, (WINDOW / 2, false), (at, false)]);
            (window.calls(), window.all.sum.failures)
        };
        assert_eq!(last(WINDOW - Duration::from_millis(1)), (3, 1));
        assert_eq!(last(WINDOW), (2, 0));
        assert_eq!(last(WINDOW * 2), (1, 0));
    }

    #[test]
    fn half_is_rounded_up() {
        for (failures, successes, is_half) in [(1, 1, true), (1, 2, false), (2, 1, true)] {
            let calls = [(true, failures), (false, successes)];
            let calls = calls.into_iter().flat_map(|(is_failure, count)| {
                std::iter::repeat_n((Duration::ZERO, is_failure), count)
            });
            assert_eq!(window(calls).is_half_failures(), is_half, "{failures}");
        }
    }

    #[test]
    fn memory_is_bounded_whatever_the_load() {
        let calls = (0..50_000).map(|at| (Duration::from_millis(at), at % 3 == 0));
        let window = window(calls);
        let slots = WINDOW.as_millis() / SLOT.as_millis() + 1;
        assert!(window.slots.len() as u128 <= slots);
        let expected = WINDOW.as_millis() as u32;
        let missing = expected - window.calls();
        assert!(missing <= SLOT.as_millis() as u32, "{missing}");
    }

    #[test]
    fn callers_that_have_stopped_are_forgotten() {
        let start = Instant::now();
        let mut window = Window::default();
        for number in 0..100_u32 {
            let caller = format!("caller {number}").into();
            window.record(start + WINDOW * number, Some(&caller), true);
        }
        assert_eq!(window.all.by_caller.len(), 1);
        assert!(!window.has_success_besides("caller 99"));
    }
}
