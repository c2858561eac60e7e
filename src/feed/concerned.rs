//! What a stream with a filter looks at in the present: the records that concern it, and no others.

use std::collections::VecDeque;

use crate::{
    event::{FilterKeys, Position},
    store::{HotTail, Interest, Noted, Page},
};

use super::message::MAX_EVENTS;

/// A stream's way through the present.
pub(super) struct Concerned {
    interest: Interest,
    /// What was noted and not looked at yet.
    due: VecDeque<u64>,
    /// Where the stream stands once nothing is due any more.
    head: Position,
    /// What has to be read one after the other.
    scan: Option<Scan>,
}

/// The records after one, up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) after: u64,
    pub(super) to: u64,
}

/// What to look at next.
pub(super) enum Look {
    /// These, and where the stream stands then, if that is not behind the last of them.
    At(Page, Option<Position>),
    /// All of these: they were not noted, or memory has not got them any more.
    Through(Scan),
    /// Nothing, up to here.
    Nothing(Position),
}

impl Concerned {
    /// For a stream that has passed everything up to `position`.
    pub(super) fn new(tail: &HotTail, keys: FilterKeys, position: Position) -> Self {
        let (interest, head) = tail.follow(keys);
        Concerned {
            interest,
            due: VecDeque::new(),
            head,
            scan: Some(Scan {
                after: position.sequence,
                to: head.sequence,
            }),
        }
    }

    /// What to look at next, after everything up to `sequence` was passed: at most `max_bytes`, or one record.
    pub(super) fn look(&mut self, tail: &HotTail, sequence: u64, max_bytes: usize) -> Look {
        self.pass(sequence);
        if self.scan.is_none() && self.due.is_empty() {
            self.take_noted();
        }
        if let Some(scan) = self.scan {
            return Look::Through(scan);
        }
        if self.due.is_empty() {
            return Look::Nothing(self.head);
        }
        self.due_page(tail, max_bytes)
    }

    /// Whether nothing is left of what was noted before, and something was noted since.
    pub(super) fn has_news(&self) -> bool {
        self.scan.is_none() && self.due.is_empty() && self.interest.has_noted()
    }

    /// Waits until there is something to look at. May return early.
    pub(super) async fn noted(&self) {
        self.interest.noted().await;
    }

    fn pass(&mut self, sequence: u64) {
        if let Some(scan) = &mut self.scan {
            scan.after = scan.after.max(sequence);
            if scan.after >= scan.to {
                self.scan = None;
            }
        }
    }

    fn take_noted(&mut self) {
        let Noted {
            sequences,
            rest_from,
            head,
        } = self.interest.take();
        self.head = head;
        self.due = sequences.into();
        if let Some(first) = rest_from {
            self.scan_from(self.due.front().copied().unwrap_or(first));
        }
    }

    /// As much of what is due as fits in a message.
    fn due_page(&mut self, tail: &HotTail, max_bytes: usize) -> Look {
        let (mut page, mut bytes) = (Page::new(), 0);
        while let Some(&sequence) = self.due.front() {
            if page.len() == MAX_EVENTS {
                return Look::At(page, None);
            }
            let Some(record) = tail.record(sequence) else {
                self.scan_from(sequence);
                return Look::At(page, None);
            };
            bytes += record.size();
            if bytes > max_bytes && !page.is_empty() {
                return Look::At(page, None);
            }
            self.due.pop_front();
            page.push(record);
        }
        Look::At(page, Some(self.head))
    }

    fn scan_from(&mut self, first: u64) {
        self.scan = Some(Scan {
            after: first - 1,
            to: self.head.sequence,
        });
        self.due.clear();
    }
}
