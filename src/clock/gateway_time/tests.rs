//! The rules, at readings that are set.

use super::*;

const NOON: Timestamp = Timestamp::UNIX_EPOCH;
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A machine, its wall clock, and the gateway time of a process on it.
struct Machine {
    reading: Reading,
    time: GatewayTime,
}

impl Machine {
    fn new() -> Self {
        let reading = Reading {
            wall: NOON + 50 * 365 * DAY,
            since_boot: 3 * DAY,
        };
        Machine {
            reading,
            time: GatewayTime::starting_at(reading, Duration::from_secs(3600)),
        }
    }

    fn elapse(&mut self, time: SignedDuration) -> &mut Self {
        self.reading.since_boot += time;
        self.step(time)
    }

    fn step(&mut self, step: SignedDuration) -> &mut Self {
        self.reading.wall += step;
        self
    }

    /// How far gateway time is behind the wall clock.
    fn lag(&mut self) -> SignedDuration {
        let (now, _) = self.time.observe(self.reading);
        self.reading.wall.duration_since(now)
    }

    fn record(&mut self, age: SignedDuration) {
        let time = self.reading.wall - age;
        self.time.note_record(self.reading, time);
    }

    /// What elapsed, as a log measures it.
    fn elapsed_time(&mut self) -> Timestamp {
        let (now, _) = self.time.observe(self.reading);
        now - self.time.followed().corrections
    }
}

#[test]
fn small_differences_are_followed_at_once_and_do_not_add_up_within_an_hour() {
    let mut machine = Machine::new();
    assert_eq!(machine.step(4 * MINUTE).lag(), SignedDuration::ZERO);
    assert_eq!(machine.step(-8 * MINUTE).lag(), SignedDuration::ZERO);
    assert_eq!(machine.step(12 * MINUTE).lag(), 8 * MINUTE);
    let mut machine = Machine::new();
    for _ in 0..10 {
        assert_eq!(machine.step(4 * MINUTE).lag(), SignedDuration::ZERO);
        machine.elapse(HOUR);
        assert_eq!(machine.lag(), SignedDuration::ZERO);
    }
}

#[test]
fn a_step_is_followed_when_it_has_stood_and_never_before() {
    for step in [40 * DAY, 5 * MINUTE, -5 * MINUTE, -3650 * DAY] {
        let mut machine = Machine::new();
        let start = machine.elapsed_time();
        assert_eq!(machine.step(step).lag(), step);
        assert_eq!(machine.elapse(HOUR - MINUTE).lag(), step);
        assert_eq!(machine.elapse(MINUTE).lag(), SignedDuration::ZERO);
        // Nothing got older by it.
        assert_eq!(machine.elapsed_time().duration_since(start), HOUR);
    }
}

#[test]
fn a_step_that_goes_away_begins_anew() {
    let mut machine = Machine::new();
    assert_eq!(machine.step(DAY).lag(), DAY);
    assert_eq!(
        machine.elapse(50 * MINUTE).step(-DAY).lag(),
        SignedDuration::ZERO
    );
    assert_eq!(machine.elapse(MINUTE).step(DAY).lag(), DAY);
    assert_eq!(machine.elapse(50 * MINUTE).lag(), DAY);
    // Another step is not the one that stood.
    assert_eq!(
        machine.elapse(5 * MINUTE).step(10 * MINUTE).lag(),
        DAY + 10 * MINUTE
    );
    assert_eq!(machine.elapse(50 * MINUTE).lag(), DAY + 10 * MINUTE);
    assert_eq!(machine.elapse(10 * MINUTE).lag(), SignedDuration::ZERO);
}

#[test]
fn a_suspend_is_no_step() {
    let mut machine = Machine::new();
    assert_eq!(machine.elapse(30 * DAY).lag(), SignedDuration::ZERO);
    assert!(machine.time.pending(machine.reading).is_none());
}

#[test]
fn an_accepted_step_is_followed_at_once_and_only_that_one() {
    let mut machine = Machine::new();
    assert_eq!(machine.step(DAY).lag(), DAY);
    assert_eq!(machine.time.accept(machine.reading, 2 * DAY), None);
    assert_eq!(machine.lag(), DAY);
    let accepted = machine.time.accept(machine.reading, DAY + MINUTE);
    assert_eq!(accepted, Some(Change::Followed(DAY)));
    assert_eq!(machine.lag(), SignedDuration::ZERO);
    assert_eq!(machine.time.accept(machine.reading, DAY), None);
}

#[test]
fn a_recent_record_vouches_for_the_wall_clock() {
    for ages in [
        vec![DAY],
        vec![SignedDuration::ZERO, 40 * DAY],
        vec![40 * DAY, -3650 * DAY, HOUR],
    ] {
        let mut machine = Machine::new();
        for age in ages {
            machine.record(age);
        }
        assert_eq!(machine.lag(), SignedDuration::ZERO);
    }
}

#[test]
fn a_gap_at_the_start_waits_and_then_counts_as_elapsed() {
    let mut machine = Machine::new();
    machine.record(40 * DAY);
    machine.record(50 * DAY);
    let start = machine.elapsed_time();
    assert_eq!(machine.lag(), 40 * DAY);
    assert_eq!(machine.elapse(HOUR).lag(), SignedDuration::ZERO);
    assert_eq!(
        machine.elapsed_time().duration_since(start),
        40 * DAY + HOUR
    );
}

#[test]
fn what_the_wall_clock_stepped_besides_a_gap_did_not_elapse() {
    let mut machine = Machine::new();
    machine.record(2 * DAY);
    let start = machine.elapsed_time();
    assert_eq!(machine.step(3650 * DAY).lag(), 3652 * DAY);
    assert_eq!(machine.elapse(HOUR).lag(), SignedDuration::ZERO);
    assert_eq!(machine.elapsed_time().duration_since(start), 2 * DAY + HOUR);
}

#[test]
fn a_doubtful_wall_clock_that_is_set_right_is_followed() {
    let mut machine = Machine::new();
    machine.step(3650 * DAY).record(3650 * DAY + HOUR);
    assert_eq!(machine.lag(), 3650 * DAY + HOUR);
    let start = machine.elapsed_time();
    assert_eq!(machine.step(-3650 * DAY).lag(), SignedDuration::ZERO);
    assert_eq!(machine.elapsed_time().duration_since(start), HOUR);
}

#[test]
fn a_wall_clock_behind_the_records_makes_nothing_older() {
    let mut machine = Machine::new();
    machine.record(-3650 * DAY);
    let start = machine.elapsed_time();
    assert_eq!(machine.lag(), -3650 * DAY);
    assert_eq!(machine.elapse(HOUR).lag(), SignedDuration::ZERO);
    assert_eq!(machine.elapsed_time().duration_since(start), HOUR);
}

#[test]
fn without_records_the_wall_clock_is_all_there_is() {
    let mut machine = Machine::new();
    assert_eq!(machine.step(MINUTE).lag(), SignedDuration::ZERO);
    assert!(machine.time.pending(machine.reading).is_none());
}

#[test]
fn a_mark_of_the_same_boot_is_better_than_any_wall_clock() {
    for wrong in [3650 * DAY, 20 * HOUR, -3650 * DAY] {
        let mut machine = Machine::new();
        let mark = Mark {
            time: machine.reading.wall,
            boot_id: Uuid::nil(),
            since_boot: machine.reading.since_boot,
        };
        machine.elapse(10 * DAY).step(wrong);
        machine.time = GatewayTime::starting_at(machine.reading, Duration::from_secs(3600));
        // Another log's record says nothing against it, before or after.
        machine.record(HOUR);
        machine.time.note_mark(machine.reading, mark);
        machine.record(HOUR);
        assert_eq!(machine.lag(), wrong);
        let start = machine.elapsed_time();
        assert_eq!(machine.elapse(HOUR).lag(), SignedDuration::ZERO);
        assert_eq!(machine.elapsed_time().duration_since(start), HOUR);
    }
}

#[test]
fn the_newest_mark_counts() {
    let mut machine = Machine::new();
    let mark = |time, since_boot| Mark {
        time,
        boot_id: Uuid::nil(),
        since_boot,
    };
    let (wall, since_boot) = (machine.reading.wall, machine.reading.since_boot);
    let old = mark(wall - 40 * DAY - 2 * HOUR, since_boot - 2 * HOUR);
    let new = mark(wall - HOUR, since_boot - HOUR);
    let future = mark(wall + 40 * DAY, since_boot + HOUR);
    for order in [[old, new, future], [new, future, old], [future, old, new]] {
        machine.time = GatewayTime::starting_at(machine.reading, Duration::from_secs(3600));
        for mark in order {
            machine.time.note_mark(machine.reading, mark);
        }
        assert_eq!(machine.lag(), SignedDuration::ZERO);
    }
}
