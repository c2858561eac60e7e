//! What a subscriber asks for, in the gateway's words and in the model's.

use kora_gateway::pb::{
    self, GapPolicy, StartPosition, WatchEventsRequest, watch_events_request::Start,
};

use super::{
    log::{Begin, Kept, Log, milliseconds, timestamp},
    operation::{Wish, WishedStart},
    world::World,
};

/// What a stream is asked to carry.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub filter: pb::EventFilter,
    /// From when on, in milliseconds.
    pub from: Option<i64>,
    pub is_raw: bool,
    pub until_caught_up: bool,
    pub skips_gaps: bool,
}

/// A request, and what the model makes of it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub request: WatchEventsRequest,
    pub wanted: Wanted,
}

impl Wanted {
    fn matches(&self, event: &Kept) -> bool {
        let one_of = |values: &[String], value: &str| {
            values.is_empty() || values.iter().any(|wanted| wanted == value)
        };
        let is_of_type = |pattern: &String| match pattern.strip_suffix('*') {
            Some(group) => event.delivery.kind.starts_with(group),
            None => event.delivery.kind == pattern,
        };
        let types = &self.filter.types;
        (types.is_empty() || types.iter().any(is_of_type))
            && one_of(&self.filter.subject_ids, &event.delivery.subject)
            && one_of(&self.filter.screening_ids, &event.delivery.screening)
            && self.from.is_none_or(|from| event.time >= from)
    }

    /// What it carries of the events after one sequence up to another.
    pub fn of<'a>(&self, log: &'a Log, after: usize, up_to: usize) -> Vec<&'a Kept> {
        assert!(after <= up_to, "a token of {up_to} after one of {after}");
        let events = log.events[after..up_to].iter();
        events.filter(|event| self.matches(event)).collect()
    }
}

/// What is asked for a wish.
pub fn asked(world: &mut World, wish: Wish) -> Asked {
    let named = |prefix: &str, numbers: &[usize]| {
        let names = numbers.iter().map(|number| format!("{prefix}_{number}"));
        names.collect::<Vec<_>>()
    };
    let wanted = Wanted {
        filter: pb::EventFilter {
            types: wish.types.iter().map(|kind| (*kind).to_owned()).collect(),
            subject_ids: named("sub", &wish.subjects),
            screening_ids: named("scr", &wish.screenings),
        },
        from: time_of(world, &wish.start),
        is_raw: wish.is_raw,
        until_caught_up: wish.until_caught_up,
        skips_gaps: wish.skips_gaps,
    };
    let on_gap = match wish.skips_gaps {
        true => GapPolicy::Skip,
        false => GapPolicy::Fail,
    };
    let request = WatchEventsRequest {
        filter: Some(wanted.filter.clone()),
        start: start_of(world, &wish.start, wanted.from),
        heartbeat_interval: wish
            .heartbeat
            .map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        until_caught_up: wanted.until_caught_up,
        on_gap: on_gap.into(),
        include_raw_json: wanted.is_raw,
    };
    Asked { request, wanted }
}

fn time_of(world: &World, start: &WishedStart) -> Option<i64> {
    let events = &world.log.events;
    match start {
        WishedStart::NearTimeOf(of, by) if !events.is_empty() => {
            Some(events[of.index(events.len())].time + by)
        }
        WishedStart::NearTimeOf(_, by) | WishedStart::NearNow(by) => Some(world.now(0) + by),
        _ => None,
    }
}

fn start_of(world: &mut World, start: &WishedStart, from: Option<i64>) -> Option<Start> {
    let log = &world.log;
    match start {
        WishedStart::Unset => None,
        WishedStart::Latest => Some(Start::Position(StartPosition::Latest.into())),
        WishedStart::Earliest => Some(Start::Position(StartPosition::Earliest.into())),
        WishedStart::NearTimeOf(..) | WishedStart::NearNow(_) => {
            from.map(timestamp).map(Start::FromTime)
        }
        WishedStart::Token(which) => {
            let token = &world.token_list[which.index(world.token_list.len())];
            Some(Start::ResumeToken(token.clone()))
        }
        WishedStart::LostToken(which) => {
            let tokens = world.token_list.iter();
            let lost: Vec<_> = tokens.filter(|token| is_lost(world, token)).collect();
            let place = which.index(lost.len().max(1));
            let token = lost.get(place).copied().unwrap_or(&log.first_token);
            Some(Start::ResumeToken(token.clone()))
        }
        WishedStart::Forged(of, by) => {
            let token = world.token_list[of.index(world.token_list.len())].clone();
            Some(Start::ResumeToken(world.forge(&token, *by)))
        }
        WishedStart::NearOldest(by) => {
            let place = (log.trimmed as i64 + by).clamp(0, log.head() as i64);
            Some(Start::ResumeToken(log.token(place as usize).to_owned()))
        }
    }
}

/// What the model is asked for a start.
pub fn begin_of(world: &World, start: &Option<Start>) -> Begin {
    let log = &world.log;
    match start {
        None => Begin::Head,
        Some(Start::Position(position)) => match StartPosition::try_from(*position) {
            Ok(StartPosition::Earliest) => Begin::At(log.trimmed),
            _ => Begin::Head,
        },
        Some(Start::FromTime(time)) => log.begin_at(milliseconds(Some(*time)).unwrap()),
        Some(Start::ResumeToken(token)) => log.begin(token, world.tokens[token]),
    }
}

/// Whether a token is of a place that the log has, and not its own.
fn is_lost(world: &World, token: &str) -> bool {
    let (life, sequence) = world.tokens[token];
    let is_kept = (world.log.trimmed..=world.log.head()).contains(&sequence);
    life == world.log.life && is_kept && world.log.token(sequence) != token
}
