//! When a call has to be answered.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// How long a call may take whose caller sets no deadline.
const DEFAULT: Duration = Duration::from_secs(35);

/// A longer deadline counts as this one.
const MAX: Duration = Duration::from_secs(600);

/// The most of a short deadline that is kept in reserve: a tenth.
const SHORT_RESERVE_DIVISOR: u32 = 10;

/// Deadlines below 10 s.
const RESERVE_BELOW_10_S: Duration = Duration::from_millis(100);

/// Deadlines from 10 s.
const RESERVE_FROM_10_S: Duration = Duration::from_millis(200);

/// Deadlines from 100 s.
const RESERVE_FROM_100_S: Duration = Duration::from_millis(1_100);

/// The part of a deadline from 1,000 s on that is kept in reserve: 1.25 %. Of such deadlines, gRPC's C core adds up to
/// 1.2 % (10 s to 1,000 s, 10 min to 1,000 min, 10 h to 1,000 h).
const LONG_RESERVE_DIVISOR: u32 = 80;

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
    let timeout = timeout.unwrap_or(DEFAULT);
    received + (timeout - reserve(timeout)).min(MAX)
}

/// When the gateway ends a stream that was asked for at `received`: only where its caller says so, and
/// however late that is.
pub(super) fn stream_deadline(timeout: Option<Duration>, received: Instant) -> Option<Instant> {
    let timeout = timeout?;
    received.checked_add(timeout - reserve(timeout))
}

/// How long before the stated deadline the gateway answers, so that the typed answer reaches the caller in time.
///
/// The caller's own deadline can be earlier than the one stated: gRPC's C core (Python, C++, Ruby, PHP, C#) states it in three
/// significant digits and rounds up, to 10 ms below 10 s, 100 ms below 100 s, 1 s below 1,000 s, and 10 s above
/// (`src/core/lib/transport/timeout_encoding.cc`). The reserve of each range exceeds that.
fn reserve(timeout: Duration) -> Duration {
    match timeout.as_secs() {
        ..10 => RESERVE_BELOW_10_S.min(timeout / SHORT_RESERVE_DIVISOR),
        10..100 => RESERVE_FROM_10_S,
        100..1_000 => RESERVE_FROM_100_S,
        _ => timeout / LONG_RESERVE_DIVISOR,
    }
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
            (None, 34_800),
            (Some("2S"), 1_900),
            (Some("500m"), 450),
            (Some("10000u"), 9),
            (Some("9999m"), 9_899),
            (Some("10S"), 9_800),
            (Some("1M"), 59_800),
            (Some("100S"), 98_900),
            (Some("10M"), 598_900),
            (Some("99999999H"), 600_000),
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
        assert_eq!(after(Some(day)), Some(day - Duration::from_secs(1_080)));
    }

    /// What grpcio 1.85 sends for a deadline, as recorded from its wire.
    const SENT_BY_C_CORE: [(f64, &str); 31] = [
        (0.05, "50m"),
        (0.5, "501m"),
        (1.001, "1010m"),
        (5.0, "5010m"),
        (9.991, "10S"),
        (10.001, "10100m"),
        (12.3, "12400m"),
        (35.0, "35100m"),
        (50.5, "50600m"),
        (99.91, "100S"),
        (100.001, "101S"),
        (100.5, "101S"),
        (101.0, "101S"),
        (120.0, "121S"),
        (500.5, "501S"),
        (599.1, "10M"),
        (700.0, "701S"),
        (999.5, "1000S"),
        (1_000.001, "1010S"),
        (1_001.0, "1010S"),
        (3_601.0, "3610S"),
        (9_991.0, "10000S"),
        (10_001.0, "10100S"),
        (60_300.0, "60400S"),
        (86_401.0, "86500S"),
        (100_001.0, "1670M"),
        (432_001.0, "7210M"),
        (600_001.0, "10100M"),
        (1_000_001.0, "16700M"),
        (6_000_001.0, "1667H"),
        (36_000_001.0, "10001H"),
    ];

    /// The least that is left for the answer's way back.
    fn least_margin(deadline: Duration) -> Duration {
        Duration::from_millis(80).min(deadline / 11)
    }

    #[test]
    fn the_answer_comes_before_a_deadline_that_was_rounded_up() {
        for (seconds, sent) in SENT_BY_C_CORE {
            let deadline = Duration::from_secs_f64(seconds);
            let last = deadline - least_margin(deadline);
            let answered = time_to_answer(Some(sent)).unwrap();
            assert!(answered <= last, "{sent} of {seconds}: {answered:?}");
            let received = Instant::now();
            let ended = stream_deadline(parse(sent), received).unwrap() - received;
            assert!(ended <= last, "{sent} of {seconds}: {ended:?}");
            assert!(ended >= deadline.mul_f64(0.89), "{sent}: {ended:?}");
        }
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
