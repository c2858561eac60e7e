//! Which streams an event concerns, so that it wakes those alone.
//!
//! A stream with a filter is entered under the narrowest kind of its values. Every record that is shown is noted for
//! the streams entered under its ids, its type or its group; a stream takes what was noted for it together with the
//! position up to which that is all. So a stream that nothing concerns moves along with the log, and reads nothing.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::Record;
use crate::event::{FilterKeys, Keys, Position};

/// How many records are noted for a stream; of later ones, only that there are some.
const MAX_NOTED: usize = 100;

/// A stream's entry in the index; dropping it takes it out.
#[derive(Debug)]
pub struct Interest {
    index: Arc<Mutex<Index>>,
    number: u64,
    keys: FilterKeys,
    notify: Arc<Notify>,
}

/// What concerns a stream of all that was shown since it asked last. Its other conditions have still to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// These records, in their order.
    pub sequences: Vec<u64>,
    /// From this one on, up to `head`, others: they were too many to note, or were never shown.
    pub rest_from: Option<u64>,
    /// Up to here, that is all.
    pub head: Position,
}

/// All entries. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Interests(Arc<Mutex<Index>>);

#[derive(Debug)]
struct Index {
    screenings: Places,
    subjects: Places,
    types: Places,
    /// With the dot at the end.
    groups: Places,
    entries: HashMap<u64, Entered>,
    last_number: u64,
    /// The position of the record that was shown last.
    head: Position,
    /// Who has something new and was not told yet.
    to_wake: Vec<Arc<Notify>>,
}

/// The numbers of the streams that wait for a word.
type Places = HashMap<Arc<str>, Vec<u64>>;

#[derive(Debug)]
struct Entered {
    sequences: Vec<u64>,
    rest_from: Option<u64>,
    notify: Arc<Notify>,
}

impl Interests {
    /// Without entries, in a log with this head.
    pub(super) fn new(head: Position) -> Self {
        Interests(Arc::new(Mutex::new(Index {
            screenings: Places::new(),
            subjects: Places::new(),
            types: Places::new(),
            groups: Places::new(),
            entries: HashMap::new(),
            last_number: 0,
            head,
            to_wake: Vec::new(),
        })))
    }

    /// Enters a stream. Also says up to where nothing was noted for it.
    pub(super) fn enter(&self, keys: FilterKeys) -> (Interest, Position) {
        let notify = Arc::new(Notify::new());
        let (number, head) = {
            let mut index = lock(&self.0);
            (index.enter(&keys, Arc::clone(&notify)), index.head)
        };
        let interest = Interest {
            index: Arc::clone(&self.0),
            number,
            keys,
            notify,
        };
        (interest, head)
    }

    /// Notes records for those whom they concern, before anybody can know of them.
    pub(super) fn note(&self, records: &[Arc<Record>]) {
        let mut index = lock(&self.0);
        for record in records {
            let next = index.head.sequence + 1;
            if record.sequence != next {
                index.note_unseen(next);
            }
            index.note(record.sequence, &record.keys);
            index.head = record.position();
        }
    }

    /// Wakes whoever has something new.
    pub(super) fn wake(&self) {
        let to_wake = mem::take(&mut lock(&self.0).to_wake);
        for stream in to_wake {
            stream.notify_one();
        }
    }
}

impl Interest {
    /// Waits until something is noted. May return early.
    pub async fn noted(&self) {
        self.notify.notified().await;
    }

    /// Whether something is noted.
    pub fn has_noted(&self) -> bool {
        let index = lock(&self.index);
        let entered = index.entries.get(&self.number);
        entered.is_some_and(Entered::has_noted)
    }

    /// Takes what was noted.
    pub fn take(&self) -> Noted {
        let mut index = lock(&self.index);
        let head = index.head;
        let entered = index.entries.get_mut(&self.number);
        let (sequences, rest_from) = entered
            .map(|entered| (mem::take(&mut entered.sequences), entered.rest_from.take()))
            .expect("it is entered until it is dropped");
        Noted {
            sequences,
            rest_from,
            head,
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        lock(&self.index).leave(&self.keys, self.number);
    }
}

impl Index {
    fn enter(&mut self, keys: &FilterKeys, notify: Arc<Notify>) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        let entered = Entered {
            sequences: Vec::new(),
            rest_from: None,
            notify,
        };
        self.entries.insert(number, entered);
        self.each_place(keys, |places, word| {
            places.entry(Arc::clone(word)).or_default().push(number);
        });
        number
    }

    fn leave(&mut self, keys: &FilterKeys, number: u64) {
        self.entries.remove(&number);
        self.each_place(keys, |places, word| {
            if let Entry::Occupied(mut place) = places.entry(Arc::clone(word)) {
                place.get_mut().retain(|other| *other != number);
                if place.get().is_empty() {
                    place.remove();
                }
            }
        });
    }

    fn each_place(&mut self, keys: &FilterKeys, mut visit: impl FnMut(&mut Places, &Arc<str>)) {
        match keys {
            FilterKeys::Screenings(ids) => {
                ids.iter().for_each(|id| visit(&mut self.screenings, id))
            }
            FilterKeys::Subjects(ids) => ids.iter().for_each(|id| visit(&mut self.subjects, id)),
            FilterKeys::Types { types, groups } => {
                types.iter().for_each(|name| visit(&mut self.types, name));
                groups.iter().for_each(|name| visit(&mut self.groups, name));
            }
        }
    }

    /// Nobody can say whom these records concerned, from the first of them up to the next that is noted.
    fn note_unseen(&mut self, first: u64) {
        for entered in self.entries.values_mut() {
            entered.note_rest(first, &mut self.to_wake);
        }
    }

    fn note(&mut self, sequence: u64, keys: &Keys) {
        let kind = keys.kind.as_str();
        let groups = kind.match_indices('.');
        let groups = groups.filter_map(|(dot, _)| self.groups.get(&kind[..=dot]));
        let concerned = [
            self.screenings.get(keys.screening_id.as_str()),
            self.subjects.get(keys.subject_id.as_str()),
            self.types.get(kind),
        ];
        for number in concerned.into_iter().flatten().chain(groups).flatten() {
            if let Some(entered) = self.entries.get_mut(number) {
                entered.note(sequence, &mut self.to_wake);
            }
        }
    }
}

impl Entered {
    fn has_noted(&self) -> bool {
        !self.sequences.is_empty() || self.rest_from.is_some()
    }

    fn note_rest(&mut self, first: u64, to_wake: &mut Vec<Arc<Notify>>) {
        if !self.has_noted() {
            to_wake.push(Arc::clone(&self.notify));
        }
        self.rest_from.get_or_insert(first);
    }

    fn note(&mut self, sequence: u64, to_wake: &mut Vec<Arc<Notify>>) {
        if self.rest_from.is_some() || self.sequences.last() == Some(&sequence) {
            return;
        }
        match self.sequences.len() {
            MAX_NOTED => self.note_rest(sequence, to_wake),
            noted => {
                if noted == 0 {
                    to_wake.push(Arc::clone(&self.notify));
                }
                self.sequences.push(sequence);
            }
        }
    }
}

fn lock(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    // Every change is whole before anything can panic.
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
