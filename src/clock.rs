//! Gateway time: the time of day that the gateway acts on.
//!
//! A wall clock can be wrong for a while: a virtual machine resumes with an old one, NTP steps it, an operator mistypes a
//! year. Nothing irreversible may follow from that. Gateway time is the last trusted time plus the time that has elapsed
//! since then by the machine's boot clock, which nobody sets and which also counts while the machine is suspended. The
//! wall clock is followed while the two agree; a step of it is followed once it has stood for a while (see
//! [`gateway_time`]).
//!
//! Deadlines and waits use tokio's clock instead, which tests can pause.

mod gateway_time;
mod log_time;
mod metrics;

use std::{
    fmt, fs,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use prometheus_client::registry::Registry;
use uuid::Uuid;

use gateway_time::{Change, Followed, GatewayTime};
pub use gateway_time::{Mark, PendingStep, Reading, STEP_TOLERANCE};
pub use log_time::{LogMoment, LogTime};
use metrics::Metrics;

/// For how long a step of the wall clock has to stand before it is followed, unless a setting says otherwise.
pub const DEFAULT_STEP_HOLD: Duration = Duration::from_secs(60 * 60);

/// Tells gateway time. Clones share everything.
#[derive(Clone)]
pub struct Clock(Arc<Shared>);

struct Shared {
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    /// Which boot the readings are of; `None` if that cannot be known.
    boot_id: Option<Uuid>,
    time: Mutex<GatewayTime>,
    metrics: Metrics,
}

/// Gateway time at one moment, and what it is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Gateway time.
    pub time: Timestamp,
    /// The wall clock.
    pub wall: Timestamp,
    /// The step of the wall clock that is not followed yet.
    pub pending: Option<PendingStep>,
}

/// All that is known of one moment.
struct Moment {
    /// Gateway time.
    time: Timestamp,
    /// What was followed until then.
    followed: Followed,
    /// For the next process on this machine; `None` where boots cannot be told apart.
    mark: Option<Mark>,
}

/// The pending step is not the one that was to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such step of the wall clock is pending")]
pub struct NoSuchStep;

impl Clock {
    /// The machine's clocks. A step of the wall clock is followed when it has stood for [`DEFAULT_STEP_HOLD`].
    pub fn system() -> Self {
        Self::with_step_hold(DEFAULT_STEP_HOLD)
    }

    /// The machine's clocks. A step of the wall clock is followed when it has stood for `step_hold`.
    pub fn with_step_hold(step_hold: Duration) -> Self {
        Self::from_readings(step_hold, boot_id(), read_machine)
    }

    /// The same over clocks that a test sets, of a machine that was booted with this id.
    pub fn from_readings(
        step_hold: Duration,
        boot_id: Option<Uuid>,
        read: impl Fn() -> Reading + Send + Sync + 'static,
    ) -> Self {
        let time = GatewayTime::starting_at(read(), step_hold);
        Self::new(time, boot_id, read)
    }

    /// A clock for tests that choose the time: whatever `now` returns is trusted, and differences are elapsed time.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let read = move || {
            let wall = now();
            Reading {
                wall,
                since_boot: wall.duration_since(Timestamp::UNIX_EPOCH),
            }
        };
        let time = GatewayTime::trusting(read(), DEFAULT_STEP_HOLD);
        Self::new(time, None, read)
    }

    fn new(
        time: GatewayTime,
        boot_id: Option<Uuid>,
        read: impl Fn() -> Reading + Send + Sync + 'static,
    ) -> Self {
        Clock(Arc::new(Shared {
            read: Box::new(read),
            boot_id,
            time: Mutex::new(time),
            metrics: Metrics::default(),
        }))
    }

    /// Gateway time, UTC.
    pub fn now(&self) -> Timestamp {
        self.moment().time
    }

    /// The wall clock as it reads, for comparison with the clocks of others. Nothing may be deleted or postponed by it.
    pub fn wall(&self) -> Timestamp {
        (self.0.read)().wall
    }

    /// Notes the time of a durable record that an earlier process left, the newest one of its kind: it vouches for the
    /// wall clock, or shows a gap. To be called before anything is deleted by age.
    pub fn note_record(&self, time: Timestamp) {
        let mut gateway_time = self.lock();
        let reading = (self.0.read)();
        let change = gateway_time.note_record(reading, time);
        self.report(change);
    }

    /// Notes a mark that an earlier process left, before any of its records. One of another boot of the machine, or of
    /// another machine, means nothing here.
    pub fn note_mark(&self, mark: Mark) {
        if self.0.boot_id != Some(mark.boot_id) {
            return;
        }
        let mut gateway_time = self.lock();
        let reading = (self.0.read)();
        let change = gateway_time.note_mark(reading, mark);
        self.report(change);
    }

    fn moment(&self) -> Moment {
        let mut gateway_time = self.lock();
        let reading = (self.0.read)();
        let (time, change) = gateway_time.observe(reading);
        self.report(change);
        Moment {
            time,
            followed: gateway_time.followed(),
            mark: self.0.boot_id.map(|boot_id| Mark {
                time,
                boot_id,
                since_boot: reading.since_boot,
            }),
        }
    }

    /// Gateway time, and what it is derived from.
    pub fn status(&self) -> Status {
        let mut gateway_time = self.lock();
        let reading = (self.0.read)();
        let (time, change) = gateway_time.observe(reading);
        self.report(change);
        Status {
            time,
            wall: reading.wall,
            pending: gateway_time.pending(reading),
        }
    }

    /// Follows the pending step at once, on an operator's word.
    ///
    /// # Errors
    /// If the pending step is not `step`, give or take [`STEP_TOLERANCE`].
    pub fn accept(&self, step: SignedDuration) -> Result<(), NoSuchStep> {
        let mut gateway_time = self.lock();
        let reading = (self.0.read)();
        let change = gateway_time.accept(reading, step);
        self.report(change);
        change.map(drop).ok_or(NoSuchStep)
    }

    /// Registers the metrics of the wall clock's steps.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.0.metrics.register(registry);
    }

    /// The clock that a log measures the age of its records with. It goes on after a record that was written at
    /// `log_time`, when gateway time was `time`.
    pub fn log_time_after(&self, time: Timestamp, log_time: Timestamp) -> LogTime {
        LogTime::after(self.clone(), time, log_time)
    }

    fn report(&self, change: Option<Change>) {
        if let Some(change) = change {
            self.0.metrics.report(change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, GatewayTime> {
        self.0.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Clock")
    }
}

fn read_machine() -> Reading {
    Reading {
        wall: Timestamp::now(),
        since_boot: since_boot(),
    }
}

/// Which boot of which machine this is.
fn boot_id() -> Option<Uuid> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    text.trim().parse().ok()
}

/// The time since the machine booted, suspends included.
fn since_boot() -> SignedDuration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
    // Elsewhere this is the clock that nobody sets.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;
    let time = clock_gettime(BOOT).expect("the system has a clock of the time since it booted");
    SignedDuration::new(time.tv_sec(), i32::try_from(time.tv_nsec()).unwrap_or(0))
}
