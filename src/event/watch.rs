//! What a caller of the stream asks for, once it is known to be valid.

use std::time::Duration;

use jiff::Timestamp;

use super::{Filter, FilterKeys, Keys, ResumeToken};
use crate::{
    error::{CallError, Reason, Violation},
    pb::{self, watch_events_request::Start as WireStart},
};

/// The interval of heartbeats where none is asked for.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(20);

/// The shortest and the longest one.
const MIN_HEARTBEAT: Duration = Duration::from_secs(5);
const MAX_HEARTBEAT: Duration = Duration::from_secs(60);

/// The first and the last second that a protobuf `Timestamp` can have: 0001-01-01 and 9999-12-31 (timestamp.proto).
const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;

/// Where a stream starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Right after this token's position.
    Resume(ResumeToken),
    /// With the first event received at or after this time.
    From(Timestamp),
    /// With the oldest event that is kept.
    Earliest,
    /// With the next event.
    Latest,
}

/// What to do where events between the start and now are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnGap {
    /// End the stream.
    Fail,
    /// Say so, and go on.
    Skip,
}

/// A valid request for a stream.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// Which events.
    pub filter: Filter,
    /// From where.
    pub start: Start,
    /// How long the stream may be silent.
    pub heartbeat_interval: Duration,
    /// Whether it ends when the past has been sent.
    pub until_caught_up: bool,
    /// What to do about a gap.
    pub on_gap: OnGap,
    /// Whether events carry Kora's exact body.
    pub include_raw_json: bool,
}

impl WatchRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with the bad fields, or `TOKEN_INVALID`.
    pub fn from_wire(request: pb::WatchEventsRequest) -> Result<Self, CallError> {
        let on_gap = match pb::GapPolicy::try_from(request.on_gap) {
            Ok(pb::GapPolicy::Skip) => OnGap::Skip,
            Ok(pb::GapPolicy::Fail | pb::GapPolicy::Unspecified) => OnGap::Fail,
            Err(_) => return Err(invalid("on_gap", "is not a value of this enum")),
        };
        Ok(WatchRequest {
            filter: Filter::from_wire(request.filter.unwrap_or_default())?,
            start: start(request.start)?,
            heartbeat_interval: heartbeat_interval(request.heartbeat_interval),
            until_caught_up: request.until_caught_up,
            on_gap,
            include_raw_json: request.include_raw_json,
        })
    }

    /// By what to find the events that may belong on the stream; `None` where that may be all.
    pub fn filter_keys(&self) -> Option<FilterKeys> {
        self.filter.keys()
    }

    /// Whether an event with these keys, received then, belongs on the stream.
    pub fn wants(&self, keys: &Keys, receive_time: Timestamp) -> bool {
        self.filter.matches(keys) && self.start.time().is_none_or(|from| receive_time >= from)
    }
}

impl Start {
    /// From when on events are wanted.
    fn time(self) -> Option<Timestamp> {
        match self {
            Start::From(time) => Some(time),
            Start::Resume(_) | Start::Earliest | Start::Latest => None,
        }
    }
}

fn start(start: Option<WireStart>) -> Result<Start, CallError> {
    match start {
        None => Ok(Start::Latest),
        Some(WireStart::ResumeToken(text)) => ResumeToken::decode(&text)
            .map(Start::Resume)
            .map_err(|error| CallError::new(Reason::TokenInvalid).because(error)),
        Some(WireStart::FromTime(time)) => time_clamped(time)
            .map(Start::From)
            .ok_or_else(|| invalid("from_time", "is not a time")),
        Some(WireStart::Position(number)) => match pb::StartPosition::try_from(number) {
            Ok(pb::StartPosition::Earliest) => Ok(Start::Earliest),
            Ok(pb::StartPosition::Latest | pb::StartPosition::Unspecified) => Ok(Start::Latest),
            Err(_) => Err(invalid("position", "is not a value of this enum")),
        },
    }
}

/// Clamped, because a proxy's idle timer is what it has to beat, and that is not the caller's to know.
fn heartbeat_interval(asked: Option<prost_types::Duration>) -> Duration {
    match asked {
        None => DEFAULT_HEARTBEAT,
        Some(asked) => Duration::try_from(asked)
            .unwrap_or_default()
            .clamp(MIN_HEARTBEAT, MAX_HEARTBEAT),
    }
}

/// Any time that protobuf has, from the year 1 to the end of 9999. jiff's times end some hours before that, so the last
/// of them stands for those.
fn time_clamped(time: prost_types::Timestamp) -> Option<Timestamp> {
    let is_valid = (FIRST_SECOND..=LAST_SECOND).contains(&time.seconds)
        && (0..1_000_000_000).contains(&time.nanos);
    is_valid.then(|| Timestamp::new(time.seconds, time.nanos).unwrap_or(Timestamp::MAX))
}

fn invalid(field: &str, description: &'static str) -> CallError {
    CallError {
        violations: vec![Violation {
            field: field.to_owned(),
            description: description.into(),
        }],
        ..CallError::new(Reason::InvalidRequest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: impl FnOnce(&mut pb::WatchEventsRequest)) -> Result<WatchRequest, CallError> {
        let mut request = pb::WatchEventsRequest::default();
        change(&mut request);
        WatchRequest::from_wire(request)
    }

    #[test]
    fn an_empty_request_follows_everything_from_now_on() {
        let request = read(|_| {}).unwrap();
        assert_eq!(request.start, Start::Latest);
        assert_eq!(request.heartbeat_interval, Duration::from_secs(20));
        assert_eq!(request.on_gap, OnGap::Fail);
        assert!(!request.until_caught_up && !request.include_raw_json);
    }

    #[test]
    fn a_position_that_is_not_named_is_the_present() {
        let unspecified = WireStart::Position(pb::StartPosition::Unspecified.into());
        let request = read(|request| request.start = Some(unspecified)).unwrap();
        assert_eq!(request.start, Start::Latest);
    }

    #[test]
    fn a_time_has_the_events_of_that_very_moment_and_none_before() {
        let time = prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 0,
        };
        let from = Timestamp::from_second(time.seconds).unwrap();
        let request = read(|request| request.start = Some(WireStart::FromTime(time))).unwrap();
        assert!(request.wants(&Keys::default(), from));
        let before = from - Duration::from_millis(1);
        assert!(!request.wants(&Keys::default(), before));
    }

    #[test]
    fn every_time_of_protobuf_is_a_time() {
        let read_at = |seconds, nanos| {
            let time = prost_types::Timestamp { seconds, nanos };
            read(|request| request.start = Some(WireStart::FromTime(time)))
        };
        for seconds in [-62_135_596_800, 253_402_300_799] {
            let request = read_at(seconds, 999_999_999).unwrap();
            let is_past = seconds < 0;
            let now = Timestamp::from_second(1_700_000_000).unwrap();
            assert_eq!(request.wants(&Keys::default(), now), is_past);
        }
        for seconds in [-62_135_596_801, 253_402_300_800, i64::MIN, i64::MAX] {
            assert!(read_at(seconds, 0).is_err(), "{seconds}");
        }
    }

    #[test]
    fn the_heartbeat_is_clamped() {
        for (seconds, nanos, expected) in [(1, 0, 5), (-3, 0, 5), (7, 0, 7), (600, 0, 60)] {
            let asked = prost_types::Duration { seconds, nanos };
            let request = read(|request| request.heartbeat_interval = Some(asked)).unwrap();
            assert_eq!(request.heartbeat_interval, Duration::from_secs(expected));
        }
    }

    #[test]
    fn what_is_not_valid_is_named() {
        let field = |error: CallError| error.violations[0].field.clone();
        let time = prost_types::Timestamp {
            seconds: 0,
            nanos: -1,
        };
        let from = read(|request| request.start = Some(WireStart::FromTime(time)));
        assert_eq!(field(from.unwrap_err()), "from_time");
        let position = read(|request| request.start = Some(WireStart::Position(9)));
        assert_eq!(field(position.unwrap_err()), "position");
        let on_gap = read(|request| request.on_gap = 9);
        assert_eq!(field(on_gap.unwrap_err()), "on_gap");
        let token = WireStart::ResumeToken("x".to_owned());
        let token = read(|request| request.start = Some(token));
        assert_eq!(token.unwrap_err().reason, Reason::TokenInvalid);
    }
}
