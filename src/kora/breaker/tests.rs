//! The breaker, alone and against a naive model of the promise.

use std::time::Duration;

use prometheus_client::{encoding::text::encode, registry::Registry};
use proptest::prelude::*;
use tokio::{runtime, time};

use super::{
    circuit::*,
    streak::{MAX_FAILURES, MAX_FAILURES_OF_ONE},
    window::{SLOT, WINDOW},
    *,
};

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

/// Who calls, where it does not matter.
const SOMEBODY: Option<&str> = Some("somebody");

fn fail(breaker: &Breaker, times: u32) {
    fail_of(breaker, SOMEBODY, times);
}

fn fail_of(breaker: &Breaker, caller: Option<&str>, times: u32) {
    for _ in 0..times {
        breaker.admit(caller).expect("it is closed").failed();
    }
}

fn succeed_of(breaker: &Breaker, caller: Option<&str>) {
    breaker.admit(caller).expect("it is closed").succeeded();
}

fn refusal(breaker: &Breaker) -> Option<Duration> {
    breaker.admit(SOMEBODY).err().map(|open| open.retry_after)
}

fn is_open(breaker: &Breaker) -> bool {
    breaker.check(SOMEBODY).is_err()
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_open_it_and_a_probe_closes_it() {
    let (breaker, registry) = breaker();
    assert!(shows(&registry, r#"kora_circuit_state{tenant="acme"} 0"#));
    fail(&breaker, MAX_FAILURES - 1);
    assert_eq!(refusal(&breaker), None);
    fail(&breaker, 1);
    assert!(shows(&registry, r#"kora_circuit_state{tenant="acme"} 2"#));
    assert_eq!(refusal(&breaker), Some(OPEN_FOR));
    time::advance(OPEN_FOR - Duration::from_millis(1)).await;
    assert_eq!(refusal(&breaker), Some(Duration::from_millis(1)));
    time::advance(Duration::from_millis(1)).await;
    let probe = breaker.admit(SOMEBODY).expect("the time is over");
    assert!(shows(&registry, r#"kora_circuit_state{tenant="acme"} 1"#));
    assert_eq!(refusal(&breaker), Some(COME_BACK_AFTER));
    probe.succeeded();
    assert!(shows(&registry, r#"kora_circuit_state{tenant="acme"} 0"#));
    fail(&breaker, MAX_FAILURES - 1);
    assert_eq!(refusal(&breaker), None, "it starts anew");
    assert!(shows(&registry, "kora_circuit_openings_total 1"));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_opens_it_again_for_the_whole_time() {
    let (breaker, registry) = breaker();
    fail(&breaker, MAX_FAILURES);
    time::advance(OPEN_FOR * 10).await;
    fail(&breaker, 1);
    assert_eq!(refusal(&breaker), Some(OPEN_FOR));
    assert!(shows(&registry, "kora_circuit_openings_total 2"));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_gives_its_place_back() {
    let (breaker, registry) = breaker();
    fail(&breaker, MAX_FAILURES);
    time::advance(OPEN_FOR).await;
    for _ in 0..3 {
        let probe = breaker.admit(SOMEBODY).expect("the place is free");
        assert_eq!(refusal(&breaker), Some(COME_BACK_AFTER));
        drop(probe);
        assert!(shows(&registry, r#"kora_circuit_state{tenant="acme"} 1"#));
    }
    breaker.admit(SOMEBODY).unwrap().succeeded();
    assert_eq!(refusal(&breaker), None);
}

#[tokio::test(start_paused = true)]
async fn calls_from_before_it_opened_decide_nothing() {
    let (breaker, _) = breaker();
    let admit = || breaker.admit(SOMEBODY).expect("it is not open");
    let mut old: Vec<_> = (0..3 * MAX_FAILURES).map(|_| admit()).collect();
    let mut old = || old.pop().unwrap();
    fail(&breaker, MAX_FAILURES);
    old().succeeded();
    assert_eq!(refusal(&breaker), Some(OPEN_FOR));
    time::advance(OPEN_FOR).await;
    let probe = admit();
    old().succeeded();
    old().failed();
    drop(old());
    assert_eq!(refusal(&breaker), Some(COME_BACK_AFTER));
    probe.succeeded();
    for _ in 0..2 * MAX_FAILURES {
        old().failed();
    }
    assert_eq!(refusal(&breaker), None);
}

#[tokio::test(start_paused = true)]
async fn a_probe_without_a_verdict_is_followed_by_another_after_five_seconds() {
    let (breaker, _) = breaker();
    fail(&breaker, MAX_FAILURES);
    time::advance(OPEN_FOR).await;
    let hung = breaker.admit(SOMEBODY).expect("the time is over");
    time::advance(PROBE_INTERVAL - Duration::from_millis(1)).await;
    assert_eq!(refusal(&breaker), Some(COME_BACK_AFTER));
    time::advance(Duration::from_millis(1)).await;
    let second = breaker.admit(SOMEBODY).expect("another one is due");
    assert_eq!(refusal(&breaker), Some(COME_BACK_AFTER), "one at a time");
    // What the first one meets at last says nothing about Kora as it is now.
    hung.failed();
    assert_eq!(refusal(&breaker), Some(COME_BACK_AFTER));
    second.succeeded();
    assert_eq!(refusal(&breaker), None);
}

#[tokio::test(start_paused = true)]
async fn any_probe_that_succeeds_closes_it_and_the_last_one_alone_opens_it() {
    let (breaker, _) = breaker();
    for is_first_well in [true, false] {
        fail(&breaker, MAX_FAILURES);
        let mut sent = Vec::new();
        for _ in 0..2 {
            time::advance(OPEN_FOR).await;
            sent.push(breaker.admit(SOMEBODY).expect("one is due"));
        }
        let (last, first) = (sent.pop().unwrap(), sent.pop().unwrap());
        if is_first_well {
            first.succeeded();
            last.failed();
            assert_eq!(refusal(&breaker), None);
        } else {
            last.failed();
            first.succeeded();
            assert_eq!(refusal(&breaker), Some(OPEN_FOR));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_fails_alone_opens_it_for_nobody() {
    let (breaker, _) = breaker();
    let (poisoned, well) = (Some("poisoned"), Some("well"));
    for _ in 0..5 {
        succeed_of(&breaker, well);
        fail_of(&breaker, poisoned, 10 * MAX_FAILURES);
        succeed_of(&breaker, well);
        // A failure of somebody else's now and then does not mean that Kora is down either.
        fail_of(&breaker, well, 1);
        assert!(!is_open(&breaker));
        time::advance(WINDOW / 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn enough_failures_of_others_in_a_row_open_it() {
    let (breaker, _) = breaker();
    let (one, other) = (Some("one"), Some("other"));
    for _ in 0..MAX_FAILURES {
        succeed_of(&breaker, other);
    }
    fail_of(&breaker, one, 10 * MAX_FAILURES);
    fail_of(&breaker, other, MAX_FAILURES_OF_ONE - 1);
    assert!(!is_open(&breaker));
    fail_of(&breaker, other, 1);
    assert!(is_open(&breaker));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_fails_opens_it_once_nobody_else_has_succeeded_for_ten_seconds() {
    let (breaker, _) = breaker();
    succeed_of(&breaker, Some("other"));
    fail(&breaker, 10 * MAX_FAILURES);
    time::advance(WINDOW - Duration::from_millis(1)).await;
    fail(&breaker, 1);
    assert!(!is_open(&breaker));
    time::advance(Duration::from_millis(1)).await;
    fail(&breaker, 1);
    assert!(is_open(&breaker));
}

#[tokio::test(start_paused = true)]
async fn polls_that_succeed_excuse_no_caller() {
    let (breaker, _) = breaker();
    succeed_of(&breaker, None);
    fail(&breaker, MAX_FAILURES);
    assert!(is_open(&breaker));
}

#[tokio::test(start_paused = true)]
async fn half_of_the_calls_open_it_only_if_half_of_the_others_failed_too() {
    for (failures_of_other, opens) in [(1, false), (2, true)] {
        let (breaker, _) = breaker();
        for number in 0..4 {
            let other = breaker.admit(Some("other")).expect("it is closed");
            match number < failures_of_other {
                true => other.failed(),
                false => other.succeeded(),
            }
        }
        for _ in 0..8 {
            succeed_of(&breaker, SOMEBODY);
            fail(&breaker, 1);
        }
        assert!(!is_open(&breaker) || opens, "{failures_of_other}");
        for _ in 0..4 {
            fail_of(&breaker, SOMEBODY, u32::from(!is_open(&breaker)));
        }
        assert_eq!(is_open(&breaker), opens, "{failures_of_other}");
    }
}

#[tokio::test(start_paused = true)]
async fn whose_probe_failed_probes_next_only_where_nobody_else_waits() {
    let (breaker, _) = breaker();
    let (poisoned, other) = (Some("poisoned"), Some("other"));
    let refused = |caller| breaker.check(caller).err().map(|open| open.retry_after);
    fail(&breaker, MAX_FAILURES);
    time::advance(OPEN_FOR).await;
    fail_of(&breaker, poisoned, 1);
    assert_eq!(refused(poisoned), Some(OPEN_FOR));
    time::advance(OPEN_FOR).await;
    // Nobody else came.
    assert_eq!(refused(poisoned), None);
    fail_of(&breaker, poisoned, 1);
    assert_eq!(refused(other), Some(OPEN_FOR));
    time::advance(OPEN_FOR).await;
    assert_eq!(refused(poisoned), Some(OPEN_FOR));
    succeed_of(&breaker, other);
    assert_eq!(refused(poisoned), None);
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
    /// By the caller of this number.
    Admit(usize),
    /// The call of this number, of those that are on their way, ends.
    End(usize, Option<Verdict>),
}

/// Who calls: two callers, and the gateway itself.
const CALLERS: [Option<&str>; 3] = [Some("a"), Some("b"), None];

/// A call that was let through.
struct Call {
    caller: Option<&'static str>,
    /// The number of changes before it.
    changes: u64,
    /// When it was let through, among all.
    number: usize,
}

/// The promise, told with a list of all calls instead of sums.
#[derive(Default)]
struct Model {
    now: Duration,
    /// How often it changed.
    changes: u64,
    admitted: usize,
    open_until: Option<Duration>,
    prober: Option<&'static str>,
    is_awaited: bool,
    is_half_open: bool,
    /// The number of the last probe, and when it was let through, until it ends without a verdict.
    probe: Option<(usize, Duration)>,
    /// The calls since the last change: when each ended, whose it was, and whether it failed.
    ended: Vec<(Duration, Option<&'static str>, bool)>,
}

impl Model {
    /// The call, if it is let through.
    fn admit(&mut self, caller: Option<&'static str>) -> Option<Call> {
        if self.is_half_open {
            let probed = self.probe.map(|(_, since)| since);
            if probed.is_some_and(|since| self.now < since + Duration::from_secs(5)) {
                return None;
            }
        } else if let Some(until) = self.open_until {
            let is_prober = self.prober.is_some() && self.prober == caller;
            self.is_awaited |= self.prober.is_some() && !is_prober;
            let more = Duration::from_secs(if is_prober && self.is_awaited { 5 } else { 0 });
            if self.now < until + more {
                return None;
            }
            self.is_half_open = true;
            self.changes += 1;
        }
        self.admitted += 1;
        if self.is_half_open {
            self.probe = Some((self.admitted, self.now));
        }
        Some(Call {
            caller,
            changes: self.changes,
            number: self.admitted,
        })
    }

    fn end(&mut self, call: &Call, verdict: Option<Verdict>) {
        if call.changes != self.changes {
            return;
        }
        let is_last_probe = self.probe.is_some_and(|(number, _)| number == call.number);
        if self.is_half_open && !is_last_probe && verdict != Some(Verdict::Succeeded) {
            return;
        }
        self.probe = self.probe.filter(|_| verdict.is_some());
        let Some(verdict) = verdict else { return };
        let failed = verdict == Verdict::Failed;
        self.ended.push((self.now, call.caller, failed));
        let opens = if self.is_half_open {
            failed
        } else {
            self.is_bad()
        };
        if opens || self.is_half_open {
            *self = Model {
                now: self.now,
                changes: self.changes + 1,
                admitted: self.admitted,
                open_until: opens.then(|| self.now + Duration::from_secs(5)),
                prober: call.caller.filter(|_| opens && self.is_half_open),
                ..Model::default()
            };
        }
    }

    fn is_bad(&self) -> bool {
        self.is_bad_in_a_row() || self.is_half_bad()
    }

    fn is_bad_in_a_row(&self) -> bool {
        let in_a_row = self.ended.iter().rev().take_while(|call| call.2);
        let in_a_row: Vec<_> = in_a_row.map(|call| call.1).collect();
        let of = |caller| in_a_row.iter().filter(|one| **one == caller).count();
        let [a, b, polls] = CALLERS.map(of);
        let succeeded = |caller| self.recent().any(|call| call.1 == caller && !call.2);
        // Where both failed as often, neither had the most.
        let is_excused = a != b && succeeded(CALLERS[usize::from(a > b)]);
        a + b + polls >= 10 && (a.min(5) + b.min(5) + polls >= 10 || !is_excused)
    }

    fn is_half_bad(&self) -> bool {
        let is_half = |calls: &[_]| {
            let failures = calls.iter().filter(|failed| **failed).count();
            failures * 2 >= calls.len()
        };
        let of = |caller| {
            let calls = self.recent().filter(|call| call.1 == caller);
            calls.map(|call| call.2).collect::<Vec<_>>()
        };
        let all: Vec<_> = self.recent().map(|call| call.2).collect();
        let [a, b, _] = CALLERS.map(of);
        all.len() >= 20 && is_half(&all) && is_half(&a) && is_half(&b)
    }

    fn recent(&self) -> impl Iterator<Item = &(Duration, Option<&'static str>, bool)> {
        let recent = |call: &&(Duration, _, _)| self.now - call.0 < Duration::from_secs(10);
        self.ended.iter().filter(recent)
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
        8 => (0..CALLERS.len()).prop_map(Step::Admit),
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
                    Step::Admit(number) => {
                        let caller = CALLERS[number];
                        let (admitted, expected) = (breaker.admit(caller), model.admit(caller));
                        assert_eq!(admitted.is_ok(), expected.is_some());
                        on_their_way.extend(admitted.ok().zip(expected));
                    }
                    Step::End(at, verdict) if !on_their_way.is_empty() => {
                        let (mut admitted, call) =
                            on_their_way.swap_remove(at % on_their_way.len());
                        admitted.verdict = verdict;
                        drop(admitted);
                        model.end(&call, verdict);
                    }
                    Step::End(..) => {}
                }
            }
        });
    }
}
