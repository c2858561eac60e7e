//! What a log should be: plain lists, no file, no concurrency.

use std::{collections::BTreeSet, sync::Arc};

use kora_gateway::pb;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    operation::{KINDS, News},
    place::Place,
};
use crate::deliveries::hex;

/// How long events are kept, and a body is known: `--retention-age` and `--dedup-window`.
pub const RETENTION: i64 = 3_600_000;
pub const DEDUP_WINDOW: i64 = 60_000;

/// A webhook as Kora sends it.
#[derive(Debug)]
pub struct Delivery {
    pub id: Option<String>,
    pub kind: &'static str,
    pub subject: String,
    pub screening: String,
    pub body: Vec<u8>,
}

/// An event in the log. Its sequence is its place in the list, from 1 on.
#[derive(Clone, Debug)]
pub struct Kept {
    pub delivery: Arc<Delivery>,
    pub event_id: String,
    /// In milliseconds.
    pub time: i64,
    /// What its age is measured from, where the log does that.
    pub log_time: i64,
    /// What it counts for the size that is kept.
    pub size: u64,
    /// The token of the position after it.
    pub token: String,
}

/// A log, with everything that it ever had.
#[derive(Clone, Debug)]
pub struct Log {
    /// Told apart from any log that is created later.
    pub life: usize,
    /// The token of the position before the first event.
    pub first_token: String,
    pub events: Vec<Kept>,
    /// How many of them are not kept any more.
    pub trimmed: usize,
    /// What it was when NATS was lost the last time.
    pub lost_with: usize,
    /// What `trimmed` ever was.
    pub trims: BTreeSet<usize>,
    retention_bytes: u64,
    place: Place,
}

/// What a start in the log comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Right after this sequence.
    At(usize),
    /// Right after this one, or after the newest one there where that is older.
    UpTo(usize),
    /// Right after the newest one there.
    Head,
    Expired,
    Foreign,
}

impl Delivery {
    /// What Kora sends of this news, as its delivery of this number.
    pub fn of(news: &News, number: usize) -> Delivery {
        let name = |prefix: &str, number: usize| match number {
            0 => String::new(),
            some => format!("{prefix}_{some}"),
        };
        let id = news.has_id.then(|| format!("evt_{number}"));
        let kind = KINDS[news.kind];
        let subject = name("sub", news.subject);
        let screening = name("scr", news.screening);
        let body = json!({
            "id": id, "event": kind, "number": number, "padding": "x".repeat(news.padding),
            "data": {"subject_id": subject, "screening_id": screening},
        });
        Delivery {
            id,
            kind,
            subject,
            screening,
            body: body.to_string().into_bytes(),
        }
    }
}

impl Log {
    pub fn new(place: Place, life: usize, first_token: String, retention_bytes: u64) -> Log {
        Log {
            life,
            first_token,
            events: Vec::new(),
            trimmed: 0,
            lost_with: 0,
            trims: BTreeSet::from([0]),
            retention_bytes,
            place,
        }
    }

    pub fn head(&self) -> usize {
        self.events.len()
    }

    /// The one token of a position.
    pub fn token(&self, sequence: usize) -> &str {
        match sequence.checked_sub(1) {
            None => &self.first_token,
            Some(place) => &self.events[place].token,
        }
    }

    /// The position of a token that must have one.
    #[track_caller]
    pub fn sequence(&self, token: &str) -> usize {
        (0..=self.head())
            .find(|sequence| self.token(*sequence) == token)
            .unwrap_or_else(|| panic!("{token:?} is the token of no position"))
    }

    /// What is to become of a token: of this life or another, and of this sequence when it was handed out.
    pub fn begin(&self, token: &str, (life, sequence): (usize, usize)) -> Begin {
        if life != self.life || sequence > self.head() {
            Begin::Foreign
        } else if sequence < self.trimmed {
            Begin::Expired
        } else if self.token(sequence) == token {
            Begin::At(sequence)
        } else {
            Begin::Foreign
        }
    }

    /// What is to become of a time.
    pub fn begin_at(&self, time: i64) -> Begin {
        let before = self.events.partition_point(|event| event.time < time);
        match before < self.trimmed {
            true => Begin::Expired,
            false => Begin::UpTo(before),
        }
    }

    /// When an event is received that comes now. An id is made of it where Kora gave none, so then it is new.
    pub fn receive_time(&self, delivery: &Delivery, now: i64) -> i64 {
        let last = self.events.last().map(|event| event.time);
        let earliest = last.map_or(0, |last| last + i64::from(delivery.id.is_none()));
        now.max(earliest)
    }

    /// The same by the clock that only elapses.
    pub fn log_time(&self, now: i64) -> i64 {
        now.max(self.events.last().map_or(0, |event| event.log_time))
    }

    /// The sequence of the event that a delivery is known as, where the log has it.
    pub fn knows(&self, delivery: &Delivery, now: i64) -> Option<usize> {
        let mut kept = self.events.iter().enumerate().skip(self.trimmed);
        let found = match &delivery.id {
            Some(id) => kept.find(|(_, event)| event.event_id == *id),
            None => kept.rfind(|(_, event)| self.is_same_body(event, delivery, now)),
        };
        found.map(|(place, _)| place + 1)
    }

    /// Whether NATS may have forgotten what a delivery is known as: it was there before, that was dropped, and then NATS
    /// lost its memory.
    pub fn may_be_forgotten(&self, delivery: &Delivery) -> bool {
        let mut dropped = self.events.iter().take(self.lost_with);
        dropped.any(|event| event.delivery.body == delivery.body)
    }

    fn is_same_body(&self, event: &Kept, delivery: &Delivery, now: i64) -> bool {
        let age = match self.place.ages_by_the_log() {
            true => self.log_time(now) - event.log_time,
            false => now - event.time,
        };
        event.delivery.id.is_none() && event.delivery.body == delivery.body && age < DEDUP_WINDOW
    }

    /// By what the event is known that a delivery makes now.
    pub fn event_id(&self, delivery: &Delivery, now: i64) -> String {
        delivery.id.clone().unwrap_or_else(|| {
            let hash = hex(&Sha256::digest(&delivery.body));
            format!("sha256-{hash}-{}", self.receive_time(delivery, now))
        })
    }

    /// Whether something is older than what is kept. The newest event stays however old it is.
    pub fn is_too_old(&self, now: i64) -> bool {
        let oldest = self.events.get(self.trimmed);
        self.trimmed + 1 < self.head()
            && self.place.trims_by_itself()
            && oldest.is_some_and(|event| event.log_time < now - RETENTION)
    }

    /// Drops what is too old or too much; `spared` of the newest events stay in any case.
    pub fn trim(&mut self, now: i64, spared: usize) {
        let last = self.head().saturating_sub(spared.max(1));
        while self.trimmed < last && (self.is_too_old(now) || self.is_too_much()) {
            self.trimmed += 1;
        }
        self.trims.insert(self.trimmed);
    }

    /// Drops everything up to this one.
    pub fn trim_to(&mut self, sequence: usize) {
        assert!(
            (self.trimmed..=self.head()).contains(&sequence),
            "{sequence}"
        );
        self.trimmed = sequence;
        self.trims.insert(sequence);
    }

    fn is_too_much(&self) -> bool {
        let kept = self.events[self.trimmed..].iter();
        self.place.trims_by_itself()
            && kept.map(|event| event.size).sum::<u64>() > self.retention_bytes
    }
}

impl Kept {
    /// Sees that an event on a stream is this one.
    #[track_caller]
    pub fn assert_is(&self, event: &pb::Event, is_raw: bool) {
        let delivery = &self.delivery;
        assert_eq!(event.event_id, self.event_id);
        assert_eq!(event.r#type, delivery.kind);
        assert_eq!(event.subject_id, delivery.subject);
        assert_eq!(event.screening_id, delivery.screening);
        assert_eq!(event.source(), pb::EventSource::Webhook);
        assert_eq!(milliseconds(event.receive_time), Some(self.time));
        match is_raw {
            true => assert_eq!(event.raw_json, delivery.body),
            false => assert!(event.raw_json.is_empty()),
        }
    }
}

/// A time of the wire; whole milliseconds are all that the log keeps.
pub fn milliseconds(time: Option<prost_types::Timestamp>) -> Option<i64> {
    let time = time?;
    assert_eq!(time.nanos % 1_000_000, 0);
    Some(time.seconds * 1000 + i64::from(time.nanos) / 1_000_000)
}

/// The same the other way.
pub fn timestamp(milliseconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: milliseconds.div_euclid(1000),
        nanos: (milliseconds.rem_euclid(1000) * 1_000_000) as i32,
    }
}
