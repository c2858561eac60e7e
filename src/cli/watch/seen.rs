//! Which events were printed already.

use std::collections::{HashSet, VecDeque};

/// How many of the newest ids are remembered: more than one message brings, and only events around a
/// reconnect can come twice.
pub(super) const REMEMBERED: usize = 10_000;

/// The ids of the newest events.
#[derive(Default)]
pub(super) struct Seen {
    ids: HashSet<String>,
    oldest_first: VecDeque<String>,
}

impl Seen {
    /// Remembers the id; `false` if it is known already. An empty id names nothing, so it is always new.
    pub(super) fn is_new(&mut self, id: &str) -> bool {
        if id.is_empty() {
            return true;
        }
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.oldest_first.push_back(id.to_owned());
        if self.oldest_first.len() > REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered_and_no_more() {
        let mut seen = Seen::default();
        for number in 0..=REMEMBERED {
            assert!(seen.is_new(&number.to_string()));
        }
        assert!(!seen.is_new("1"), "the oldest that is remembered");
        assert!(seen.is_new("0"), "one too old");
        assert_eq!(seen.ids.len(), REMEMBERED);
        assert_eq!(seen.oldest_first.len(), REMEMBERED);
    }

    #[test]
    fn events_without_an_id_are_no_doubles() {
        let mut seen = Seen::default();
        assert!(seen.is_new("") && seen.is_new(""));
    }
}
