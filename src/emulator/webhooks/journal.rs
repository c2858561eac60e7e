//! What became of each delivery.

use std::collections::VecDeque;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::event::Event;

/// Deliveries listed. Older ones are counted as dropped from the list.
const MAX_LISTED: usize = 1_000;

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Progress {
    /// Its next attempt is waiting or under way.
    Pending,
    /// It was answered 200.
    Delivered,
    /// No attempt was answered 200, and there is no further one.
    GivenUp,
    /// Nothing was sent, by command.
    Withheld,
    /// Nothing was sent: too much was pending.
    Overflowed,
}

/// One delivery: one copy of an event for one subscription.
#[derive(Serialize)]
pub(super) struct Entry {
    number: u64,
    subscription_id: String,
    event: String,
    /// `null` where the event has none.
    id: Option<String>,
    progress: Progress,
    /// Posts so far.
    attempts: u32,
    /// The answer to the last attempt. `null` where none came.
    status: Option<u16>,
}

/// The newest deliveries, by their numbers: the first is 0, the next one 1, and so on.
#[derive(Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    dropped: u64,
}

impl Journal {
    /// Lists a new delivery and returns its number.
    pub(super) fn open(&mut self, subscription_id: &str, event: &Event, progress: Progress) -> u64 {
        if self.entries.len() == MAX_LISTED {
            self.entries.pop_front();
            self.dropped += 1;
        }
        let number = self.dropped + self.entries.len() as u64;
        self.entries.push_back(Entry {
            number,
            subscription_id: subscription_id.to_owned(),
            event: event.name.clone(),
            id: event.id.clone(),
            progress,
            attempts: 0,
            status: None,
        });
        number
    }

    /// Notes an attempt. `status` is its answer, where one came.
    pub(super) fn note(&mut self, number: u64, status: Option<StatusCode>, progress: Progress) {
        if let Some(entry) = self.entry_mut(number) {
            entry.attempts += 1;
            entry.status = status.map(|status| status.as_u16());
            entry.progress = progress;
        }
    }

    /// Notes that there was no room for the delivery.
    pub(super) fn overflow(&mut self, number: u64) {
        if let Some(entry) = self.entry_mut(number) {
            entry.progress = Progress::Overflowed;
        }
    }

    /// The list, oldest first, and how many older ones it lost.
    pub(super) fn json(&self) -> Value {
        json!({ "deliveries": self.entries, "dropped": self.dropped })
    }

    /// An entry that is too old is no longer there.
    fn entry_mut(&mut self, number: u64) -> Option<&mut Entry> {
        let index = usize::try_from(number.checked_sub(self.dropped)?).ok()?;
        self.entries.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_keeps_the_newest_and_finds_them_by_number() {
        let mut journal = Journal::default();
        let event = Event::raw("case.created", None, "any".to_owned());
        for number in 0..MAX_LISTED as u64 + 2 {
            let opened = journal.open("wh_1", &event, Progress::Pending);
            assert_eq!(opened, number);
        }
        let last = MAX_LISTED as u64 + 1;
        journal.note(1, Some(StatusCode::OK), Progress::Delivered);
        journal.note(last, Some(StatusCode::BAD_GATEWAY), Progress::Pending);
        journal.note(last, None, Progress::GivenUp);
        journal.overflow(2);
        let list = journal.json();
        assert_eq!(list["dropped"], 2);
        let entries = list["deliveries"].as_array().unwrap();
        assert_eq!(entries.len(), MAX_LISTED);
        let fresh = |number: u64, progress: &str, attempts: u32| {
            json!({
                "number": number, "subscription_id": "wh_1", "event": "case.created", "id": null,
                "progress": progress, "attempts": attempts, "status": null,
            })
        };
        assert_eq!(entries[0], fresh(2, "overflowed", 0));
        assert_eq!(entries[1], fresh(3, "pending", 0));
        assert_eq!(entries[MAX_LISTED - 1], fresh(last, "given_up", 2));
    }
}
