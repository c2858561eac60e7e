//! The polls of a bucket in memory, in the order in which they are due.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{poll_value, unreadable::Unreadable};
use crate::store::Poll;

/// What is known of a bucket's polls. Its size is that of the bucket.
#[derive(Debug, Default)]
pub(super) struct PollList {
    known: HashMap<Arc<str>, Known>,
    by_time: BTreeSet<(Timestamp, Arc<str>)>,
    damaged: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
struct Known {
    revision: u64,
    /// `None` where the value cannot be read.
    poll: Option<Poll>,
}

impl PollList {
    /// Takes a key's value, unless a newer one is known.
    pub(super) fn set(&mut self, key: &str, revision: u64, value: Bytes) {
        if self.revision(key).is_some_and(|known| known >= revision) {
            return;
        }
        self.take(key);
        let key: Arc<str> = key.into();
        let poll = match poll_value::decode(value) {
            Ok(poll) => {
                self.by_time.insert((poll.next_poll, Arc::clone(&key)));
                Some(poll)
            }
            Err(Unreadable::Damaged) => {
                self.damaged.insert(Arc::clone(&key));
                None
            }
            Err(Unreadable::Newer { format }) => {
                tracing::warn!(
                    %key,
                    format,
                    "a poll was written by a newer version of the gateway; this one leaves it alone"
                );
                None
            }
        };
        self.known.insert(key, Known { revision, poll });
    }

    /// Forgets a key that was removed, unless it was set anew since it had this revision.
    pub(super) fn remove(&mut self, key: &str, revision: u64) {
        if self.revision(key) == Some(revision) {
            self.take(key);
        }
    }

    /// The revision of a key that is known.
    pub(super) fn revision(&self, key: &str) -> Option<u64> {
        self.known.get(key).map(|known| known.revision)
    }

    /// The poll of a key, if it has one that can be read.
    pub(super) fn poll(&self, key: &str) -> Option<&Poll> {
        self.known.get(key)?.poll.as_ref()
    }

    /// How many can be read.
    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }

    /// Those that are due after `latest`, and then those that are due first.
    pub(super) fn in_order(&self, latest: Timestamp) -> impl Iterator<Item = &Poll> {
        let after = latest.checked_add(SignedDuration::from_nanos(1)).ok();
        let late = after.map(|after| self.by_time.range((after, Arc::from(""))..));
        let late = late.into_iter().flatten();
        let others = self
            .by_time
            .iter()
            .take_while(move |(due, _)| *due <= latest);
        late.chain(others).filter_map(|(_, key)| self.poll(key))
    }

    /// The keys whose values are damaged.
    pub(super) fn damaged(&self) -> impl Iterator<Item = &str> {
        self.damaged.iter().map(|key| &**key)
    }

    fn take(&mut self, key: &str) {
        let Some((key, known)) = self.known.remove_entry(key) else {
            return;
        };
        if let Some(poll) = known.poll {
            self.by_time.remove(&(poll.next_poll, key));
        } else {
            self.damaged.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn set(list: &mut PollList, id: &str, revision: u64, due: i64) {
        let poll = Poll {
            screening_id: id.to_owned(),
            subject_id: String::new(),
            next_poll: at(due),
            attempts: 0,
            create_time: Timestamp::UNIX_EPOCH,
        };
        let key = poll_value::key(id.as_bytes());
        list.set(&key, revision, poll_value::encode(&poll));
    }

    fn in_order(list: &PollList, latest: i64) -> Vec<&str> {
        let polls = list.in_order(at(latest));
        polls.map(|poll| poll.screening_id.as_str()).collect()
    }

    #[test]
    fn the_newest_value_of_each_key_counts_and_what_is_due_too_far_ahead_comes_first() {
        let mut list = PollList::default();
        for (id, revision, due) in [
            ("a", 1, 30),
            ("b", 2, 10),
            ("c", 3, 90),
            ("d", 4, 91),
            ("b", 5, 40),
        ] {
            set(&mut list, id, revision, due);
        }
        set(&mut list, "a", 1, 1);
        assert_eq!(in_order(&list, 50), ["c", "d", "a", "b"]);
        assert_eq!(in_order(&list, 90), ["d", "a", "b", "c"]);
        assert_eq!(list.in_order(Timestamp::MAX).count(), 4);
        let key = poll_value::key(b"b");
        list.remove(&key, 2);
        assert_eq!(list.len(), 4, "it was set anew since");
        list.remove(&key, 5);
        assert_eq!(in_order(&list, 90), ["d", "a", "c"]);
        assert!(list.poll(&key).is_none() && list.revision(&key).is_none());
    }

    #[test]
    fn a_value_that_is_damaged_or_newer_than_this_gateway_is_never_polled() {
        let mut list = PollList::default();
        set(&mut list, "a", 1, 30);
        let key = poll_value::key(b"a");
        list.set(&key, 2, Bytes::from_static(b"junk"));
        assert_eq!(list.damaged().collect::<Vec<_>>(), [key.as_str()]);
        assert_eq!(list.len(), 0);
        // The field of the format, and a number that nobody has used yet.
        list.set(&key, 3, Bytes::from_static(b"\x40\x7f"));
        assert_eq!(list.damaged().count() + list.len(), 0);
        set(&mut list, "a", 4, 30);
        assert_eq!(list.len(), 1);
    }
}
