//! What holds for every wait that Kora asks for.

use std::{
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};
use jiff::Timestamp;

use crate::{fuzzing::input::Input, kora::retry_hint};

/// How short and how long a wait may be.
pub(super) const BOUNDS: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);

/// The wait where Kora asks for none.
const DEFAULT: Duration = Duration::from_secs(1);

/// How long a wait for the end of a rate limit may be.
const MAX_RESET: Duration = Duration::from_secs(60);

/// Headers of any text, or one with a number or a date of which the wait is known.
pub fn retry_after(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte() % 4;
    let now = u64::from(u32::from_le_bytes(input.array()));
    match kind {
        0 => any(&mut input, now),
        1 => {
            let seconds = input.number() >> (input.byte() % 64);
            let wait = Duration::from_secs(seconds);
            assert_eq!(
                asked(&RETRY_AFTER, &seconds.to_string(), now),
                bounded(wait)
            );
        }
        2 => {
            let then = now.saturating_add_signed(i64::from(i32::from_le_bytes(input.array())));
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(then);
            let date = httpdate::fmt_http_date(date);
            let wait = Duration::from_secs(then.saturating_sub(now));
            assert_eq!(asked(&RETRY_AFTER, &date, now), bounded(wait));
        }
        _ => {
            let then = input.number() >> (input.byte() % 64);
            let told = asked(&reset(), &then.to_string(), now);
            let wait = bounded(Duration::from_secs(then.saturating_sub(now)).min(MAX_RESET));
            // What no clock tells is no time.
            let is_time =
                i64::try_from(then).is_ok_and(|then| Timestamp::from_second(then).is_ok());
            assert_eq!(told, if is_time { wait } else { DEFAULT });
        }
    }
}

/// Any headers, in any number.
fn any(input: &mut Input<'_>, now: u64) {
    let (mut headers, mut has_own) = (HeaderMap::new(), false);
    while !input.is_empty() {
        let name = match input.byte() % 3 {
            0 => RETRY_AFTER,
            1 => reset(),
            _ => HeaderName::from_static("x-ratelimit-remaining"),
        };
        if let Ok(value) = HeaderValue::from_bytes(input.part()) {
            has_own |= name == RETRY_AFTER;
            headers.append(name, value);
        }
    }
    let wait = retry_hint::until_rate_limit_allows(&headers, at(now));
    assert!(BOUNDS.contains(&wait), "{wait:?}");
    assert!(has_own || wait <= MAX_RESET, "{wait:?}");
    assert!(has_own || headers.contains_key(reset()) || wait == DEFAULT);
}

fn asked(name: &HeaderName, value: &str, now: u64) -> Duration {
    let value = value.parse().expect("a number or a date is a value");
    let headers = HeaderMap::from_iter([(name.clone(), value)]);
    retry_hint::until_rate_limit_allows(&headers, at(now))
}

fn bounded(wait: Duration) -> Duration {
    wait.clamp(*BOUNDS.start(), *BOUNDS.end())
}

fn at(second: u64) -> Timestamp {
    let second = i64::try_from(second).expect("32 bits fit in 63");
    Timestamp::from_second(second).expect("32 bits of seconds end in 2106")
}

fn reset() -> HeaderName {
    HeaderName::from_static("x-ratelimit-reset")
}
