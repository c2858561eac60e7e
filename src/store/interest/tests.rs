//! The index, by itself.

use super::*;
use crate::{
    event::{LogId, WordSet},
    store::{Bounds, HotTail, record::tests::event},
};

fn tail() -> HotTail {
    HotTail::new(Bounds::default())
}

fn words(words: &[&str]) -> WordSet {
    words.iter().collect()
}

fn subject(id: &str) -> FilterKeys {
    FilterKeys::Subjects(words(&[id]))
}

fn show(tail: &HotTail, subjects: &[&str]) {
    for subject in subjects {
        let last = tail.bounds().head.sequence;
        let mut event = event(&format!("evt_{last}"));
        event.keys.subject_id = (*subject).to_owned();
        let record = Record::seal(
            LogId([1; 16]),
            (last, 0),
            jiff::Timestamp::UNIX_EPOCH,
            event,
        );
        tail.show(vec![record.into()], Position::default());
    }
}

fn is_woken(interest: &Interest) -> bool {
    let noted = std::pin::pin!(interest.noted());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    noted.poll(&mut context).is_ready()
}

#[test]
fn a_stream_is_woken_by_its_own_alone_once_it_is_shown() {
    let tail = tail();
    let ((a, _), (b, _)) = (tail.follow(subject("a")), tail.follow(subject("b")));
    show(&tail, &["a", "c", "a"]);
    assert!(!is_woken(&a), "before the wake");
    tail.wake();
    assert!(is_woken(&a));
    assert!(!is_woken(&b));
    assert!(a.has_noted() && !b.has_noted());
    let head = tail.bounds().head;
    let noted = |sequences: &[u64]| Noted {
        sequences: sequences.to_vec(),
        rest_from: None,
        head,
    };
    assert_eq!(a.take(), noted(&[1, 3]));
    assert_eq!(a.take(), noted(&[]));
    assert_eq!(b.take(), noted(&[]));
}

#[test]
fn too_many_are_noted_as_a_rest() {
    let tail = tail();
    let (a, _) = tail.follow(subject("a"));
    show(&tail, &["a"; MAX_NOTED + 5]);
    let noted = a.take();
    assert_eq!(noted.sequences.len(), MAX_NOTED);
    assert_eq!(noted.rest_from, Some(MAX_NOTED as u64 + 1));
    assert_eq!(noted.head, tail.bounds().head);
    show(&tail, &["a"]);
    assert_eq!(a.take().sequences, [MAX_NOTED as u64 + 6]);
}

#[test]
fn a_stream_hears_of_what_comes_after_it_entered_and_leaves_nothing_behind() {
    let tail = tail();
    show(&tail, &["a", "a"]);
    let (a, since) = tail.follow(subject("a"));
    assert_eq!(since, tail.bounds().head);
    assert!(a.take().sequences.is_empty());
    let types = FilterKeys::Types {
        types: words(&["x.y"]),
        groups: words(&["x."]),
    };
    let ids = FilterKeys::Screenings(words(&["s", "t"]));
    let others = (tail.follow(types), tail.follow(ids));
    let index = Arc::clone(&a.index);
    drop((a, others));
    assert_empty(&lock(&index));
}

fn assert_empty(index: &Index) {
    assert!(index.entries.is_empty() && index.groups.is_empty() && index.keys.is_empty());
    assert!(index.lists.is_empty() && index.words.is_empty());
}

#[test]
fn streams_with_equal_values_are_in_the_lists_once() {
    let tail = tail();
    let follow = |list: &[&str]| tail.follow(FilterKeys::Subjects(words(list))).0;
    let streams = [follow(&["a", "b"]), follow(&["b", "a"]), follow(&["b"])];
    let members = |index: &Index| {
        let lists = index
            .lists
            .iter()
            .map(|(_, list)| list.members.as_slice().len());
        lists.sum::<usize>()
    };
    assert_eq!(members(&lock(&streams[0].index)), 3);
    show(&tail, &["a"]);
    let [one, other, without] = streams;
    assert!(one.has_noted() && other.has_noted() && !without.has_noted());
    drop(one);
    show(&tail, &["b"]);
    assert_eq!(other.take().sequences, [1, 2]);
    assert_eq!(without.take().sequences, [2]);
    let index = Arc::clone(&other.index);
    drop((other, without));
    assert_empty(&lock(&index));
}

#[test]
fn leaving_costs_no_more_than_entering_however_many_have_the_same_words() {
    const STREAMS: usize = 5000;
    const WORDS: usize = 100;
    let tail = tail();
    // The same words, and one of its own.
    let keys = |stream: usize| {
        let ids = (0..WORDS).chain([WORDS + stream]);
        FilterKeys::Subjects(ids.map(|id| format!("subj_{id}")).collect())
    };
    let all_keys: Vec<_> = (0..STREAMS).map(keys).collect();
    let start = std::time::Instant::now();
    let streams: Vec<_> = all_keys.into_iter().map(|keys| tail.follow(keys)).collect();
    let entering = start.elapsed();
    let index = Arc::clone(&streams[0].0.index);
    let start = std::time::Instant::now();
    drop(streams);
    let leaving = start.elapsed();
    assert_empty(&lock(&index));
    // A search for each word takes hundreds of times as long.
    assert!(leaving < 10 * entering, "{leaving:?} after {entering:?}");
}

#[test]
fn those_that_stay_hear_of_their_own_whoever_leaves() {
    let tail = tail();
    let lists: [&[&str]; 6] = [
        &["a", "b"],
        &["b", "b", "c"],
        &["a"],
        &["c", "a", "a", "c"],
        &["b"],
        &["d", "c"],
    ];
    let follow = |list: &[&str]| tail.follow(FilterKeys::Subjects(words(list))).0;
    let mut streams: Vec<_> = lists.iter().map(|list| (*list, follow(list))).collect();
    let index = Arc::clone(&streams[0].1.index);
    for round in 0..200 {
        let (list, left) = streams.remove(round * 7 % streams.len());
        drop(left);
        if round % 3 > 0 {
            streams.push((list, follow(list)));
        }
        if streams.len() < 2 {
            streams.extend(lists.iter().map(|list| (*list, follow(list))));
        }
        for subject in ["a", "b", "c", "d"] {
            show(&tail, &[subject]);
            let head = tail.bounds().head.sequence;
            for (list, stream) in &streams {
                let noted = stream.take().sequences;
                let is_concerned = list.contains(&subject);
                assert_eq!(noted.contains(&head), is_concerned, "{subject} {list:?}");
            }
        }
    }
    drop(streams);
    assert_empty(&lock(&index));
}

#[test]
fn what_was_never_shown_is_a_rest_for_everybody() {
    let tail = tail();
    let ((a, _), (b, _)) = (tail.follow(subject("a")), tail.follow(subject("b")));
    show(&tail, &["a", "c"]);
    // Records 3 to 9 were trimmed where they are kept before this process saw them.
    let record = |last| {
        let event = event(&format!("evt_{last}"));
        Record::seal(
            LogId([1; 16]),
            (last, 0),
            jiff::Timestamp::UNIX_EPOCH,
            event,
        )
    };
    let trimmed = record(8).position();
    tail.show(vec![record(9).into()], trimmed);
    tail.wake();
    assert!(is_woken(&a) && is_woken(&b));
    assert_eq!(a.take().sequences, [1]);
    let noted = b.take();
    assert!(noted.sequences.is_empty());
    assert_eq!(noted.rest_from, Some(3));
    assert_eq!(noted.head.sequence, 10);
}
