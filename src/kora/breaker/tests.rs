//! The breaker, alone and against a naive model of the promise.

use std::time::Duration;

use prometheus_client::{encoding::text::encode, registry::Registry};
use proptest::prelude::*;
use tokio::{runtime, time};

use super::{circuit::*, window::SLOT, *};

fn breaker() -> (Breaker, Registry) {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry).of_tenant("acme");
    (Breaker::new(metrics), registry)
}

fn shows(registry: &Registry, line: &str) -> bool {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text.lines().any(|known| known == line)
}

fn fail(breaker: &Breaker, times: u32) {
    for _ in 0..times {
        breaker.admit().expect("it is closed").failed();
    }
}

fn refusal(breaker: &Breaker) -> Option<Duration> {
    breaker.admit().err().map(|open| open.retry_after)
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_a_probe_closes_it() {
    let (breaker, registry) = breaker();
    assert!(shows(&registry, r#"kora_circuit_state{tenant="acme"} 0"#));
    fail(&breaker, MAX_FAILURES_IN_A_ROW - 1);
    assert_eq!(refusal(&breaker), None);
    fail(&breaker, 1);
    assert!(shows(&registry, r#"kora_circuit_state{tenant="acme"} 2"#));
    assert_eq!(refusal(&breaker), Some(OPEN_FOR));
    time::advance(OPEN_FOR - Duration::from_millis(1)).await;
    assert_eq!(refusal(&breaker), Some(Duration::from_millis(1)));
    time::advance(Duration::from_millis(1)).await;
    let probe = breaker.admit().expect("the time is over");
    assert!(shows(&registry, r#"kora_circuit_state{tenant="acme"} 1"#));
    assert_eq!(refusal(&breaker), Some(COME_BACK_AFTER));
    probe.succeeded();
    assert!(shows(&registry, r#"kora_circuit_state{tenant="acme"} 0"#));
    fail(&breaker, MAX_FAILURES_IN_A_ROW - 1);
    assert_eq!(refusal(&breaker), None, "it starts anew");
    assert!(shows(&registry, "kora_circuit_openings_total 1"));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_opens_it_again_for_the_whole_time() {
    let (breaker, registry) = breaker();
    fail(&breaker, MAX_FAILURES_IN_A_ROW);
    time::advance(OPEN_FOR * 10).await;
    fail(&breaker, 1);
    assert_eq!(refusal(&breaker), Some(OPEN_FOR));
    assert!(shows(&registry, "kora_circuit_openings_total 2"));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_gives_its_place_back() {
    let (breaker, registry) = breaker();
    fail(&breaker, MAX_FAILURES_IN_A_ROW);
    time::advance(OPEN_FOR).await;
    for _ in 0..3 {
        let probe = breaker.admit().expect("the place is free");
        assert_eq!(refusal(&breaker), Some(COME_BACK_AFTER));
        drop(probe);
        assert!(shows(&registry, r#"kora_circuit_state{tenant="acme"} 1"#));
    }
    breaker.admit().unwrap().succeeded();
    assert_eq!(refusal(&breaker), None);
}

#[tokio::test(start_paused = true)]
async fn calls_from_before_it_opened_decide_nothing() {
    let (breaker, _) = breaker();
    let admit = || breaker.admit().expect("it is not open");
    let mut old: Vec<_> = (0..3 * MAX_FAILURES_IN_A_ROW).map(|_| admit()).collect();
    let mut old = || old.pop().unwrap();
    fail(&breaker, MAX_FAILURES_IN_A_ROW);
    old().succeeded();
    assert_eq!(refusal(&breaker), Some(OPEN_FOR));
    time::advance(OPEN_FOR).await;
    let probe = admit();
    old().succeeded();
    old().failed();
    drop(old());
    assert_eq!(refusal(&breaker), Some(COME_BACK_AFTER));
    probe.succeeded();
    for _ in 0..2 * MAX_FAILURES_IN_A_ROW {
        old().failed();
    }
    assert_eq!(refusal(&breaker), None);
}

#[test]
fn a_refused_call_says_when_to_come_back() {
    let error = CallError::from(Open {
        retry_after: OPEN_FOR,
    });
    assert_eq!(error.reason, Reason::KoraCircuitOpen);
    assert_eq!(error.retry_after, Some(OPEN_FOR));
}

/// What happens to a breaker.
#[derive(Clone, Debug)]
enum Step {
    /// Whole slots, so that the window is exact.
    Wait(u32),
    Admit,
    /// The call of this number, of those that are on their way, ends.
    End(usize, Option<Verdict>),
}

/// The promise, told with a list of all calls instead of sums.
#[derive(Default)]
struct Model {
    now: Duration,
    /// How often it changed.
    changes: u64,
    open_until: Option<Duration>,
    is_half_open: bool,
    is_probing: bool,
    /// The calls since the last change: when each ended, and whether it failed.
    ended: Vec<(Duration, bool)>,
}

impl Model {
    /// The number of changes before the call, if it is let through.
    fn admit(&mut self) -> Option<u64> {
        if let Some(until) = self.open_until {
            if self.now < until || self.is_probing {
                return None;
            }
            if !self.is_half_open {
                self.is_half_open = true;
                self.changes += 1;
            }
            self.is_probing = true;
        }
        Some(self.changes)
    }

    fn end(&mut self, admitted_at: u64, verdict: Option<Verdict>) {
        if admitted_at != self.changes {
            return;
        }
        self.is_probing = false;
        let Some(verdict) = verdict else { return };
        let failed = verdict == Verdict::Failed;
        self.ended.push((self.now, failed));
        let opens = if self.is_half_open {
            failed
        } else {
            self.is_bad()
        };
        if opens || self.is_half_open {
            *self = Model {
                now: self.now,
                changes: self.changes + 1,
                open_until: opens.then(|| self.now + Duration::from_secs(5)),
                ..Model::default()
            };
        }
    }

    fn is_bad(&self) -> bool {
        let in_a_row = self.ended.iter().rev().take_while(|(_, failed)| *failed);
        let recent = |(at, _): &&(Duration, bool)| self.now - *at < Duration::from_secs(10);
        let calls = self.ended.iter().filter(recent).count();
        let failures = self.ended.iter().filter(recent).filter(|call| call.1);
        in_a_row.count() >= 10 || (calls >= 20 && failures.count() * 2 >= calls)
    }
}

/// Kora fails `failures` of ten calls.
fn steps(failures: u32) -> impl Strategy<Value = Vec<Step>> {
    let verdict = prop_oneof![
        10 - failures => Just(Some(Verdict::Succeeded)),
        failures => Just(Some(Verdict::Failed)),
        1 => Just(None),
    ];
    let step = prop_oneof![
        1 => (1..70_u32).prop_map(Step::Wait),
        8 => Just(Step::Admit),
        8 => (any::<usize>(), verdict).prop_map(|(at, verdict)| Step::End(at, verdict)),
    ];
    prop::collection::vec(step, 0..600)
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(steps in (1..10_u32).prop_flat_map(steps)) {
        let runtime = runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (breaker, _) = breaker();
            let mut model = Model::default();
            let mut on_their_way = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(slots) => {
                        time::advance(SLOT * slots).await;
                        model.now += SLOT * slots;
                    }
                    Step::Admit => {
                        let (admitted, expected) = (breaker.admit(), model.admit());
                        assert_eq!(admitted.is_ok(), expected.is_some());
                        on_their_way.extend(admitted.ok().zip(expected));
                    }
                    Step::End(at, verdict) if !on_their_way.is_empty() => {
                        let (mut admitted, admitted_at) =
                            on_their_way.swap_remove(at % on_their_way.len());
                        admitted.verdict = verdict;
                        drop(admitted);
                        model.end(admitted_at, verdict);
                    }
                    Step::End(..) => {}
                }
            }
        });
    }
}
