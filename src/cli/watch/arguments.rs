//! The flags of `watch`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use jiff::{Timestamp, civil::Date};

use super::{super::gateway_args::GatewayArgs, place::is_token};
use crate::pb::{self, watch_events_request::Start};

/// Which events, from where on, and how to print them.
#[derive(Args)]
pub(in crate::cli) struct WatchArgs {
    #[command(flatten)]
    pub(super) gateway: GatewayArgs,
    /// Print each event as one line of JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Keep the place in the stream in this file: it is written after the events before it were printed. A
    /// token that is there already wins over --from
    #[arg(long, value_name = "PATH")]
    pub(super) resume_file: Option<PathBuf>,
    /// Where to start: earliest, latest, an RFC 3339 time, or a resume token. The token in the --resume-file
    /// wins, where there is one
    #[arg(long, value_name = "START", default_value = "latest", value_parser = beginning)]
    from: Beginning,
    /// Only events of this type, such as screening.completed or screening.*; can be given again
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events of this subject; can be given again
    #[arg(long = "subject-id", value_name = "ID")]
    subject_ids: Vec<String>,
    /// Only events of this screening; can be given again
    #[arg(long = "screening-id", value_name = "ID")]
    screening_ids: Vec<String>,
    /// End when all that was there at the start has been printed
    #[arg(long)]
    until_caught_up: bool,
    /// What to do when events between the start and now are no longer kept
    #[arg(long, value_enum, default_value = "fail")]
    on_gap: OnGap,
    /// Add the body that Kora sent to the JSON of each event; it can hold personal data
    #[arg(long, requires = "json")]
    include_raw_json: bool,
}

/// Where a stream starts that has no token yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Beginning {
    Earliest,
    Latest,
    Time(Timestamp),
    Token(String),
}

#[derive(Clone, Copy, ValueEnum)]
enum OnGap {
    /// End with an error
    Fail,
    /// Say so and go on from the oldest event that is kept
    Skip,
}

impl WatchArgs {
    /// What to ask the gateway for.
    pub(super) fn request(&self) -> pb::WatchEventsRequest {
        let on_gap = match self.on_gap {
            OnGap::Fail => pb::GapPolicy::Fail,
            OnGap::Skip => pb::GapPolicy::Skip,
        };
        pb::WatchEventsRequest {
            filter: Some(pb::EventFilter {
                types: self.types.clone(),
                subject_ids: self.subject_ids.clone(),
                screening_ids: self.screening_ids.clone(),
            }),
            start: Some(self.from.start()),
            heartbeat_interval: None,
            until_caught_up: self.until_caught_up,
            on_gap: on_gap.into(),
            include_raw_json: self.include_raw_json,
        }
    }
}

impl Beginning {
    fn start(&self) -> Start {
        match self {
            Beginning::Earliest => Start::Position(pb::StartPosition::Earliest.into()),
            Beginning::Latest => Start::Position(pb::StartPosition::Latest.into()),
            Beginning::Time(time) => Start::FromTime(prost_types::Timestamp {
                seconds: time.as_second(),
                nanos: time.subsec_nanosecond(),
            }),
            Beginning::Token(token) => Start::ResumeToken(token.clone()),
        }
    }
}

fn beginning(text: &str) -> Result<Beginning, String> {
    match text {
        "earliest" => return Ok(Beginning::Earliest),
        "latest" => return Ok(Beginning::Latest),
        _ => {}
    }
    if let Ok(time) = text.parse() {
        return Ok(Beginning::Time(time));
    }
    // A bare date has the letters of a token, and nobody means one by it.
    if is_token(text) && text.parse::<Date>().is_err() {
        return Ok(Beginning::Token(text.to_owned()));
    }
    Err(
        "give it as earliest, latest, a time such as 2026-01-31T12:00:00Z, or a resume token"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: WatchArgs,
    }

    fn request(flags: &[&str]) -> pb::WatchEventsRequest {
        let line = [&["watch"], flags].concat();
        Line::try_parse_from(line).unwrap().args.request()
    }

    #[test]
    fn the_flags_are_asked_for() {
        let asked = request(&[
            "--from=earliest",
            "--type=screening.*",
            "--type=risk.threshold_breached",
            "--subject-id=sub_1",
            "--screening-id=scr_1",
            "--until-caught-up",
            "--on-gap=skip",
            "--json",
            "--include-raw-json",
        ]);
        assert!(
            asked
                == pb::WatchEventsRequest {
                    filter: Some(pb::EventFilter {
                        types: vec![
                            "screening.*".to_owned(),
                            "risk.threshold_breached".to_owned()
                        ],
                        subject_ids: vec!["sub_1".to_owned()],
                        screening_ids: vec!["scr_1".to_owned()],
                    }),
                    start: Some(Start::Position(pb::StartPosition::Earliest.into())),
                    heartbeat_interval: None,
                    until_caught_up: true,
                    on_gap: pb::GapPolicy::Skip.into(),
                    include_raw_json: true,
                }
        );
    }

    #[test]
    fn without_flags_it_is_everything_from_now_on_and_a_gap_fails() {
        let asked = request(&[]);
        assert!(asked.start == Some(Start::Position(pb::StartPosition::Latest.into())));
        assert!(asked.filter == Some(pb::EventFilter::default()));
        assert_eq!(asked.on_gap, i32::from(pb::GapPolicy::Fail));
        assert!(!asked.until_caught_up && !asked.include_raw_json);
    }

    #[test]
    fn a_start_is_read_as_what_it_is() {
        let time = "2026-01-31T12:00:00.5Z".parse().unwrap();
        for (text, expected) in [
            ("2026-01-31T12:00:00.5Z", Beginning::Time(time)),
            ("2026-01-31T13:00:00.5+01:00", Beginning::Time(time)),
            ("AQx_-9", Beginning::Token("AQx_-9".to_owned())),
        ] {
            assert_eq!(beginning(text), Ok(expected), "{text}");
        }
        let start = Beginning::Time(time).start();
        let asked = prost_types::Timestamp {
            seconds: 1_769_860_800,
            nanos: 500_000_000,
        };
        assert!(start == Start::FromTime(asked));
    }

    #[test]
    fn a_start_that_is_nothing_is_refused() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "a token",
            "a+b/",
            &"x".repeat(129),
        ] {
            assert!(beginning(text).is_err(), "{text}");
        }
    }
}
