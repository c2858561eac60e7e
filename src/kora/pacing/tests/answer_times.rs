//! Calls with deadlines, and a Kora whose answers take their time: what is sent is answered in time, and what is not
//! limited is sent.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::SignedDuration;
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    kind, seconds,
    simulated_kora::{SimulatedKora, Windows},
};
use crate::kora::{
    Endpoint,
    pacing::{Kind, Lane, Pacer, answer_time::AnswerTimes},
};

const WINDOW: Duration = seconds(60);

/// What became of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ends {
    answered: u32,
    /// Sent, and answered after the deadline.
    late: u32,
    paced: u32,
}

/// Calls at a steady rate, each with this deadline.
#[derive(Clone)]
struct Demand {
    kora: Arc<Mutex<SimulatedKora>>,
    pacer: Pacer,
    deadline: Duration,
    ends: Arc<Mutex<Ends>>,
}

impl Demand {
    fn new(kora: SimulatedKora, skew: SignedDuration, deadline: Duration) -> Self {
        Demand {
            pacer: kora.pacer_ahead_by(skew),
            kora: Arc::new(Mutex::new(kora)),
            deadline,
            ends: Arc::default(),
        }
    }

    /// How long Kora works from now on.
    fn work(&self, least: Duration, most: Duration) {
        self.kora.lock().unwrap().work = (least, most);
    }

    async fn call(self) {
        let deadline = Instant::now() + self.deadline;
        let kind = kind(Lane::Interactive);
        let Ok(permit) = self.pacer.turn(kind, "caller", deadline).await else {
            self.ends.lock().unwrap().paced += 1;
            return;
        };
        let kora = self.kora.lock().unwrap().clone();
        let (status, headers) = kora.request().await;
        permit.answered(status, &headers);
        let mut ends = self.ends.lock().unwrap();
        if Instant::now() <= deadline {
            ends.answered += 1;
        } else {
            ends.late += 1;
        }
    }

    /// `count` calls every `interval`, for `duration`; what became of them in the end.
    async fn run(&self, count: u32, interval: Duration, duration: Duration) -> Ends {
        *self.ends.lock().unwrap() = Ends::default();
        let (end, mut calls) = (Instant::now() + duration, JoinSet::new());
        let mut turns = time::interval(interval);
        while turns.tick().await < end {
            for _ in 0..count {
                calls.spawn(self.clone().call());
            }
        }
        calls.join_all().await;
        *self.ends.lock().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_its_turn_is_answered_in_time() {
    for windows in [Windows::Fixed, Windows::FromFirstCall] {
        for skew in [0, 90, -90] {
            let kora = SimulatedKora::new(1000, WINDOW, windows, 1);
            let demand = Demand::new(kora, SignedDuration::from_secs(skew), seconds(15));
            demand.work(Duration::from_millis(9_500), Duration::from_millis(10_500));
            // A little more than the limit.
            let ends = demand
                .run(2, Duration::from_millis(100), seconds(600))
                .await;
            let context = format!("{windows:?}, {skew} s ahead: {ends:?}");
            assert_eq!(ends.late, 0, "{context}");
            assert!(ends.answered > 4_500, "{context}");
            for tally in &demand.kora.lock().unwrap().tallies()[1..] {
                assert!(tally.used > 950, "{context}: {tally:?}");
                assert!(tally.refused <= 1, "{context}: {tally:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bursts_at_a_spent_limit_are_answered_in_time_or_not_sent() {
    let kora = SimulatedKora::new(1000, WINDOW, Windows::Fixed, 1);
    let demand = Demand::new(kora, SignedDuration::ZERO, seconds(15));
    demand.work(Duration::from_millis(9_500), Duration::from_millis(10_500));
    // The limit is spent early in the window, and no answers come for most of it.
    let ends = demand.run(250, seconds(5), seconds(600)).await;
    assert_eq!(ends.late, 0, "{ends:?}");
    assert!(ends.answered > 9_000, "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn short_deadlines_are_kept_while_the_limit_is_unused() {
    for (limit, burst) in [(100, 5), (1000, 50)] {
        let kora = SimulatedKora::new(limit, WINDOW, Windows::Fixed, 1);
        let demand = Demand::new(kora, SignedDuration::ZERO, Duration::from_millis(900));
        demand.work(Duration::from_millis(300), Duration::from_millis(500));
        // Half of the limit, after pauses of every length.
        for pause in 4..16 {
            let pause = pause * 60 / 6;
            let pause = seconds(u64::from(pause * burst * 2 / limit).max(7));
            let ends = demand.run(burst, pause, seconds(300)).await;
            assert_eq!(
                (ends.late, ends.paced),
                (0, 0),
                "{limit}, {pause:?}: {ends:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_recover_within_10_s_after_kora_was_slow() {
    for (limit, interval) in [(1000, 100), (1000, 60), (100, 700)] {
        for slow in [9, 20, 34] {
            let kora = SimulatedKora::new(limit, WINDOW, Windows::Fixed, 1);
            let demand = Demand::new(kora, SignedDuration::ZERO, seconds(5));
            let interval = Duration::from_millis(interval);
            demand.work(seconds(slow), seconds(slow));
            let ends = demand.run(1, interval, seconds(300)).await;
            assert_eq!(ends.answered, 0);
            demand.work(Duration::from_millis(100), Duration::from_millis(300));
            let grace = demand.run(1, interval, seconds(10)).await;
            let ends = demand.run(1, interval, seconds(300)).await;
            let context = format!("{limit}, {slow} s: {grace:?}, then {ends:?}");
            assert_eq!(ends.late, 0, "{context}");
            let all = ends.answered + ends.paced;
            assert!(ends.paced * 50 < all, "{context}");
        }
    }
}

#[test]
fn each_kind_has_its_own_time_which_is_forgotten_within_a_minute() {
    let (mut times, start) = (AnswerTimes::default(), Instant::now());
    let [sync, background] = [Lane::Interactive, Lane::Background].map(kind);
    let read = Kind {
        endpoint: Endpoint::GetScreening,
        ..sync
    };
    assert_eq!(times.expected(sync, start), Duration::ZERO);
    times.answered(sync, seconds(12), start);
    times.answered(background, seconds(1), start);
    for (kind, after, expected) in [
        (sync, 0, 12),
        (sync, 30, 6),
        (sync, 55, 1),
        (sync, 60, 0),
        (sync, 999, 0),
        (background, 0, 1),
        (read, 0, 0),
    ] {
        let now = start + seconds(after);
        assert_eq!(times.expected(kind, now), seconds(expected), "{after}");
    }
    // Nothing can be answered while nothing can be sent.
    times.hold(start + seconds(50));
    assert_eq!(times.expected(sync, start + seconds(50)), seconds(12));
    assert_eq!(times.expected(sync, start + seconds(80)), seconds(6));
    // What was forgotten does not come back with the next answer.
    times.answered(sync, seconds(1), start + seconds(200));
    assert_eq!(times.expected(sync, start + seconds(200)), seconds(1));
}

#[test]
fn nine_answers_in_ten_come_within_the_expected_time() {
    let (mut times, now) = (AnswerTimes::default(), Instant::now());
    let sync = kind(Lane::Interactive);
    fastrand::seed(7);
    let mut late = 0;
    for _ in 0..10_000 {
        let took = seconds(8) + seconds(4).mul_f64(fastrand::f64());
        late += u32::from(took > times.expected(sync, now));
        times.answered(sync, took, now);
    }
    assert!(late < 1_200, "{late} of 10,000");
    let expected = times.expected(sync, now);
    assert!(expected < seconds(16), "{expected:?}");
}
