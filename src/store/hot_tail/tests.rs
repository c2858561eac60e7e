//! What memory holds.

use super::*;
use crate::memory::Budget;
use crate::{event::LogId, store::record::tests::event};

fn records(after: u64, count: u64) -> Vec<Arc<Record>> {
    (after..after + count)
        .map(|last| {
            let id = format!("evt_{last}");
            let time = Timestamp::UNIX_EPOCH;
            Record::seal(LogId([1; 16]), (last, 0), time, event(&id)).into()
        })
        .collect()
}

fn sequences(page: Option<Page>) -> Option<Vec<u64>> {
    Some(page?.iter().map(|record| record.sequence).collect())
}

#[test]
fn memory_has_the_newest_and_says_where_it_ends() {
    let before = Position {
        sequence: 7,
        checksum: 70,
    };
    let tail = HotTail::new(Bounds {
        head: before,
        ..Bounds::default()
    });
    assert_eq!(tail.page(6), None);
    assert_eq!(sequences(tail.page(7)), Some(vec![]));
    tail.show(records(7, 3), Position::default());
    assert_eq!(tail.page(6), None);
    assert_eq!(sequences(tail.page(7)), Some(vec![8, 9, 10]));
    assert_eq!(sequences(tail.page(9)), Some(vec![10]));
    assert_eq!(sequences(tail.page(10)), Some(vec![]));
    assert_eq!(tail.bounds().head.sequence, 10);
}

#[test]
fn many_tails_share_the_memory_of_one() {
    let budget = Budget::new(64 << 20);
    let held = |tails| {
        let tail = HotTail::new(Bounds::default());
        tail.share_memory(RecentEvents::new(&budget, tails));
        tail.show(records(0, MAX_RECORDS as u64), Position::default());
        tail.held().bytes
    };
    let one = held(1);
    assert!((2 * PAGE_BYTES..MAX_BYTES).contains(&one), "{one}");
    assert!(held(budget.small_recent_events / PAGE_BYTES) <= PAGE_BYTES);
}

fn large_record(after: u64, size: usize) -> Vec<Arc<Record>> {
    let mut event = event(&format!("evt_{after}"));
    event.raw = vec![0; size].into();
    vec![Record::seal(LogId([1; 16]), (after, 0), Timestamp::UNIX_EPOCH, event).into()]
}

#[test]
fn large_records_of_many_tails_stay_within_the_budget() {
    let budget = Budget::new(64 << 20);
    let recent = RecentEvents::new(&budget, 100);
    let tails: Vec<_> = (0..100)
        .map(|_| {
            let tail = HotTail::new(Bounds::default());
            tail.share_memory(recent.clone());
            tail.show(records(0, 1), Position::default());
            tail.show(large_record(1, 1 << 20), Position::default());
            tail
        })
        .collect();
    let pool = &budget.recent_events;
    assert!(pool.used() <= pool.size() && pool.used() > pool.size() / 2);
    // The oldest ones made room; what is newer than the large record stays.
    let [first, .., last] = &tails[..] else {
        unreachable!()
    };
    assert_eq!(first.page(1), None);
    first.show(records(2, 1), Position::default());
    assert_eq!(sequences(first.page(2)), Some(vec![3]));
    assert_eq!(sequences(last.page(0)), Some(vec![1, 2]));
    // Streams that have not taken a record keep it charged; then the next one is not held, and is read from the log.
    let taken: Vec<_> = tails.iter().filter_map(|tail| tail.page(1)).collect();
    last.show(large_record(2, 1 << 20), Position::default());
    assert_eq!(last.page(2), None);
    assert_eq!(last.bounds().head.sequence, 3);
    drop(taken);
    last.show(large_record(3, 1 << 20), Position::default());
    assert_eq!(sequences(last.page(3)), Some(vec![4]));
    drop(tails);
    assert_eq!(pool.used(), 0);
}

#[test]
fn a_page_and_the_memory_have_limits() {
    let tail = HotTail::new(Bounds::default());
    let extra = 10;
    tail.show(records(0, MAX_RECORDS as u64 + extra), Position::default());
    assert_eq!(tail.page(extra - 1), None);
    assert_eq!(tail.page(extra).unwrap().len(), PAGE_RECORDS);
}

#[test]
fn a_page_and_the_memory_have_limits_in_bytes_too() {
    let of_size = |sequence: u64, size: usize| {
        let mut event = event(&format!("evt_{sequence}"));
        event.raw = vec![0; size].into();
        let time = Timestamp::UNIX_EPOCH;
        vec![Record::seal(LogId([1; 16]), (sequence - 1, 0), time, event).into()]
    };
    let tail = HotTail::new(Bounds::default());
    for sequence in 1..=3 {
        tail.show(of_size(sequence, PAGE_BYTES / 2 + 1), Position::default());
    }
    assert_eq!(sequences(tail.page(0)), Some(vec![1, 2]));
    // Two of these are too much, every time.
    tail.show(of_size(4, MAX_BYTES / 2), Position::default());
    for sequence in 5..10 {
        tail.show(of_size(sequence, MAX_BYTES / 2), Position::default());
        assert_eq!(tail.page(sequence - 2), None);
        assert_eq!(sequences(tail.page(sequence - 1)), Some(vec![sequence]));
    }
    // What is gone does not count: there is room for all of these.
    for sequence in 10..18 {
        tail.show(of_size(sequence, MAX_BYTES / 16), Position::default());
    }
    assert_eq!(sequences(tail.page(9)).map(|page| page[0]), Some(10));
}

#[test]
fn what_was_trimmed_is_not_held() {
    let tail = HotTail::new(Bounds::default());
    let records = records(0, 5);
    let trimmed = records[2].position();
    tail.show(records, trimmed);
    assert_eq!(tail.page(2), None);
    assert_eq!(sequences(tail.page(3)), Some(vec![4, 5]));
    assert_eq!(tail.bounds().trimmed, trimmed);
}

#[tokio::test]
async fn followers_wake_for_records_alone() {
    let tail = HotTail::new(Bounds::default());
    let mut head = tail.head();
    tail.show(Vec::new(), Position::default());
    tail.wake();
    assert!(!head.has_changed().unwrap());
    tail.show(records(0, 1), Position::default());
    tail.wake();
    head.changed().await.unwrap();
    assert_eq!(*head.borrow(), 1);
}
