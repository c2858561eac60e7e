//! Kora's side of a rate limit, in paused time: it counts a request on arrival and answers some time later,
//! so answers overtake one another.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use fastrand::Rng;
use http::{HeaderMap, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use prometheus_client::registry::Registry;
use tokio::time::{self, Instant};

use super::{START, rate_limit, seconds};
use crate::{
    clock::Clock,
    kora::pacing::{Metrics, Pacer},
};

/// The least and the most time of each way.
const WAY: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(100));

/// How Kora's windows run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Windows {
    /// By the clock.
    Fixed,
    /// From the first request after the end of the one before.
    FromFirstCall,
}

/// One key's rate limit. Clones share it.
#[derive(Clone)]
pub(super) struct SimulatedKora {
    pub(super) limit: u32,
    pub(super) window: Duration,
    pub(super) windows: Windows,
    /// The least and the most time that Kora works on a request that it took.
    pub(super) work: (Duration, Duration),
    start: Instant,
    state: Arc<Mutex<State>>,
}

/// One window, when it was over.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) used: u32,
    pub(super) refused: u32,
}

struct State {
    random: Rng,
    end: Duration,
    tally: Tally,
    over: Vec<Tally>,
}

impl SimulatedKora {
    pub(super) fn new(limit: u32, window: Duration, windows: Windows, seed: u64) -> Self {
        SimulatedKora {
            limit,
            window,
            windows,
            work: (Duration::ZERO, Duration::from_millis(100)),
            start: Instant::now(),
            state: Arc::new(Mutex::new(State {
                random: Rng::with_seed(seed),
                end: Duration::ZERO,
                tally: Tally::default(),
                over: Vec::new(),
            })),
        }
    }

    /// A gateway's pacer, with a clock that goes as Kora's does.
    pub(super) fn pacer(&self) -> Pacer {
        self.pacer_ahead_by(SignedDuration::ZERO)
    }

    /// The same with a clock that is fast.
    pub(super) fn pacer_ahead_by(&self, skew: SignedDuration) -> Pacer {
        let start = self.start;
        let clock =
            Clock::from_fn(move || Timestamp::from_second(START).unwrap() + start.elapsed() + skew);
        Pacer::new(clock, Metrics::register(&mut Registry::default()))
    }

    /// One request: on its way, counted, and on the way back.
    pub(super) async fn request(&self) -> (StatusCode, HeaderMap) {
        let (there, back, work) = {
            let random = &mut self.state.lock().unwrap().random;
            let mut between =
                |(least, most): (Duration, Duration)| least + (most - least).mul_f64(random.f64());
            (between(WAY), between(WAY), between(self.work))
        };
        time::sleep(there).await;
        let (status, mut headers) = self.count();
        // Kora refuses before it works.
        let work = if status.is_success() {
            work
        } else {
            Duration::ZERO
        };
        time::sleep(work).await;
        let date = SystemTime::UNIX_EPOCH + seconds(START as u64) + self.start.elapsed();
        let date = httpdate::fmt_http_date(date);
        headers.insert(header::DATE, date.parse().unwrap());
        time::sleep(back).await;
        (status, headers)
    }

    /// The windows that are over.
    pub(super) fn tallies(&self) -> Vec<Tally> {
        self.state.lock().unwrap().over.clone()
    }

    fn count(&self) -> (StatusCode, HeaderMap) {
        let mut state = self.state.lock().unwrap();
        let now = self.start.elapsed();
        if now >= state.end {
            let whole = now.as_nanos() / self.window.as_nanos();
            state.end = match self.windows {
                Windows::Fixed => self.window * (whole as u32 + 1),
                Windows::FromFirstCall => now + self.window,
            };
            if state.tally != Tally::default() {
                let tally = mem::take(&mut state.tally);
                state.over.push(tally);
            }
        }
        let status = match state.tally.used < self.limit {
            true => {
                state.tally.used += 1;
                StatusCode::OK
            }
            false => {
                state.tally.refused += 1;
                StatusCode::TOO_MANY_REQUESTS
            }
        };
        let reset = state.end.as_secs() as i64;
        (
            status,
            rate_limit(self.limit, self.limit - state.tally.used, reset),
        )
    }
}
