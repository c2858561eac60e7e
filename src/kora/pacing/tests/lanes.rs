//! The order of turns.

use tokio::time::Instant;

use super::seconds;
use crate::kora::pacing::lanes::{Lane, Lanes, Place};

fn place(lane: Lane, caller: &str, deadline: Instant, number: u64) -> Place {
    let caller = caller.to_owned();
    Place {
        lane,
        caller,
        deadline,
        number,
    }
}

/// Lines calls up, each told by its lane, caller and deadline in seconds; and says what is told of them.
fn line_up(lanes: &mut Lanes<String>, start: Instant, calls: &[(Lane, &str, u64)]) {
    for (number, (lane, caller, deadline)) in calls.iter().enumerate() {
        let place = place(*lane, caller, start + seconds(*deadline), number as u64);
        lanes.push(place, format!("{caller}{deadline}"));
    }
}

fn order(lanes: &mut Lanes<String>) -> Vec<String> {
    std::iter::from_fn(|| Some(lanes.next()?.1)).collect()
}

#[test]
fn callers_take_turns_and_their_calls_go_by_deadline() {
    use Lane::Interactive as I;
    let mut lanes = Lanes::default();
    let calls = [
        (I, "a", 9),
        (I, "a", 3),
        (I, "a", 6),
        (I, "b", 8),
        (I, "c", 1),
        (I, "b", 7),
    ];
    line_up(&mut lanes, Instant::now(), &calls);
    assert_eq!(order(&mut lanes), ["a3", "b7", "c1", "a6", "b8", "a9"]);
    assert!(lanes.is_empty());
}

#[test]
fn the_background_has_a_tenth_and_no_more_while_somebody_waits() {
    let mut lanes = Lanes::default();
    let start = Instant::now();
    let calls: Vec<_> = (0..100)
        .flat_map(|second| {
            [
                (Lane::Interactive, "i", second),
                (Lane::Background, "b", second),
            ]
        })
        .collect();
    line_up(&mut lanes, start, &calls);
    let order = order(&mut lanes);
    let background = |calls: &[String]| calls.iter().filter(|call| call.starts_with('b')).count();
    for turns in order[..100].chunks(10) {
        assert_eq!(background(turns), 1, "{turns:?}");
    }
    assert_eq!(order[0], "i0");
    assert_eq!(background(&order[111..]), 89, "alone it has every turn");
}

#[test]
fn who_is_ahead_is_who_goes_before() {
    let start = Instant::now();
    let calls: Vec<_> = (0..40)
        .map(|second| match second % 4 {
            0 => (Lane::Background, "x", second),
            1 => (Lane::Interactive, "x", second),
            _ => (Lane::Interactive, "y", second),
        })
        .collect();
    for lane in [Lane::Interactive, Lane::Background] {
        for (caller, deadline) in [("x", 0), ("x", 50), ("y", 18), ("z", 20)] {
            let mut lanes = Lanes::default();
            line_up(&mut lanes, start, &calls);
            let deadline = start + seconds(deadline);
            let ahead = lanes.ahead(lane, caller, deadline);
            lanes.push(place(lane, caller, deadline, 1000), "me".to_owned());
            let before = order(&mut lanes)
                .iter()
                .position(|call| call == "me")
                .unwrap();
            // Callers that come after it in this round are counted as ahead.
            let most = before as u32 + 2;
            assert!(
                (before as u32..=most).contains(&ahead),
                "{lane:?} {caller}: {ahead} for {before}"
            );
        }
    }
}

#[test]
fn calls_that_leave_leave_nothing_behind() {
    let mut lanes = Lanes::default();
    let start = Instant::now();
    let lane = Lane::Interactive;
    line_up(
        &mut lanes,
        start,
        &[
            (lane, "a", 6),
            (lane, "b", 2),
            (lane, "c", 5),
            (lane, "c", 4),
        ],
    );
    let first = place(lane, "a", start + seconds(6), 0);
    assert_eq!(lanes.remove(&first).as_deref(), Some("a6"));
    assert_eq!(lanes.remove(&first), None);
    let due = lanes.take_due_before(start + seconds(5)).into_iter();
    let mut due: Vec<_> = due.map(|(_, call)| call).collect();
    due.sort();
    assert_eq!(due, ["b2", "c4"]);
    assert_eq!(lanes.len(lane), 1);
    assert_eq!(order(&mut lanes), ["c5"], "nobody who left has a turn");
}
