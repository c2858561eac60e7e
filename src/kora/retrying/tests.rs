//! Which failures are followed by another attempt, when, and how many of them.

use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::time;

use super::*;
use crate::error::Outcome;

const POSTS: [Endpoint; 2] = [Endpoint::CreateScreening, Endpoint::CreateSubject];
const GETS: [Endpoint; 2] = [Endpoint::GetScreening, Endpoint::GetSubject];

/// More than any pause that Kora does not name.
const AMPLE: Duration = Duration::from_secs(30);

fn retries() -> (Retries, Registry) {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    (Retries::new(metrics), registry)
}

fn shown(registry: &Registry, line: &str) -> bool {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text.lines().any(|known| known == line)
}

/// The pause after this attempt, of a caller who waits for so long.
fn pause(
    endpoint: Endpoint,
    error: &CallError,
    attempt: usize,
    left: Duration,
) -> Option<Duration> {
    let now = Instant::now();
    retries().0.next(endpoint, error, attempt, now, now + left)
}

fn is_repeated(endpoint: Endpoint, reason: Reason) -> bool {
    pause(endpoint, &reason.into(), 1, AMPLE).is_some()
}

fn rate_limited(retry_after: Duration) -> CallError {
    CallError {
        retry_after: Some(retry_after),
        ..CallError::new(Reason::KoraRateLimited)
    }
}

#[test]
fn a_post_is_repeated_only_if_it_certainly_did_not_happen() {
    for (endpoint, reason) in POSTS
        .into_iter()
        .flat_map(|post| Reason::all().map(move |reason| (post, reason)))
    {
        if is_repeated(endpoint, reason) {
            let (_, outcome) = reason.of_paid_call();
            assert!(outcome <= Outcome::Rejected, "{}", reason.name());
        }
    }
}

#[test]
fn these_failures_are_repeated_and_no_others() {
    let anyhow = ["KORA_UNREACHABLE", "KORA_RATE_LIMITED", "KORA_UNAVAILABLE"];
    let read = [
        "KORA_INTERNAL",
        "DEADLINE_EXCEEDED",
        "KORA_SCREENING_TIMEOUT",
    ];
    for reason in Reason::all() {
        let name = reason.name();
        for post in POSTS {
            assert_eq!(is_repeated(post, reason), anyhow.contains(&name), "{name}");
        }
        for get in GETS {
            let expected = anyhow.contains(&name) || read.contains(&name);
            assert_eq!(is_repeated(get, reason), expected, "{name}");
        }
    }
}

#[test]
fn a_call_has_three_attempts() {
    let error = CallError::new(Reason::KoraUnreachable);
    let is_followed =
        |attempt| POSTS.map(|post| pause(post, &error, attempt, AMPLE).is_some()) == [true; 2];
    assert!(is_followed(1));
    assert!(is_followed(2));
    for attempt in [0, 3, 4, usize::MAX] {
        assert!(!is_followed(attempt), "{attempt}");
    }
}

#[test]
fn pauses_are_spread_evenly_from_nothing_to_the_longest() {
    const DRAWS: u32 = 10_000;
    fastrand::seed(7);
    for (attempt, longest) in (1..).zip(LONGEST_PAUSES) {
        let error = CallError::new(Reason::KoraUnreachable);
        let mut quarters = [0_u32; 4];
        for _ in 0..DRAWS {
            let pause = pause(Endpoint::CreateSubject, &error, attempt, AMPLE).unwrap();
            assert!(pause <= longest, "{pause:?}");
            let share = pause.as_secs_f64() / longest.as_secs_f64();
            quarters[((share * 4.0) as usize).min(3)] += 1;
        }
        let fair = DRAWS / 4;
        assert!(
            quarters.iter().all(|count| count.abs_diff(fair) < fair / 5),
            "{quarters:?}"
        );
    }
    assert!(LONGEST_PAUSES.is_sorted());
}

#[test]
fn a_delay_that_kora_names_is_kept_if_the_caller_waits_that_long() {
    for asked in [
        Duration::from_millis(100),
        Duration::from_secs(7),
        AMPLE * 100,
    ] {
        for attempt in [1, 2] {
            let error = rate_limited(asked);
            let with = |left| pause(Endpoint::CreateScreening, &error, attempt, left);
            assert_eq!(with(asked + MIN_TIME_TO_SEND), Some(asked));
            let too_short = asked + MIN_TIME_TO_SEND - Duration::from_nanos(1);
            assert_eq!(with(too_short), None);
            assert_eq!(with(Duration::ZERO), None);
        }
    }
}

#[test]
fn nobody_is_kept_waiting_past_the_deadline() {
    fastrand::seed(7);
    let error = CallError::new(Reason::KoraInternal);
    let left = LONGEST_PAUSES[1] / 2;
    let pauses: Vec<_> = (0..1000)
        .map(|_| pause(Endpoint::GetSubject, &error, 2, left))
        .collect();
    assert!(pauses.iter().any(Option::is_none));
    assert!(pauses.iter().any(Option::is_some));
    for pause in pauses.into_iter().flatten() {
        assert!(pause + MIN_TIME_TO_SEND <= left, "{pause:?}");
    }
    let now = Instant::now();
    let passed = retries()
        .0
        .next(Endpoint::GetSubject, &error, 1, now + AMPLE, now);
    assert_eq!(passed, None);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_spent_by_retries_and_filled_by_successes() {
    let (retries, registry) = retries();
    let ask = |error: &CallError, left| {
        let now = Instant::now();
        retries.next(Endpoint::CreateSubject, error, 1, now, now + left)
    };
    let unreachable = CallError::new(Reason::KoraUnreachable);
    let free = FREE_RETRIES_PER_SECOND * BUDGET_WINDOW.as_secs() as u32;
    // What is not repeated anyway costs nothing.
    for _ in 0..free {
        assert_eq!(ask(&rate_limited(AMPLE), AMPLE), None);
        assert_eq!(ask(&Reason::KoraOutcomeUnknown.into(), AMPLE), None);
    }
    for _ in 0..free {
        assert!(ask(&unreachable, AMPLE).is_some());
    }
    assert!(ask(&unreachable, AMPLE).is_none());
    for _ in 0..10 {
        retries.succeeded();
    }
    assert!(ask(&rate_limited(Duration::ZERO), AMPLE).is_some());
    assert!(ask(&unreachable, AMPLE).is_some());
    assert!(ask(&unreachable, AMPLE).is_none());
    time::advance(BUDGET_WINDOW * 2).await;
    assert!(ask(&unreachable, AMPLE).is_some());

    let line = format!(
        "kora_retries_total{{reason=\"KORA_UNREACHABLE\"}} {}",
        free + 2
    );
    assert!(shown(&registry, &line), "{line}");
    let line = "kora_retries_total{reason=\"KORA_RATE_LIMITED\"} 1";
    assert!(shown(&registry, line));
    assert!(shown(&registry, "kora_retries_refused_total 2"));
}
