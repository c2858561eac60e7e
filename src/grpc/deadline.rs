//! When a call has to be answered.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// How long a call may take whose caller sets no deadline.
const DEFAULT: Duration = Duration::from_secs(35);

/// A longer deadline counts as this one.
const MAX: Duration = Duration::from_secs(600);

/// How long before the caller's deadline the gateway answers, so that the typed answer still arrives.
const RESERVE: Duration = Duration::from_millis(100);

/// The most of a short deadline that is kept in reserve: a tenth.
const RESERVE_DIVISOR: u32 = 10;

/// A `grpc-timeout` that is not what the protocol says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidTimeout;

/// How long the caller waits, where it says so.
pub(super) fn timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, InvalidTimeout> {
    headers
        .get("grpc-timeout")
        .map(|value| value.to_str().ok().and_then(parse).ok_or(InvalidTimeout))
        .transpose()
}

/// When the gateway answers a call that was received at `received`.
pub(super) fn answer_by(timeout: Option<Duration>, received: Instant) -> Instant {
    let timeout = timeout.unwrap_or(DEFAULT).min(MAX);
    received + timeout - reserve(timeout)
}

/// When the gateway ends a stream that was asked for at `received`: only where its caller says so, and
/// however late that is.
pub(super) fn stream_deadline(timeout: Option<Duration>, received: Instant) -> Option<Instant> {
    let timeout = timeout?;
    received.checked_add(timeout - reserve(timeout))
}

fn reserve(timeout: Duration) -> Duration {
    RESERVE.min(timeout / RESERVE_DIVISOR)
}

/// One to eight digits and a unit (gRPC over HTTP/2: `Timeout`).
fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let amount: u64 = is_number.then(|| digits.parse().ok())??;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time_to_answer(timeout: Option<&str>) -> Result<Duration, InvalidTimeout> {
        let received = Instant::now();
        let headers = timeout
            .iter()
            .map(|value| ("grpc-timeout".parse().unwrap(), value.parse().unwrap()))
            .collect();
        Ok(answer_by(timeout_of(&headers)?, received) - received)
    }

    #[test]
    fn the_answer_comes_before_the_deadline() {
        for (timeout, milliseconds) in [
            (None, 34_900),
            (Some("2S"), 1_900),
            (Some("500m"), 450),
            (Some("10000u"), 9),
            (Some("1M"), 59_900),
            (Some("99999999H"), 599_900),
            (Some("0S"), 0),
        ] {
            let expected = Ok(Duration::from_millis(milliseconds));
            assert_eq!(time_to_answer(timeout), expected, "{timeout:?}");
        }
    }

    #[test]
    fn a_stream_ends_when_its_caller_says_so_and_not_before() {
        let received = Instant::now();
        let after = |timeout| stream_deadline(timeout, received).map(|end| end - received);
        assert_eq!(after(None), None);
        let day = Duration::from_secs(86_400);
        assert_eq!(after(Some(day)), Some(day - RESERVE));
    }

    #[test]
    fn other_spellings_are_refused() {
        for odd in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "1 S",
            "é",
        ] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
