//! One stream and what has to be true of it, message by message.

use kora_gateway::pb::{self, watch_events_response::Signal};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::log::{Begin, Kept, Log, milliseconds};
use crate::subscriber::{EventStream, PATIENCE, assert_failure};

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

/// An open stream.
pub struct Follower {
    stream: EventStream,
    wanted: Wanted,
    /// Everything wanted up to here has been sent.
    position: usize,
    /// The gap that has to come next, and the token before it.
    gap: Option<(pb::GapReason, String)>,
    opened_head: usize,
    /// What was not kept any more when it was opened.
    opened_trimmed: usize,
    is_caught_up: bool,
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
    fn of<'a>(&self, log: &'a Log, after: usize, up_to: usize) -> Vec<&'a Kept> {
        assert!(after <= up_to, "a token of {up_to} after one of {after}");
        let events = log.events[after..up_to].iter();
        events.filter(|event| self.matches(event)).collect()
    }
}

impl Follower {
    /// Looks at the first message of a stream that was to begin there. The log's head was among `heads` then.
    pub fn new(
        (stream, first): (EventStream, pb::WatchEventsResponse),
        wanted: Wanted,
        begin: (Begin, &str),
        log: &Log,
        heads: (usize, usize),
    ) -> Follower {
        let Some(Signal::Opened(opened)) = first.signal else {
            panic!("{first:?} before Opened");
        };
        assert!(first.events.is_empty() && opened.max_events_per_message > 0);
        assert_eq!(log.sequence(&opened.oldest_token), log.trimmed);
        let opened_head = log.sequence(&opened.head_token);
        assert!((heads.0..=heads.1).contains(&opened_head), "{heads:?}");
        let token = first.resume_token;
        let (position, gap) = match begin {
            (Begin::At(sequence), _) => {
                // LATEST is the head of that very moment.
                let at = if sequence > heads.0 {
                    opened_head
                } else {
                    sequence
                };
                assert_eq!(log.sequence(&token), at, "Opened's own token");
                (at, None)
            }
            (lost, asked) => {
                assert_eq!(token, asked, "what a gap leaves out does not count as sent");
                let reason = match lost {
                    Begin::Foreign => pb::GapReason::Foreign,
                    _ => pb::GapReason::Expired,
                };
                (0, Some((reason, token.clone())))
            }
        };
        Follower {
            stream,
            wanted,
            position,
            gap,
            opened_head,
            opened_trimmed: log.trimmed,
            is_caught_up: false,
            tokens: vec![token, opened.oldest_token, opened.head_token],
        }
    }

    /// Whether something has to come.
    pub fn is_due(&self, log: &Log) -> bool {
        !self.is_caught_up
            || self.wanted.until_caught_up
            || !self.wanted.of(log, self.position, log.head()).is_empty()
    }

    /// Reads one message, or the end.
    pub async fn read(&mut self, log: &Log) -> Read {
        match self.stream.next_within(PATIENCE).await {
            Ok(Some(message)) => self.check(message, log),
            Ok(None) => {
                assert!(self.is_caught_up && self.wanted.until_caught_up, "it ended");
                Read::End
            }
            Err(status) => {
                self.check_failure(&status, log);
                Read::End
            }
        }
    }

    /// Reads what a gateway that stops still sends, and how it ends.
    pub async fn read_to_stop(&mut self, log: &Log) {
        // One that stood still may be cut: it cannot be told why, and its token is good all the same.
        let may_be_cut = self.is_due(log);
        let mut last = Read::Message;
        loop {
            match self.stream.next_within(PATIENCE).await {
                Ok(Some(message)) => {
                    assert_ne!(last, Read::Draining, "something after Draining");
                    last = self.check(message, log);
                }
                // It was over before.
                Ok(None) => {
                    return assert!(self.is_caught_up && self.wanted.until_caught_up);
                }
                Err(status) if status.code() == Code::OutOfRange => {
                    return self.check_failure(&status, log);
                }
                Err(status) if may_be_cut && status.details().is_empty() => return,
                Err(status) => {
                    assert_eq!(last, Read::Draining, "{status:?}");
                    assert_failure(&status, Code::Unavailable, "STREAM_DRAINED");
                    let wait = status.get_details_retry_info();
                    assert!(wait.is_some_and(|wait| wait.retry_delay.is_some()));
                    return;
                }
            }
        }
    }

    fn check(&mut self, message: pb::WatchEventsResponse, log: &Log) -> Read {
        self.tokens.push(message.resume_token.clone());
        if let Some(Signal::Gap(gap)) = message.signal {
            assert!(message.events.is_empty());
            assert_eq!(message.resume_token, gap.to_token);
            self.pass_gap(gap, log);
            return Read::Message;
        }
        assert!(self.gap.is_none(), "no gap where one was due");
        let to = log.sequence(&message.resume_token);
        let expected = self.wanted.of(log, self.position, to);
        let seen: Vec<_> = message.events.iter().map(|event| &event.event_id).collect();
        let ids: Vec<_> = expected.iter().map(|event| &event.event_id).collect();
        assert_eq!(seen, ids, "after {} up to {to}", self.position);
        for (expected, event) in expected.iter().zip(&message.events) {
            expected.assert_is(event, self.wanted.is_raw);
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
            !(self.is_caught_up && self.wanted.until_caught_up && !message.events.is_empty()),
            "the present on a stream of the past"
        );
        Read::Message
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
        assert!(self.wanted.skips_gaps, "a gap that was not asked for");
        let to = log.sequence(&gap.to_token);
        self.tokens.push(gap.from_token.clone());
        match self.gap.take() {
            Some((reason, from)) => {
                assert_eq!((gap.reason(), &gap.from_token), (reason, &from));
            }
            None => {
                assert_eq!(gap.reason(), pb::GapReason::Expired);
                let from = log.sequence(&gap.from_token);
                let unsent = self.wanted.of(log, self.position, from);
                assert!(unsent.is_empty(), "skipped silently: {unsent:?}");
                assert!(from < to, "a gap that leaves nothing out");
            }
        }
        let is_oldest = to >= self.opened_trimmed && log.trims.contains(&to);
        assert!(is_oldest, "a gap up to {to}: {:?}", log.trims);
        self.position = to;
    }

    /// A stream fails by itself only where it fell out of what is kept.
    fn check_failure(&self, status: &Status, log: &Log) {
        let info = assert_failure(status, Code::OutOfRange, "TOKEN_EXPIRED");
        assert!(!self.wanted.skips_gaps, "it was to skip");
        assert!(
            self.position < log.trimmed,
            "nothing was missed: {status:?}"
        );
        assert!(
            log.trims
                .contains(&log.sequence(&info.metadata["oldest_token"]))
        );
    }
}
