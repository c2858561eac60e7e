//! Which streams an event concerns, so that it wakes those alone.
//!
//! A stream with a filter is entered under the narrowest kind of its values. Every record that is shown is noted for
//! the streams entered under its ids, its type or its group; a stream takes what was noted for it together with the
//! position up to which that is all. So a stream that nothing concerns moves along with the log, and reads nothing.
//!
//! The log writer takes the same lock, so an entry leaves without a search: it knows its place in the list of each of
//! its words, and the member that fills that place is told where it is now.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use slab::Slab;
use tokio::sync::Notify;

use super::Record;
use crate::event::{FilterKeys, Keys, Position};

/// How many records are noted for a stream; of later ones, only that there are some.
const MAX_NOTED: usize = 100;

/// A stream's entry in the index; dropping it takes it out.
#[derive(Debug)]
pub struct Interest {
    index: Arc<Mutex<Index>>,
    entry: usize,
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
    /// Which list each word has.
    screenings: Words,
    subjects: Words,
    types: Words,
    /// With the dot at the end.
    groups: Words,
    lists: Slab<List>,
    entries: Slab<Entered>,
    /// The position of the record that was shown last.
    head: Position,
    /// Who has something new and was not told yet.
    to_wake: Vec<Arc<Notify>>,
}

type Words = HashMap<Arc<str>, usize>;

/// What a word is a value of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Screening,
    Subject,
    Type,
    Group,
}

/// The streams that wait for a word; at least one.
#[derive(Debug)]
struct List {
    kind: Kind,
    word: Arc<str>,
    members: Vec<Member>,
}

/// An entry in a list, and which of its places that is.
#[derive(Debug)]
struct Member {
    entry: usize,
    place: usize,
}

/// Where an entry is: at this index of this list.
#[derive(Clone, Copy, Debug)]
struct Place {
    list: usize,
    at: usize,
}

#[derive(Debug)]
struct Entered {
    places: Vec<Place>,
    sequences: Vec<u64>,
    rest_from: Option<u64>,
    notify: Arc<Notify>,
}

impl Interests {
    /// Without entries, in a log with this head.
    pub(super) fn new(head: Position) -> Self {
        Interests(Arc::new(Mutex::new(Index {
            screenings: Words::new(),
            subjects: Words::new(),
            types: Words::new(),
            groups: Words::new(),
            lists: Slab::new(),
            entries: Slab::new(),
            head,
            to_wake: Vec::new(),
        })))
    }

    /// Enters a stream. Also says up to where nothing was noted for it.
    pub(super) fn enter(&self, keys: FilterKeys) -> (Interest, Position) {
        let notify = Arc::new(Notify::new());
        let (entry, head) = {
            let mut index = lock(&self.0);
            (index.enter(&keys, Arc::clone(&notify)), index.head)
        };
        let interest = Interest {
            index: Arc::clone(&self.0),
            entry,
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

    /// Has everybody look at the log again, whatever it has.
    pub(super) fn fail(&self) {
        let mut index = lock(&self.0);
        let newest = index.head.sequence.max(1);
        index.note_unseen(newest);
        drop(index);
        self.wake();
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
        let entered = index.entries.get(self.entry);
        entered.is_some_and(Entered::has_noted)
    }

    /// Takes what was noted.
    pub fn take(&self) -> Noted {
        let mut index = lock(&self.index);
        let head = index.head;
        let entered = index.entries.get_mut(self.entry);
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
        let left = lock(&self.index).leave(self.entry);
        // Frees the memory after the lock is released.
        drop(left);
    }
}

impl Index {
    fn enter(&mut self, keys: &FilterKeys, notify: Arc<Notify>) -> usize {
        let entry = self.entries.insert(Entered {
            places: Vec::new(),
            sequences: Vec::new(),
            rest_from: None,
            notify,
        });
        match keys {
            FilterKeys::Screenings(ids) => self.join_each(entry, Kind::Screening, ids),
            FilterKeys::Subjects(ids) => self.join_each(entry, Kind::Subject, ids),
            FilterKeys::Types { types, groups } => {
                self.join_each(entry, Kind::Type, types);
                self.join_each(entry, Kind::Group, groups);
            }
        }
        entry
    }

    fn join_each(&mut self, entry: usize, kind: Kind, words: &[Arc<str>]) {
        self.entries[entry].places.reserve_exact(words.len());
        for word in words {
            let list = self.list_of(kind, word);
            let places = &mut self.entries[entry].places;
            let members = &mut self.lists[list].members;
            let place = Place {
                list,
                at: members.len(),
            };
            members.push(Member {
                entry,
                place: places.len(),
            });
            places.push(place);
        }
    }

    fn list_of(&mut self, kind: Kind, word: &Arc<str>) -> usize {
        if let Some(list) = self.words(kind).get(word) {
            return *list;
        }
        let list = self.lists.insert(List {
            kind,
            word: Arc::clone(word),
            members: Vec::new(),
        });
        self.words(kind).insert(Arc::clone(word), list);
        list
    }

    fn words(&mut self, kind: Kind) -> &mut Words {
        match kind {
            Kind::Screening => &mut self.screenings,
            Kind::Subject => &mut self.subjects,
            Kind::Type => &mut self.types,
            Kind::Group => &mut self.groups,
        }
    }

    /// Takes a bounded number of steps for each word of the entry, however many entries share the word.
    fn leave(&mut self, entry: usize) -> Entered {
        for place in 0..self.entries[entry].places.len() {
            // Not copied before: the entry can be in one list twice, and be moved there itself.
            let Place { list, at } = self.entries[entry].places[place];
            let members = &mut self.lists[list].members;
            members.swap_remove(at);
            if let Some(moved) = members.get(at) {
                self.entries[moved.entry].places[moved.place].at = at;
            } else if members.is_empty() {
                let List { kind, word, .. } = self.lists.remove(list);
                self.words(kind).remove(&word);
            }
        }
        self.entries.remove(entry)
    }

    /// Nobody can say whom these records concerned, from the first of them up to the next that is noted.
    fn note_unseen(&mut self, first: u64) {
        for (_, entered) in &mut self.entries {
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
        for list in concerned.into_iter().flatten().chain(groups) {
            for member in &self.lists[*list].members {
                self.entries[member.entry].note(sequence, &mut self.to_wake);
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
