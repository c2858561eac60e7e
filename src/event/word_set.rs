//! A set of words that takes little more memory than their letters, and that streams with equal filters share.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use crate::memory::{Allowance, Charge, FREE_BYTES};

/// What the index of streams takes for each word, roughly: a place in a hash table, a list, and the word's place in it.
const INDEX_BYTES_PER_WORD: usize = 100;

/// Words in their order, none twice. Clones share them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WordSet(Option<Arc<Words>>);

struct Words {
    /// One after the other.
    text: Box<str>,
    /// Where each ends.
    ends: Box<[u32]>,
    charge: OnceLock<Charge>,
}

/// The sets that are in use, so that equal ones are kept once. Clones share them.
#[derive(Clone, Default)]
pub struct SharedWordSets {
    sets: Arc<Mutex<HashMap<u64, Weak<Words>>>>,
    hasher: RandomState,
}

/// There is no memory for one more set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoomForFilter;

impl WordSet {
    /// Whether it has no words.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many words it has.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |words| words.ends.len())
    }

    /// Whether it has this word.
    pub fn contains(&self, word: &str) -> bool {
        self.0.as_ref().is_some_and(|words| words.contains(word))
    }

    /// The words.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let words = self.0.iter();
        words.flat_map(|words| (0..words.ends.len()).map(|at| words.at(at)))
    }

    /// How much memory it takes, its place in the index of streams included.
    fn cost(&self) -> usize {
        let text = self.0.as_ref().map_or(0, |words| words.text.len());
        text + self.len() * (size_of::<u32>() + INDEX_BYTES_PER_WORD)
    }
}

impl Words {
    fn at(&self, at: usize) -> &str {
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[begin as usize..self.ends[at] as usize]
    }

    fn contains(&self, word: &str) -> bool {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).cmp(word) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }
}

impl SharedWordSets {
    /// Replaces a set by an equal one that is in use. A large one that is new is charged to `memory` as long as it is in
    /// use.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn share(&self, set: &mut WordSet, memory: &Allowance) -> Result<(), NoRoomForFilter> {
        let Some(words) = &set.0 else {
            return Ok(());
        };
        let hash = self.hasher.hash_one(words);
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sets.get(&hash).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known == words) {
            set.0 = Some(known);
            return Ok(());
        }
        let cost = set.cost();
        if cost > FREE_BYTES {
            let charge = memory.try_charge(cost).ok_or(NoRoomForFilter)?;
            let _ = words.charge.set(charge);
        }
        // Grows only after all that have gone are removed.
        if sets.len() == sets.capacity() {
            sets.retain(|_, known| known.strong_count() > 0);
        }
        sets.insert(hash, Arc::downgrade(words));
        Ok(())
    }
}

impl<S: AsRef<str>> FromIterator<S> for WordSet {
    fn from_iter<I: IntoIterator<Item = S>>(words: I) -> Self {
        let mut words: Vec<_> = words.into_iter().collect();
        words.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        words.dedup_by(|one, other| one.as_ref() == other.as_ref());
        let (mut text, mut ends) = (String::new(), Vec::with_capacity(words.len()));
        for word in words {
            text.push_str(word.as_ref());
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
        let is_empty = ends.is_empty();
        let words = Words {
            text: text.into(),
            ends: ends.into(),
            charge: OnceLock::new(),
        };
        WordSet((!is_empty).then(|| Arc::new(words)))
    }
}

impl PartialEq for Words {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (self.text == other.text && self.ends == other.ends)
    }
}

impl Eq for Words {}

impl Hash for Words {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
        self.ends.hash(state);
    }
}

impl Hash for WordSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Without the words: they can be personal data.
impl fmt::Debug for WordSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "WordSet({})", self.len())
    }
}

impl fmt::Debug for SharedWordSets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SharedWordSets(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Budget;

    fn set(words: &[&str]) -> WordSet {
        words.iter().collect()
    }

    #[test]
    fn a_set_has_its_words_and_no_others() {
        let words = set(&["b", "", "abc", "b", "ab", "\u{e9}"]);
        assert_eq!(
            words.iter().collect::<Vec<_>>(),
            ["", "ab", "abc", "b", "\u{e9}"]
        );
        assert!(words.iter().all(|word| words.contains(word)));
        for other in ["a", "abcd", "bc", "aba", "\u{e8}", "ab\u{e9}"] {
            assert!(!words.contains(other), "{other}");
        }
        assert!(!set(&[]).contains("") && set(&[]).is_empty());
        // The same letters, cut at another place.
        assert_ne!(set(&["ab", "c"]), set(&["a", "bc"]));
    }

    #[test]
    fn equal_sets_are_kept_and_charged_once() {
        let budget = Budget::new(64 << 20);
        let memory = budget.allowances_of_filters().of(&"caller".into(), 1);
        let (shared, pool) = (SharedWordSets::default(), &budget.filters);
        let large = || -> WordSet { (0..1000).map(|number| number.to_string()).collect() };
        let (mut one, mut other, mut small) = (large(), large(), set(&["a"]));
        for set in [&mut one, &mut small, &mut other] {
            assert_eq!(shared.share(set, &memory), Ok(()));
        }
        let charged = pool.used();
        assert!(charged >= one.cost() && charged < 2 * one.cost());
        drop(one);
        assert_eq!(pool.used(), charged);
        drop(other);
        assert_eq!(pool.used(), 0);
        let all = memory.try_charge(pool.size()).unwrap();
        assert_eq!(shared.share(&mut large(), &memory), Err(NoRoomForFilter));
        assert_eq!(shared.share(&mut set(&["b"]), &memory), Ok(()));
        drop(all);
        assert_eq!(shared.share(&mut large(), &memory), Ok(()));
    }
}
