//! What is not kept any longer goes from the old end, and the position before the oldest record stays known.

use std::time::Duration;

use kora_gateway::{
    event::{Identity, Position},
    store::{Appended, EventLog, ReadError},
};
use tokio::time::{sleep, timeout};

use super::{Place, SMALL, all_after, append, by_id, event, laws, named};

laws! {
    the_position_before_the_oldest_record_is_that_of_the_last_one_trimmed,
    a_time_that_may_have_lost_records_is_trimmed,
    sequences_are_never_used_again_not_even_by_an_emptied_log,
    an_id_is_free_again_when_its_record_is_trimmed,
}

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until this is so of the position before the oldest record.
async fn until_trimmed(log: &impl EventLog, is_so: impl Fn(Position) -> bool) {
    let trimmed = async {
        while !is_so(log.tail().bounds().trimmed) {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, trimmed).await.unwrap();
}

/// Appends more than a small log keeps, and waits until it shows that. Returns all positions, each at its sequence.
async fn overfill<P: Place>(place: &P, log: &P::Log) -> Vec<Position> {
    let mut positions = vec![Position::default()];
    let body = "x".repeat(1024);
    for number in 0..2 * SMALL / 1024 {
        let large = event(Identity::Vendor(format!("e{number:04}")), &body);
        assert_eq!(log.append(large).await, Ok(Appended::New));
        positions.push(log.tail().bounds().head);
        place.pass(Duration::from_secs(1));
    }
    until_trimmed(log, |trimmed| trimmed.sequence > 0).await;
    positions
}

async fn the_position_before_the_oldest_record_is_that_of_the_last_one_trimmed<P: Place>() {
    let place = P::small().await;
    let log = place.open().await;
    let positions = overfill(&place, &log).await;
    let trimmed = log.tail().bounds().trimmed;
    assert_eq!(trimmed, positions[trimmed.sequence as usize]);
    let found = all_after(&log, trimmed.sequence).await;
    assert!(
        found
            .iter()
            .map(|(sequence, _)| *sequence)
            .eq(trimmed.sequence + 1..positions.len() as u64)
    );
    let before = log.read(trimmed.sequence - 1).await;
    assert!(matches!(before, Err(ReadError::Trimmed(at)) if at == trimmed));
    P::close(&log).await;
    // A log that has just been opened has it from the disk.
    let log = place.open().await;
    assert_eq!(log.tail().bounds().trimmed, trimmed);
    assert_eq!(all_after(&log, trimmed.sequence).await, found);
}

async fn a_time_that_may_have_lost_records_is_trimmed<P: Place>() {
    let place = P::small().await;
    let log = place.open().await;
    let start = place.hands().milliseconds();
    let positions = overfill(&place, &log).await;
    let trimmed = log.tail().bounds().trimmed.sequence;
    // Record n is of second n - 1, and nanoseconds more are not kept.
    let at = |sequence: u64| {
        jiff::Timestamp::from_millisecond(start + (sequence as i64 - 1) * 1000).unwrap()
    };
    for gone in [1, trimmed] {
        let found = log.position_before(at(gone)).await;
        assert!(
            matches!(found, Err(ReadError::Trimmed(before)) if before.sequence == trimmed),
            "{gone}: {found:?}"
        );
    }
    for kept in [trimmed + 1, positions.len() as u64 - 1] {
        let found = log.position_before(at(kept)).await.unwrap();
        assert_eq!(found, positions[kept as usize - 1]);
    }
}

async fn sequences_are_never_used_again_not_even_by_an_emptied_log<P: Place>() {
    let place = P::brief().await;
    let log = place.open().await;
    for id in ["a", "b"] {
        append(&log, id).await;
    }
    let before_newest = log.tail().bounds().head;
    append(&log, "c").await;
    let bounds = log.tail().bounds();
    let head = bounds.head;
    let gone = if P::KEEPS_NEWEST { before_newest } else { head };
    place.outlast();
    // The log looks after itself when nobody asks for anything.
    until_trimmed(&log, |trimmed| trimmed == gone).await;
    let after_all = log.position_before(bounds.head_time).await;
    assert!(matches!(after_all, Err(ReadError::Trimmed(at)) if at == gone));
    P::close(&log).await;

    let log = place.open().await;
    let bounds = log.tail().bounds();
    assert_eq!((bounds.trimmed, bounds.head), (gone, head));
    assert!(matches!(log.read(1).await, Err(ReadError::Trimmed(_))));
    let kept = if P::KEEPS_NEWEST {
        named(&[(3, "c")])
    } else {
        vec![]
    };
    assert_eq!(all_after(&log, gone.sequence).await, kept);
    append(&log, "d").await;
    assert_eq!(log.tail().bounds().head.sequence, 4);
}

async fn an_id_is_free_again_when_its_record_is_trimmed<P: Place>() {
    let place = P::small().await;
    let log = place.open().await;
    overfill(&place, &log).await;
    let head = log.tail().bounds().head.sequence;
    assert_eq!(log.append(by_id("e0000")).await, Ok(Appended::New));
    assert_eq!(log.append(by_id("e0000")).await, Ok(Appended::Duplicate));
    let expected = named(&[(head + 1, "e0000")]);
    assert_eq!(all_after(&log, head).await, expected);
}
