//! One stream and what has to be true of it, message by message.

use std::ops::RangeInclusive;

use super::{
    asking::Asked,
    log::{Begin, Log, milliseconds},
};
use crate::subscriber::{EventStream, PATIENCE};
use kora_gateway::pb::{
    self, StartPosition, watch_events_request::Start, watch_events_response::Signal,
};

/// An open stream.
pub struct Follower {
    /// The gateway that it is at.
    pub at: usize,
    pub(super) stream: EventStream,
    pub(super) asked: Asked,
    /// The newest token.
    token: String,
    /// Everything wanted up to here has been sent.
    pub(super) position: usize,
    /// The gap that has to come next, and the token before it.
    gap: Option<(pb::GapReason, String)>,
    opened_head: usize,
    /// What was not kept any more when it was opened.
    opened_trimmed: usize,
    pub(super) is_caught_up: bool,
    /// Every token that it handed out.
    pub tokens: Vec<String>,
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Message,
    Draining,
    End,
}

impl Follower {
    /// Looks at the first message of a stream that was to begin there, at this gateway, whose head was among `heads`
    /// then.
    pub fn new(
        (stream, first): (EventStream, pb::WatchEventsResponse),
        asked: Asked,
        begin: (Begin, &str),
        log: &Log,
        (at, heads): (usize, RangeInclusive<usize>),
    ) -> Follower {
        let Some(Signal::Opened(opened)) = first.signal else {
            panic!("{first:?} before Opened");
        };
        assert!(first.events.is_empty() && opened.max_events_per_message > 0);
        assert_eq!(log.sequence(&opened.oldest_token), log.trimmed);
        let opened_head = log.sequence(&opened.head_token);
        assert!(heads.contains(&opened_head), "{opened_head}: {heads:?}");
        let token = first.resume_token;
        let places = match begin.0 {
            Begin::At(sequence) => Some(sequence..=sequence),
            // LATEST is the head of that very moment.
            Begin::Head => Some(opened_head..=opened_head),
            // A gateway that is behind begins with the present.
            Begin::UpTo(sequence) => Some(sequence.min(opened_head)..=sequence),
            Begin::Expired | Begin::Foreign => None,
        };
        let (position, gap) = match (begin.0, begin.1, places) {
            (_, _, Some(places)) => {
                let position = log.sequence(&token);
                assert!(places.contains(&position), "{position}: {places:?}");
                (position, None)
            }
            (lost, token_asked, None) => {
                assert_eq!(
                    token, token_asked,
                    "what a gap leaves out does not count as sent"
                );
                let reason = match lost {
                    Begin::Foreign => pb::GapReason::Foreign,
                    _ => pb::GapReason::Expired,
                };
                (0, Some((reason, token.clone())))
            }
        };
        Follower {
            at,
            stream,
            asked,
            token: token.clone(),
            position,
            gap,
            opened_head,
            opened_trimmed: log.trimmed,
            is_caught_up: false,
            tokens: vec![token, opened.oldest_token, opened.head_token],
        }
    }

    /// What a gateway has shown, as this stream tells.
    pub fn shown(&self) -> usize {
        self.position.max(self.opened_head)
    }

    /// What it asks for when it comes back with its token.
    pub fn again(self) -> Asked {
        let mut asked = self.asked;
        asked.request.start = Some(Start::ResumeToken(self.token));
        asked.wanted.from = None;
        asked
    }

    /// Whether something has to come.
    pub fn is_due(&self, log: &Log) -> bool {
        !self.is_caught_up
            || self.asked.wanted.until_caught_up
            || !self
                .asked
                .wanted
                .of(log, self.position, log.head())
                .is_empty()
    }

    /// Reads one message, or the end.
    pub async fn read(&mut self, log: &Log) -> Read {
        match self.stream.next_within(PATIENCE).await {
            Ok(Some(message)) => self.check(message, log),
            Ok(None) => {
                assert!(
                    self.is_caught_up && self.asked.wanted.until_caught_up,
                    "it ended"
                );
                Read::End
            }
            Err(status) => {
                self.check_failure(&status, log);
                Read::End
            }
        }
    }

    pub(super) fn check(&mut self, message: pb::WatchEventsResponse, log: &Log) -> Read {
        self.token.clone_from(&message.resume_token);
        self.tokens.push(message.resume_token.clone());
        if let Some(Signal::Gap(gap)) = message.signal {
            assert!(message.events.is_empty());
            assert_eq!(message.resume_token, gap.to_token);
            self.pass_gap(gap, log);
            return Read::Message;
        }
        assert!(self.gap.is_none(), "no gap where one was due");
        let to = log.sequence(&message.resume_token);
        let seen: Vec<_> = message.events.iter().map(|event| &event.event_id).collect();
        let ids_after = |position| {
            let expected = self.asked.wanted.of(log, position, to).into_iter();
            expected.map(|event| &event.event_id).collect::<Vec<_>>()
        };
        // What begins with the oldest begins with what is the oldest when it is read.
        if self.has_not_begun_with_the_oldest() {
            let mut later = log.trims.range(self.position..=to);
            let begun = later.find(|trim| ids_after(**trim) == seen);
            self.position = *begun.unwrap_or(&self.position);
        }
        assert_eq!(
            seen,
            ids_after(self.position),
            "after {} up to {to}",
            self.position
        );
        let expected = self.asked.wanted.of(log, self.position, to);
        for (expected, event) in expected.iter().zip(&message.events) {
            expected.assert_is(event, self.asked.wanted.is_raw);
        }
        if !self.is_caught_up && !message.events.is_empty() {
            assert!(to <= self.opened_head, "the present before CaughtUp");
        }
        self.position = to;
        match message.signal {
            None => assert!(!message.events.is_empty(), "a message of nothing"),
            Some(Signal::CaughtUp(caught_up)) => self.catch_up(caught_up, log),
            Some(Signal::Heartbeat(_)) => {}
            Some(Signal::Draining(draining)) => {
                assert!(draining.reconnect_after.is_some());
                return Read::Draining;
            }
            Some(Signal::Opened(_) | Signal::Gap(_)) => panic!("a second Opened"),
        }
        assert!(
            !(self.is_caught_up && self.asked.wanted.until_caught_up && !message.events.is_empty()),
            "the present on a stream of the past"
        );
        Read::Message
    }

    fn has_not_begun_with_the_oldest(&self) -> bool {
        let oldest = Start::Position(StartPosition::Earliest.into());
        self.asked.request.start == Some(oldest) && self.position == self.opened_trimmed
    }

    fn catch_up(&mut self, caught_up: pb::CaughtUp, log: &Log) {
        assert!(!self.is_caught_up, "a second CaughtUp");
        assert!(self.position >= self.opened_head, "CaughtUp too early");
        self.is_caught_up = true;
        let newest = self.opened_head.checked_sub(1);
        let time = newest.map(|place| log.events[place].time);
        match milliseconds(caught_up.head_time) {
            None => assert!(self.opened_head <= log.trimmed, "the head has a time"),
            some => assert_eq!(some, time),
        }
    }

    fn pass_gap(&mut self, gap: pb::Gap, log: &Log) {
        assert!(self.asked.wanted.skips_gaps, "a gap that was not asked for");
        let to = log.sequence(&gap.to_token);
        self.tokens.push(gap.from_token.clone());
        match self.gap.take() {
            Some((reason, from)) => {
                assert_eq!((gap.reason(), &gap.from_token), (reason, &from));
            }
            None => {
                assert_eq!(gap.reason(), pb::GapReason::Expired);
                let from = log.sequence(&gap.from_token);
                let unsent = self.asked.wanted.of(log, self.position, from);
                assert!(unsent.is_empty(), "skipped silently: {unsent:?}");
                assert!(from < to, "a gap that leaves nothing out");
            }
        }
        let is_oldest = to >= self.opened_trimmed && log.trims.contains(&to);
        assert!(is_oldest, "a gap up to {to}: {:?}", log.trims);
        self.position = to;
    }
}
