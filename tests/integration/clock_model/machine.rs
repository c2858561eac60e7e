//! The clocks of a machine, and true time beside them.

use std::sync::{Arc, Mutex, MutexGuard};

use jiff::{SignedDuration, Timestamp};
use kora_gateway::clock::{Clock, Reading};
use uuid::Uuid;

/// For how long a step of the wall clock has to stand.
pub const STEP_HOLD: SignedDuration = SignedDuration::from_hours(1);

/// In the middle of what calendars have, so that no step leaves it.
const START: i64 = 1_900_000_000;

/// What a schedule sets. Clones share it.
#[derive(Clone)]
pub struct Machine(Arc<Mutex<Hands>>);

struct Hands {
    truth: Timestamp,
    /// What the wall clock is ahead of true time.
    wall_error: SignedDuration,
    booted: Timestamp,
    boot_id: Uuid,
}

impl Machine {
    /// A machine whose clock is right.
    pub fn new() -> Self {
        let truth = Timestamp::from_second(START).unwrap();
        Machine(Arc::new(Mutex::new(Hands {
            truth,
            wall_error: SignedDuration::ZERO,
            booted: truth - SignedDuration::from_hours(100),
            boot_id: Uuid::new_v4(),
        })))
    }

    /// The clock of a process that starts now.
    pub fn clock(&self) -> Clock {
        let (machine, boot_id) = (self.clone(), self.boot_id());
        let hold = STEP_HOLD.unsigned_abs();
        Clock::from_readings(hold, Some(boot_id), move || machine.read())
    }

    fn read(&self) -> Reading {
        let hands = self.hands();
        Reading {
            wall: hands.truth + hands.wall_error,
            since_boot: hands.truth.duration_since(hands.booted),
        }
    }

    /// True time.
    pub fn truth(&self) -> Timestamp {
        self.hands().truth
    }

    /// What the wall clock is ahead of it.
    pub fn wall_error(&self) -> SignedDuration {
        self.hands().wall_error
    }

    pub fn boot_id(&self) -> Uuid {
        self.hands().boot_id
    }

    /// Time passes, by all clocks.
    pub fn elapse(&self, time: SignedDuration) {
        self.hands().truth += time;
    }

    /// Steps the wall clock, up to a limit; returns by how much.
    pub fn step(&self, step: SignedDuration) -> SignedDuration {
        const FARTHEST: SignedDuration = SignedDuration::from_hours(40 * 365 * 24);
        let mut hands = self.hands();
        let before = hands.wall_error;
        hands.wall_error = (before + step).clamp(-FARTHEST, FARTHEST);
        hands.wall_error - before
    }

    pub fn correct(&self) {
        self.hands().wall_error = SignedDuration::ZERO;
    }

    /// The machine was booted so long ago, or is another one.
    pub fn boot(&self, uptime: SignedDuration) {
        let mut hands = self.hands();
        hands.booted = hands.truth - uptime;
        hands.boot_id = Uuid::new_v4();
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap()
    }
}
