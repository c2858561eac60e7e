//! The events that were acknowledged, and which of them may be gone.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use kora_gateway::{
    event::{Content, Identity, Keys, NewEvent, SCREENING_COMPLETED, reconciled_id},
    store::{Appended, EventLog, PollLog, Record},
};
use tokio::time::timeout;

use super::{
    gateway::Gateway,
    operation::Settings,
    place::Place,
    trust::{Moment, Trust},
};
use crate::log_laws::{all_after, event};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Events {
    all: Vec<Event>,
    /// How large the body is of each id of Kora's.
    sizes: HashMap<String, usize>,
    ids: BTreeSet<String>,
}

struct Event {
    sequence: u64,
    id: String,
    identity: Known,
    receive_time: Timestamp,
    /// How many bytes of events the log had before and after it.
    bytes: (u64, u64),
    at: Moment,
    /// When it was acknowledged, by the clock of the test.
    acknowledged: Instant,
    /// A right clock could have deleted it by now, or a size asked for it.
    may_be_gone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    ById(String),
    ByBody(u8),
}

/// What has to come of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    New,
    Duplicate,
    Either,
}

impl Events {
    /// Finds what may be gone from now on.
    fn update(&mut self, settings: &Settings, age: impl Fn(Moment) -> SignedDuration) {
        let Some(end) = self.all.last().map(|event| event.bytes.1) else {
            return;
        };
        for event in &mut self.all {
            let is_too_much = end - event.bytes.0 > settings.retention_bytes;
            event.may_be_gone |= is_too_much || age(event.at) > signed(settings.retention_age);
        }
        self.all.last_mut().unwrap().may_be_gone = false;
    }

    fn newest(&self, identity: &Known) -> Option<&Event> {
        let mut events = self.all.iter().rev();
        events.find(|event| event.identity == *identity)
    }

    /// Whether the end of a screening is in the log; `None` if that is not certain.
    pub fn has_end(&self, screening_id: &str, trimmed: u64) -> Option<bool> {
        let ids = [webhook_id(screening_id), reconciled_id(screening_id)];
        let ends = ids.map(|id| self.newest(&Known::ById(id)));
        let is_kept = |event: &Event| (event.sequence > trimmed).then_some(!event.may_be_gone);
        ends.into_iter()
            .flatten()
            .find_map(is_kept)
            .map_or(Some(false), |is_certain| is_certain.then_some(true))
    }
}

pub fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap()
}

fn webhook_id(screening_id: &str) -> String {
    format!("end of {screening_id}")
}

fn end_of(screening_id: &str) -> Content {
    Content {
        keys: Keys {
            kind: SCREENING_COMPLETED.to_owned(),
            screening_id: screening_id.to_owned(),
            ..Keys::default()
        },
        ..Content::default()
    }
}

impl<P: Place> Gateway<P> {
    pub async fn append_id(&mut self, id: u8, size: usize) {
        let id = format!("evt_{id}");
        // With another body it would be another event.
        let size = *self.events.sizes.entry(id.clone()).or_insert(size);
        let new = event(Identity::Vendor(id.clone()), &"x".repeat(size));
        let expected = self.expected_of_id(&id);
        let appended = self.log.append(new).await.unwrap();
        self.appended(Known::ById(id), expected, appended).await;
    }

    pub async fn append_end(&mut self, screening_id: &str) {
        let id = webhook_id(screening_id);
        let expected = self.expected_of_id(&id);
        let end = end_of(screening_id);
        let new = NewEvent::from_webhook(Identity::Vendor(id.clone()), end, b"{}");
        let appended = self.log.append(new).await.unwrap();
        self.appended(Known::ById(id), expected, appended).await;
    }

    pub async fn append_body(&mut self, body: u8) {
        let identity = Known::ByBody(body);
        let expected = self.expected_of_body(&identity);
        let began = Instant::now();
        let new = event(Identity::Body([body; 32]), "{}");
        let appended = self.log.append(new).await.unwrap();
        // The server's clock goes on meanwhile.
        let expected = match began.elapsed() > Duration::from_secs(60) {
            true => Expected::Either,
            false => expected,
        };
        self.appended(identity, expected, appended).await;
    }

    /// What Kora answers to a poll.
    pub async fn reconcile(&mut self, screening_id: &str) {
        let new = NewEvent::reconciled(end_of(screening_id), b"{}");
        let appended = self.log.reconcile(new).await.unwrap();
        let id = Known::ById(reconciled_id(screening_id));
        self.appended(id, Expected::New, appended).await;
    }

    fn expected_of_id(&self, id: &str) -> Expected {
        let Some(found) = self.events.newest(&Known::ById(id.to_owned())) else {
            return Expected::New;
        };
        if !P::KEEPS_TIME {
            return Expected::Duplicate;
        }
        match (self.is_gone(found), found.may_be_gone) {
            (true, _) => Expected::New,
            (false, true) => Expected::Either,
            (false, false) => Expected::Duplicate,
        }
    }

    fn expected_of_body(&self, identity: &Known) -> Expected {
        let Some(found) = self.events.newest(identity) else {
            return Expected::New;
        };
        let window = signed(self.settings.dedup_window);
        if !P::KEEPS_TIME {
            // The server's clock decides, which is right. Only a record that seems as old as an imported one is not compared.
            let own_age = self.clock.now().duration_since(found.receive_time);
            let age = found.acknowledged.elapsed() + Duration::from_secs(120);
            return match signed(age).max(own_age) < window {
                true => Expected::Duplicate,
                false => Expected::Either,
            };
        }
        let (trust, machine) = (&self.trust, &self.machine);
        if self.is_gone(found) || trust.least(machine, found.at) >= window {
            Expected::New
        } else if trust.most(machine, found.at) < window && !found.may_be_gone {
            Expected::Duplicate
        } else {
            Expected::Either
        }
    }

    fn is_gone(&self, event: &Event) -> bool {
        event.sequence <= self.log.tail().bounds().trimmed.sequence
    }

    async fn appended(&mut self, identity: Known, expected: Expected, appended: Appended) {
        let is_as_expected = match expected {
            Expected::New => appended == Appended::New,
            Expected::Duplicate => appended == Appended::Duplicate,
            Expected::Either => true,
        };
        assert!(
            is_as_expected,
            "{identity:?} is {appended:?}, not {expected:?}"
        );
        let mut receive_time = None;
        if appended == Appended::New {
            let last = self.events.all.last().map_or(0, |last| last.sequence);
            // On NATS it can take a while until it is shown.
            let mut head = self.log.tail().head();
            let is_shown = timeout(PATIENCE, head.wait_for(|head| *head > last)).await;
            drop(is_shown.expect("it is shown").unwrap());
            let page = self.log.read(last).await.unwrap();
            receive_time = Some(page[0].receive_time);
            self.note(identity, &page[0]);
        }
        self.committed(receive_time);
    }

    fn note(&mut self, identity: Known, record: &Record) {
        let (last_sequence, last_time, last_bytes) = match self.events.all.last() {
            Some(last) => (last.sequence, last.receive_time, last.bytes.1),
            None => (0, Timestamp::MIN, 0),
        };
        assert_eq!(record.sequence, last_sequence + 1);
        let receive_time = record.receive_time;
        let latest = self
            .clock
            .now()
            .max(last_time + SignedDuration::from_millis(1));
        assert!(
            last_time <= receive_time && receive_time <= latest,
            "received at {receive_time}, after {last_time}, at {latest}"
        );
        let is_new = self.events.ids.insert(record.event_id.clone());
        assert!(
            is_new || matches!(identity, Known::ById(_)),
            "{} is the id of two events",
            record.event_id
        );
        self.events.all.push(Event {
            sequence: record.sequence,
            id: record.event_id.clone(),
            identity,
            receive_time,
            bytes: (last_bytes, record.end_offset),
            at: self.trust.now(&self.machine),
            acknowledged: Instant::now(),
            may_be_gone: false,
        });
    }

    /// Nothing is gone that has to be there.
    pub fn check_trimmed(&mut self) {
        let (trust, machine): (&Trust, _) = (&self.trust, &self.machine);
        self.events
            .update(&self.settings, |since| trust.most(machine, since));
        let trimmed = self.log.tail().bounds().trimmed.sequence;
        let gone = self
            .events
            .all
            .iter()
            .take_while(|event| event.sequence <= trimmed);
        for event in gone {
            let age = self.trust.most(&self.machine, event.at);
            assert!(
                event.may_be_gone,
                "event {} is gone at an age of {age:#}; {:?}",
                event.sequence, self.settings
            );
        }
    }

    /// What is there is what was acknowledged.
    pub async fn check_events(&mut self) {
        self.check_trimmed();
        let trimmed = self.log.tail().bounds().trimmed.sequence;
        let found = all_after(&self.log, trimmed).await;
        let kept = self
            .events
            .all
            .iter()
            .filter(|event| event.sequence > trimmed);
        let kept: Vec<_> = kept
            .map(|event| (event.sequence, event.id.clone()))
            .collect();
        assert_eq!(found, kept);
    }

    /// When everything is too old, the newest event alone is left.
    pub fn check_that_the_newest_is_left(&self) {
        let bounds = self.log.tail().bounds();
        assert_eq!(
            bounds.trimmed.sequence,
            bounds.head.sequence.saturating_sub(1),
            "what is too old stays"
        );
    }
}
