//! How long Kora asks a caller to wait.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};
use jiff::Timestamp;

/// The shortest hint that is passed on (Kora's own sample waits no less; Kora docs: rate-limits).
const MIN_WAIT: Duration = Duration::from_millis(100);

/// What is passed on where Kora gives no hint that can be read.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);

/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The longest wait until `X-RateLimit-Reset` that is believed: limits are per minute.
const MAX_RESET: Duration = Duration::from_secs(60);

/// Reads `Retry-After` (seconds or a date), else `X-RateLimit-Reset` (Unix seconds). Clocks differ: a time
/// that has passed is a short wait.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Duration {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    text(RETRY_AFTER.as_str())
        .and_then(|value| seconds_or_date(value.trim(), now))
        .map(|wait| wait.min(MAX_RETRY_AFTER))
        .or_else(|| {
            let reset: i64 = text("x-ratelimit-reset")?.trim().parse().ok()?;
            Some(until(Timestamp::from_second(reset).ok()?, now).min(MAX_RESET))
        })
        .unwrap_or(DEFAULT_WAIT)
        .max(MIN_WAIT)
}

fn seconds_or_date(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.parse::<f64>() {
        return match seconds.is_finite() && seconds >= 0.0 {
            true => Some(Duration::try_from_secs_f64(seconds).unwrap_or(MAX_RETRY_AFTER)),
            false => None,
        };
    }
    let date: SystemTime = httpdate::parse_http_date(value).ok()?;
    Some(until(Timestamp::try_from(date).ok()?, now))
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
        retry_after(&map, now)
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
