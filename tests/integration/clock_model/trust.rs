//! What gateway time may do, and what a log may take for the age of something.
//!
//! The error of gateway time is what it is ahead of true time. It may change by a little whenever the wall clock does. A
//! larger change needs a reason: the wall clock has stood for the hold, an operator accepted it, or a process started where
//! no mark of the same boot tells the time. Only there may a gap count as elapsed, and only for what was kept before.

use jiff::{SignedDuration, Timestamp};
use kora_gateway::clock::Status;
use uuid::Uuid;

use super::machine::{Machine, STEP_HOLD};

/// A step of less than this is followed at once.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// From one side of the tolerance to the other.
const WOBBLE: SignedDuration = SignedDuration::from_mins(10);

/// A gap up to this across a start needs no waiting.
const MAX_START_GAP: SignedDuration = SignedDuration::from_hours(24);

/// How often a mark is written at least, if anything is.
const MARK_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What is rounded to milliseconds here and there.
const ROUNDING: SignedDuration = SignedDuration::from_millis(10);

pub struct Trust {
    /// What gateway time was ahead of true time when it was last looked at.
    error: SignedDuration,
    /// Since when the wall clock has not stepped by more than the tolerance, in true time.
    stands_since: Timestamp,
    /// How often that has changed.
    changes: u64,
    /// The sum of the small changes.
    slack: SignedDuration,
    /// Whether the wall clock was not believed at the start of this process: how far it was ahead of gateway time.
    doubted_gap: Option<SignedDuration>,
    /// One for each process so far.
    lives: Vec<Life>,
    durable: Durable,
}

/// What a start of a process made of the time since the last record.
#[derive(Clone, Copy, Default)]
struct Life {
    true_gap: SignedDuration,
    counted: SignedDuration,
    /// As it is on the disk.
    durable: SignedDuration,
}

/// What the disk tells of the time.
#[derive(Default)]
struct Durable {
    mark: Option<Mark>,
    /// The times of records that were written since.
    records: Vec<Timestamp>,
    last_write: Timestamp,
    /// That of gateway time then.
    error: SignedDuration,
}

#[derive(Clone, Copy)]
struct Mark {
    time: Timestamp,
    error: SignedDuration,
    boot_id: Uuid,
    life: usize,
}

/// When something happened, for its age.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub truth: Timestamp,
    life: usize,
    slack: SignedDuration,
    error: SignedDuration,
}

impl Trust {
    /// Before the first process, which believes the wall clock.
    pub fn new(machine: &Machine) -> Self {
        Trust {
            error: machine.wall_error(),
            stands_since: machine.truth(),
            changes: 0,
            slack: SignedDuration::ZERO,
            doubted_gap: None,
            lives: vec![Life::default()],
            durable: Durable::default(),
        }
    }

    pub fn now(&self, machine: &Machine) -> Moment {
        Moment {
            truth: machine.truth(),
            life: self.lives.len(),
            slack: self.slack,
            error: self.error,
        }
    }

    /// The most that a log may take for the time since then.
    pub fn most(&self, machine: &Machine, since: Moment) -> SignedDuration {
        let later = self.lives[since.life..].iter();
        let excess: SignedDuration = later
            .map(|life| (life.counted - life.true_gap).max(SignedDuration::ZERO))
            .fold(SignedDuration::ZERO, |sum, excess| sum + excess);
        machine.truth().duration_since(since.truth) + excess + self.slack_since(since)
    }

    /// The least that it may take for it.
    pub fn least(&self, machine: &Machine, since: Moment) -> SignedDuration {
        machine.truth().duration_since(since.truth)
            - self.lost_after(since.life)
            - self.slack_since(since)
    }

    /// No more than this has a log missed of what has elapsed.
    pub fn most_lost(&self) -> SignedDuration {
        self.lost_after(0) + self.slack + ROUNDING
    }

    /// Until when something waits at the longest, in true time, that was to wait for `pause` at that moment. If gateway time
    /// has gone back since then, that can be `at_last`.
    pub fn longest_wait(
        &self,
        since: Moment,
        pause: SignedDuration,
        at_last: Timestamp,
    ) -> Timestamp {
        let due = since.truth + pause;
        let due = match self.error < since.error {
            true => due.max(at_last),
            false => due,
        };
        due + self.slack_since(since)
    }

    /// How often the error of gateway time has changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    fn lost_after(&self, life: usize) -> SignedDuration {
        self.lives[life..]
            .iter()
            .map(|life| (life.true_gap - life.counted).max(SignedDuration::ZERO))
            .fold(SignedDuration::ZERO, |sum, lost| sum + lost)
    }

    fn slack_since(&self, since: Moment) -> SignedDuration {
        self.slack - since.slack + ROUNDING
    }

    pub fn wall_stepped(&mut self, machine: &Machine, step: SignedDuration) {
        if step.abs() >= TOLERANCE {
            self.stands_since = machine.truth();
        }
    }

    /// Looks at gateway time.
    pub fn observe(&mut self, machine: &Machine, status: Status, is_accepted: bool) {
        let error = status.time.duration_since(machine.truth());
        let change = error - self.error;
        self.note_change(error);
        if change.abs() < WOBBLE {
            self.slack += change.abs();
            return;
        }
        let wall_error = machine.wall_error();
        assert!(
            (error - wall_error).abs() < TOLERANCE,
            "gateway time is off by {error:#}, the wall clock by {wall_error:#}"
        );
        let stood = machine.truth().duration_since(self.stands_since);
        let is_plausible_gap =
            self.doubted_gap.is_some() && change.is_positive() && change < MAX_START_GAP + WOBBLE;
        assert!(
            is_accepted || stood >= STEP_HOLD || is_plausible_gap,
            "a step of {change:#} is followed after {stood:#}"
        );
        if let Some(gap) = self.doubted_gap.take() {
            let counted = gap.min(change).max(SignedDuration::ZERO);
            self.life().counted += counted;
        }
    }

    /// A process has started.
    pub fn start(&mut self, machine: &Machine, status: Status) {
        let last = self.life();
        last.counted = last.durable;
        self.lives.push(Life::default());
        self.doubted_gap = None;
        let error = status.time.duration_since(machine.truth());
        let mark = self.durable.mark;
        match mark.filter(|mark| mark.boot_id == machine.boot_id()) {
            Some(mark) => self.go_on(error, mark),
            None => self.go_by_records(machine, status),
        }
        self.note_change(error);
    }

    /// On the same boot the time is known; only a step that was followed and not written yet waits again.
    fn go_on(&mut self, error: SignedDuration, mark: Mark) {
        let changes = [error - self.error, error - mark.error];
        let change = changes.iter().map(|change| change.abs()).min().unwrap();
        assert!(
            change < WOBBLE,
            "gateway time is off by {error:#} after a restart; before it was {:#}",
            self.error
        );
        self.slack += change;
    }

    fn go_by_records(&mut self, machine: &Machine, status: Status) {
        let error = status.time.duration_since(machine.truth());
        let mark = self.durable.mark.map(|mark| mark.time);
        let known: Vec<_> = mark.iter().chain(&self.durable.records).copied().collect();
        let is_wall = (error - machine.wall_error()).abs() < ROUNDING;
        if known.is_empty() {
            assert!(is_wall, "gateway time is off by {error:#} without a record");
            return;
        }
        let true_gap = machine.truth().duration_since(self.durable.last_write);
        self.life().true_gap = true_gap;
        let wall = status.wall;
        let is_vouched = known.iter().any(|time| {
            let gap = wall.duration_since(*time);
            gap > -TOLERANCE && gap <= MAX_START_GAP
        });
        if is_wall && is_vouched {
            // What an earlier process did not believe, and wrote no more of, is in it once more.
            let counted = true_gap + machine.wall_error() - self.durable.error;
            self.life().counted = counted.max(SignedDuration::ZERO);
            return;
        }
        let is_frozen = known
            .iter()
            .any(|time| status.time.duration_since(*time).abs() < TOLERANCE);
        assert!(
            is_frozen,
            "gateway time starts at {} with the wall at {wall}; known are {known:?}",
            status.time
        );
        self.doubted_gap = Some(wall.duration_since(status.time));
    }

    fn note_change(&mut self, error: SignedDuration) {
        if (error - self.error).abs() > ROUNDING {
            self.changes += 1;
        }
        self.error = error;
    }

    /// Something is on the disk, perhaps a record with this time. `keeps_marks`: a mark besides, if it is time.
    pub fn committed(&mut self, machine: &Machine, record: Option<Timestamp>, keeps_marks: bool) {
        let now = machine.truth() + self.error;
        let is_recent = |mark: &Mark| {
            mark.life == self.lives.len() && now.duration_since(mark.time) < MARK_EVERY
        };
        let change = self.durable.mark.filter(is_recent);
        let change = change.map(|mark| (mark.error - self.error).abs());
        if keeps_marks && change.is_none_or(|change| change >= WOBBLE) {
            return self.mark(machine);
        }
        if change.is_some_and(|change| change >= TOLERANCE) {
            // It may have been a step that was followed, which writes the mark, or not.
            self.durable.records.push(now);
        }
        if let Some(record) = record {
            self.durable.records.push(record);
            self.durable.last_write = machine.truth();
            self.durable.error = self.error;
        }
    }

    /// A mark is on the disk.
    pub fn mark(&mut self, machine: &Machine) {
        let life = self.life();
        life.durable = life.counted;
        self.durable = Durable {
            mark: Some(Mark {
                time: machine.truth() + self.error,
                error: self.error,
                boot_id: machine.boot_id(),
                life: self.lives.len(),
            }),
            records: Vec::new(),
            last_write: machine.truth(),
            error: self.error,
        };
    }

    fn life(&mut self) -> &mut Life {
        self.lives.last_mut().expect("a process has started")
    }
}
