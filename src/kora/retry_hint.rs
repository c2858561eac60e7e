//! How long Kora asks a caller to wait.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};
use jiff::Timestamp;

/// The shortest hint that is passed on (Kora's own sample waits no less; Kora docs: rate-limits).
const MIN_WAIT: Duration = Duration::from_millis(100);

/// What callers are told where Kora gives no hint that can be read.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// How precise a `Date` is (RFC 9110, 5.6.7).
const DATE_UNIT: Duration = Duration::from_secs(1);

/// The longest wait until `X-RateLimit-Reset` that is believed: limits are per minute.
const MAX_RESET: Duration = Duration::from_secs(60);

/// How long to wait after a 429: `Retry-After`, else until `X-RateLimit-Reset` (Unix seconds), else 1 s.
pub(super) fn until_rate_limit_allows(headers: &HeaderMap, now: Timestamp) -> Duration {
    let until_reset = || {
        let reset: i64 = text(headers, "x-ratelimit-reset")?.parse().ok()?;
        let wait = until(
            Timestamp::from_second(reset).ok()?,
            answered_at(headers, now),
        );
        Some(wait.min(MAX_RESET))
    };
    retry_after(headers, now)
        .or_else(until_reset)
        .unwrap_or(DEFAULT_WAIT)
        .max(MIN_WAIT)
}

/// Reads `Retry-After` (seconds or a date). A time that has passed is a short wait. Of any answer but a 429
/// it is the only hint: Kora sends `X-RateLimit-Reset` with every answer (Kora docs: rate-limits), so that
/// says nothing about a 503.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let wait = seconds_or_date(
        text(headers, RETRY_AFTER.as_str())?,
        answered_at(headers, now),
    )?;
    Some(wait.clamp(MIN_WAIT, MAX_RETRY_AFTER))
}

/// The time of day by the sender's clock, so that clocks that differ do not matter: that of the answer's
/// `Date`, which is in whole seconds, and `now` by this machine's clock where there is none, or where the two
/// agree.
pub(super) fn answered_at(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    let Some(date) = text(headers, DATE.as_str()).and_then(http_date) else {
        return now;
    };
    let agrees = date <= now && until(now, date) <= DATE_UNIT;
    if agrees { now } else { date }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

fn http_date(value: &str) -> Option<Timestamp> {
    let date: SystemTime = httpdate::parse_http_date(value).ok()?;
    Timestamp::try_from(date).ok()
}

fn seconds_or_date(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0)
            .then(|| Duration::try_from_secs_f64(seconds).unwrap_or(MAX_RETRY_AFTER));
    }
    Some(until(http_date(value)?, now))
}

fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(headers: &[(&'static str, &str)]) -> Duration {
        let now = "2024-06-01T12:00:00Z".parse().unwrap();
        let map = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        until_rate_limit_allows(&map, now)
    }

    #[test]
    fn seconds_dates_and_resets_are_understood() {
        assert_eq!(wait(&[("retry-after", "7")]), Duration::from_secs(7));
        assert_eq!(wait(&[("retry-after", "0.5")]), Duration::from_millis(500));
        let date = "Sat, 01 Jun 2024 12:00:30 GMT";
        assert_eq!(wait(&[("retry-after", date)]), Duration::from_secs(30));
        let reset = &[("x-ratelimit-reset", "1717243220")];
        assert_eq!(wait(reset), Duration::from_secs(20));
        let both = &[("retry-after", "7"), ("x-ratelimit-reset", "1717243220")];
        assert_eq!(wait(both), Duration::from_secs(7));
    }

    #[test]
    fn times_are_compared_with_the_answers_own_date() {
        for (date, seconds) in [
            ("Sat, 01 Jun 2024 12:00:10 GMT", 10),
            ("Sat, 01 Jun 2024 11:59:30 GMT", 50),
            ("Sat, 01 Jun 2024 13:00:00 GMT", 0),
            // The clocks agree, and this machine's is finer.
            ("Sat, 01 Jun 2024 11:59:59 GMT", 20),
            ("yesterday", 20),
        ] {
            let expected = Duration::from_secs(seconds).max(MIN_WAIT);
            let reset = ("x-ratelimit-reset", "1717243220");
            assert_eq!(wait(&[("date", date), reset]), expected, "{date}");
            let retry_after = ("retry-after", "Sat, 01 Jun 2024 12:00:20 GMT");
            assert_eq!(wait(&[("date", date), retry_after]), expected, "{date}");
        }
    }

    #[test]
    fn a_reset_is_no_retry_after() {
        let mut headers = HeaderMap::new();
        headers.insert("x-ratelimit-reset", "1717243220".parse().unwrap());
        let now = "2024-06-01T12:00:00Z".parse().unwrap();
        assert_eq!(retry_after(&headers, now), None);
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(retry_after(&headers, now), Some(Duration::from_secs(7)));
    }

    #[test]
    fn nonsense_and_extremes_are_bounded() {
        for nonsense in ["soon", "-5", "NaN", "inf", "", "Sat, 99 Jun 2024"] {
            assert_eq!(
                wait(&[("retry-after", nonsense)]),
                DEFAULT_WAIT,
                "{nonsense}"
            );
        }
        assert_eq!(wait(&[]), DEFAULT_WAIT);
        assert_eq!(wait(&[("retry-after", "0")]), MIN_WAIT);
        assert_eq!(wait(&[("retry-after", "1e300")]), MAX_RETRY_AFTER);
        assert_eq!(wait(&[("x-ratelimit-reset", "1")]), MIN_WAIT);
        assert_eq!(wait(&[("x-ratelimit-reset", "99999999999")]), MAX_RESET);
    }
}
