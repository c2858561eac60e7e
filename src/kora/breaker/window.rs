//! How many of the recent calls failed.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How far back calls count.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Calls that end within this time of each other are kept, and forgotten, together. It bounds the memory,
/// whatever the load: a window holds about a hundred slots.
pub(super) const SLOT: Duration = Duration::from_millis(100);

/// The calls of the last ten seconds, to within a slot.
#[derive(Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    all: Tally,
}

struct Slot {
    since: Instant,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    calls: u32,
    failures: u32,
}

impl Window {
    /// Counts a call that ended at `now`, which never goes back, and forgets those that are too old.
    pub(super) fn record(&mut self, now: Instant, is_failure: bool) {
        while let Some(oldest) = self.slots.pop_front_if(|slot| slot.since + WINDOW <= now) {
            self.all.calls -= oldest.tally.calls;
            self.all.failures -= oldest.tally.failures;
        }
        if self
            .slots
            .back()
            .is_none_or(|newest| newest.since + SLOT <= now)
        {
            self.slots.push_back(Slot {
                since: now,
                tally: Tally::default(),
            });
        }
        let newest = self.slots.back_mut().map(|slot| &mut slot.tally);
        for tally in newest.into_iter().chain([&mut self.all]) {
            tally.calls += 1;
            tally.failures += u32::from(is_failure);
        }
    }

    /// How many calls there were when the last one was recorded.
    pub(super) fn calls(&self) -> u32 {
        self.all.calls
    }

    /// Whether at least half of them failed.
    pub(super) fn is_half_failures(&self) -> bool {
        self.all.failures >= self.all.calls.div_ceil(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times do not pass, they are made up.
    fn window(calls: impl IntoIterator<Item = (Duration, bool)>) -> Window {
        let start = Instant::now();
        let mut window = Window::default();
        for (at, is_failure) in calls {
            window.record(start + at, is_failure);
        }
        window
    }

    #[test]
    fn a_call_is_forgotten_when_the_window_has_passed() {
        let last = |at| {
            let first = (Duration::ZERO, true);
            let window = window([first, (WINDOW / 2, false), (at, false)]);
            (window.calls(), window.all.failures)
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
}
