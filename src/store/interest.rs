//! Which streams an event concerns, so that it wakes those alone.
//!
//! A stream with a filter is entered under the narrowest kind of its values. Every record that is shown is noted for
//! the streams entered under its ids, its type or its group; a stream takes what was noted for it together with the
//! position up to which that is all. So a stream that nothing concerns moves along with the log, and reads nothing.
//!
//! Streams with equal values form one group, which is in the lists of its words once, however many streams it has. A
//! word is known by its hash: one that has another word's hash wakes streams that then find that the record is not for
//! them.
//!
//! The log writer takes the same lock, so a stream and a group leave without a search: each knows its place in the lists
//! that it is in, and the member that fills that place is told where it is now.

mod members;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use slab::Slab;
use tokio::sync::Notify;

use members::{Left, Member, Members};

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
    /// Which list each word has, by the word's hash.
    words: HashMap<u64, u32>,
    lists: Slab<List>,
    /// Which group streams with these values are in.
    keys: HashMap<FilterKeys, usize>,
    groups: Slab<Group>,
    entries: Slab<Entered>,
    hasher: RandomState,
    /// The position of the record that was shown last.
    head: Position,
    /// Who has something new and was not told yet.
    to_wake: Vec<Arc<Notify>>,
}

/// What a word is a value of.
#[derive(Clone, Copy, Debug, Hash)]
enum Kind {
    Screening,
    Subject,
    Type,
    Group,
}

/// The groups that wait for a word; at least one.
#[derive(Debug)]
struct List {
    hash: u64,
    members: Members,
}

/// Where a group is: at this index of this list.
#[derive(Clone, Copy, Debug)]
struct Place {
    list: u32,
    at: u32,
}

/// The streams that wait for the same words; at least one.
#[derive(Debug)]
struct Group {
    keys: FilterKeys,
    places: Box<[Place]>,
    entries: Vec<usize>,
}

#[derive(Debug)]
struct Entered {
    group: usize,
    /// Where it is among the group's.
    at: usize,
    sequences: Vec<u64>,
    rest_from: Option<u64>,
    notify: Arc<Notify>,
}

impl Interests {
    /// Without entries, in a log with this head.
    pub(super) fn new(head: Position) -> Self {
        Interests(Arc::new(Mutex::new(Index {
            words: HashMap::new(),
            lists: Slab::new(),
            keys: HashMap::new(),
            groups: Slab::new(),
            entries: Slab::new(),
            hasher: RandomState::new(),
            head,
            to_wake: Vec::new(),
        })))
    }

    /// Enters a stream. Also says up to where nothing was noted for it.
    pub(super) fn enter(&self, keys: FilterKeys) -> (Interest, Position) {
        let notify = Arc::new(Notify::new());
        let (entry, head) = {
            let mut index = lock(&self.0);
            (index.enter(keys, Arc::clone(&notify)), index.head)
        };
        let interest = Interest {
            index: Arc::clone(&self.0),
            entry,
            notify,
        };
        (interest, head)
    }

    /// Notes records for those whom they concern, before anybody can know of them.
    pub(super) fn note<'a>(&self, records: impl IntoIterator<Item = &'a Arc<Record>>) {
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
    fn enter(&mut self, keys: FilterKeys, notify: Arc<Notify>) -> usize {
        let group = match self.keys.get(&keys) {
            Some(group) => *group,
            None => self.add_group(keys),
        };
        let entries = &mut self.groups[group].entries;
        let entry = self.entries.insert(Entered {
            group,
            at: entries.len(),
            sequences: Vec::new(),
            rest_from: None,
            notify,
        });
        entries.push(entry);
        entry
    }

    fn add_group(&mut self, keys: FilterKeys) -> usize {
        let group = self.groups.insert(Group {
            keys: keys.clone(),
            places: Box::default(),
            entries: Vec::new(),
        });
        let mut places = Vec::with_capacity(words_of(&keys).count());
        for (kind, word) in words_of(&keys) {
            let member = Member {
                group: group as u32,
                place: places.len() as u32,
            };
            places.push(self.join(kind, word, member));
        }
        self.groups[group].places = places.into();
        self.keys.insert(keys, group);
        group
    }

    fn join(&mut self, kind: Kind, word: &str, member: Member) -> Place {
        let hash = self.hash(kind, word);
        let (list, at) = match self.words.get(&hash) {
            Some(list) => (*list, self.lists[*list as usize].members.push(member)),
            None => {
                let members = Members::One(member);
                let list = self.lists.insert(List { hash, members }) as u32;
                self.words.insert(hash, list);
                (list, 0)
            }
        };
        Place {
            list,
            at: at as u32,
        }
    }

    fn hash(&self, kind: Kind, word: &str) -> u64 {
        self.hasher.hash_one((kind, word))
    }

    /// Takes a bounded number of steps; the last stream of a group, for each word.
    fn leave(&mut self, entry: usize) -> (Entered, Option<Group>) {
        let left = self.entries.remove(entry);
        let entries = &mut self.groups[left.group].entries;
        entries.swap_remove(left.at);
        if let Some(moved) = entries.get(left.at) {
            self.entries[*moved].at = left.at;
        }
        let is_last = self.groups[left.group].entries.is_empty();
        let group = is_last.then(|| self.remove_group(left.group));
        (left, group)
    }

    fn remove_group(&mut self, group: usize) -> Group {
        for place in 0..self.groups[group].places.len() {
            // Not copied before: two words of the group can share a list, and the group be moved there itself.
            let Place { list, at } = self.groups[group].places[place];
            match self.lists[list as usize].members.swap_remove(at as usize) {
                Left::Moved(moved) => {
                    self.groups[moved.group as usize].places[moved.place as usize].at = at;
                }
                Left::Last => {}
                Left::Nobody => {
                    let List { hash, .. } = self.lists.remove(list as usize);
                    self.words.remove(&hash);
                }
            }
        }
        let group = self.groups.remove(group);
        self.keys.remove(&group.keys);
        group
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
        let words = groups.map(|(dot, _)| (Kind::Group, &kind[..=dot])).chain([
            (Kind::Screening, keys.screening_id.as_str()),
            (Kind::Subject, keys.subject_id.as_str()),
            (Kind::Type, kind),
        ]);
        for (kind, word) in words {
            let Some(list) = self.words.get(&self.hash(kind, word)) else {
                continue;
            };
            for member in self.lists[*list as usize].members.as_slice() {
                for entry in &self.groups[member.group as usize].entries {
                    self.entries[*entry].note(sequence, &mut self.to_wake);
                }
            }
        }
    }
}

fn words_of(keys: &FilterKeys) -> impl Iterator<Item = (Kind, &str)> {
    let (one, other) = match keys {
        FilterKeys::Screenings(ids) => ((Kind::Screening, ids), None),
        FilterKeys::Subjects(ids) => ((Kind::Subject, ids), None),
        FilterKeys::Types { types, groups } => ((Kind::Type, types), Some((Kind::Group, groups))),
    };
    let lists = std::iter::once(one).chain(other);
    lists.flat_map(|(kind, words)| words.iter().map(move |word| (kind, word)))
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
