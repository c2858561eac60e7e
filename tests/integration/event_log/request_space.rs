//! How request records are aged and evicted in the file, against a model, and what they are estimated to take.

use std::collections::BTreeMap;

use kora_gateway::store::{Begun, Ending, RequestLog, StoredState};
use proptest::{prelude::*, test_runner::Config as Proptest};
use uuid::Uuid;

use super::*;
use crate::log_laws::{
    TIGHT,
    requests::{ending, intent, key, summary},
};

/// How long records are kept here.
const RETENTION: i64 = 3_600_000;

/// How many requests a schedule has.
const IDS: u128 = 24;

/// Something that happens to a log.
#[derive(Clone, Debug)]
enum Step {
    Begin(u128),
    /// The end of the newest attempt, and how large its answer is.
    End(u128, StoredState, usize),
    Pass(i64),
    Restart,
    /// The bound is another one after a restart.
    Bound(u64),
}

/// What the model knows of a request.
#[derive(Clone, Debug)]
struct Known {
    attempt: Uuid,
    state: StoredState,
    answer: usize,
    /// From when its age counts; `None` while it is open.
    since: Option<i64>,
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![
        Just(StoredState::Succeeded),
        Just(StoredState::Failed),
        Just(StoredState::MayBeRepeated),
    ];
    let size = prop_oneof![0_usize..2000, 100_000_usize..300_000];
    prop_oneof![
        8 => (0..IDS).prop_map(Step::Begin),
        8 => (0..IDS, state, size).prop_map(|(id, state, size)| Step::End(id, state, size)),
        2 => (1..RETENTION).prop_map(Step::Pass),
        1 => Just(Step::Restart),
        1 => (TIGHT..2 * TIGHT).prop_map(Step::Bound),
    ]
}

struct Played {
    place: Place,
    log: Sqlite,
    known: BTreeMap<u128, Known>,
}

impl Played {
    fn new() -> Self {
        let mut place = Place::new();
        place.config.request_retention = Duration::from_millis(RETENTION as u64);
        place.config.request_bytes = TIGHT;
        let log = place.open();
        Played {
            place,
            log,
            known: BTreeMap::new(),
        }
    }

    fn now(&self) -> i64 {
        self.place.hands.milliseconds()
    }

    /// Whether a record may have been removed by now.
    fn may_be_gone(&self, known: &Known) -> bool {
        known
            .since
            .is_some_and(|since| self.now() > since + RETENTION)
    }

    async fn play(&mut self, step: Step) {
        match step {
            Step::Begin(id) => self.begin(id).await,
            Step::End(id, state, size) => self.end(id, state, size).await,
            Step::Pass(time) => self.place.hands.turn(time),
            Step::Restart => self.restart().await,
            Step::Bound(bytes) => {
                self.place.config.request_bytes = bytes;
                self.restart().await;
            }
        }
    }

    async fn begin(&mut self, id: u128) {
        let attempt = Uuid::new_v4();
        let request_id = Uuid::from_u128(id);
        let begun = self.log.begin(intent(request_id, attempt)).await.unwrap();
        let before = self.known.get(&id).cloned();
        let may_begin = before.as_ref().is_none_or(|known| {
            known.state == StoredState::MayBeRepeated || self.may_be_gone(known)
        });
        match begun {
            Begun::New => {
                assert!(may_begin, "{id} is sent again: {before:?}");
                let known = Known {
                    attempt,
                    state: StoredState::InFlight,
                    answer: 0,
                    since: None,
                };
                self.known.insert(id, known);
            }
            Begun::Found(found) => assert_eq!(found.attempt, before.unwrap().attempt),
            other => panic!("{other:?}"),
        }
    }

    async fn end(&mut self, id: u128, state: StoredState, size: usize) {
        let now = self.now();
        let Some(known) = self.known.get_mut(&id) else {
            return;
        };
        let end = Ending {
            answer: vec![b'x'; size].into(),
            ..ending(Uuid::from_u128(id), known.attempt, state, "")
        };
        let is_recorded = self.log.finish(end).await.unwrap();
        assert_eq!(is_recorded, known.state == StoredState::InFlight, "{id}");
        if is_recorded {
            known.state = state;
            known.answer = size;
            known.since = Some(now);
        }
    }

    async fn restart(&mut self) {
        self.log.close().await;
        self.log = self.place.open();
        // What is written first marks what was left open.
        append(&self.log, &Uuid::new_v4().to_string()).await;
        let now = self.now();
        for known in self.known.values_mut() {
            if known.state == StoredState::InFlight {
                known.state = StoredState::Abandoned;
                known.since = Some(now);
            }
        }
    }

    /// Sees that every record is what it has to be.
    async fn check(&self) {
        let mut answers = Vec::new();
        let mut bytes = 0;
        for (id, known) in &self.known {
            let found = self.log.request(key(Uuid::from_u128(*id))).await.unwrap();
            let Some(found) = found else {
                assert!(self.may_be_gone(known), "{id} is gone too early: {known:?}");
                continue;
            };
            assert_eq!(
                (found.attempt, found.state),
                (known.attempt, known.state),
                "{id}"
            );
            let has_ended =
                known.state != StoredState::InFlight && known.state != StoredState::Abandoned;
            assert!(has_ended || !found.is_evicted, "{id}");
            if has_ended {
                assert_eq!(found.summary, summary(known.state));
                answers.push((known.since, found.is_evicted));
            }
            let kept = if found.is_evicted { 0 } else { known.answer };
            assert_eq!(found.answer.len(), kept, "{id}");
            bytes += kept;
        }
        assert!(bytes as u64 <= self.place.config.request_bytes, "{bytes}");
        // Of two that ended at different times, the older one goes first.
        answers.sort_by_key(|(since, _)| *since);
        let newest_evicted = answers
            .iter()
            .filter(|(_, evicted)| *evicted)
            .map(|(since, _)| since)
            .max();
        let oldest_kept = answers
            .iter()
            .filter(|(_, evicted)| !evicted)
            .map(|(since, _)| since)
            .min();
        if let (Some(evicted), Some(kept)) = (newest_evicted, oldest_kept) {
            assert!(evicted <= kept);
        }
    }
}

#[test]
fn whatever_happens_no_id_goes_early_and_nothing_open_is_touched() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = Proptest {
        cases: 60,
        ..Proptest::default()
    };
    proptest!(settings, |(steps in prop::collection::vec(step(), 1..60))| {
        runtime.block_on(async {
            let mut played = Played::new();
            for step in steps {
                played.play(step).await;
                played.check().await;
            }
            played.log.close().await;
        });
    });
}

/// The file's size once all is in it.
async fn bytes_per_record(answer: usize) -> (f64, f64) {
    const RECORDS: usize = 2000;
    let place = Place::new();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry).of_tenant("t");
    let log = Sqlite::open(&place.config, TENANT, place.hands.clock(), metrics).unwrap();
    append(&log, "a").await;
    let empty = place.file_bytes();
    for _ in 0..RECORDS / 100 {
        let requests = (0..100).map(|_| async {
            let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
            log.begin(intent(id, attempt)).await.unwrap();
            let end = Ending {
                answer: vec![b'x'; answer].into(),
                ..ending(id, attempt, StoredState::Succeeded, "")
            };
            log.finish(end).await.unwrap();
        });
        futures_util::future::join_all(requests).await;
    }
    log.close().await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("store_request_bytes{"))
        .unwrap();
    let counted: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    let taken = (place.file_bytes() - empty) as f64;
    (taken / RECORDS as f64, counted / RECORDS as f64)
}

#[tokio::test]
async fn records_take_about_what_is_counted() {
    let mut wrong = Vec::new();
    for answer in [0, 100, 900, 2000, 14_000, 33_000] {
        let (taken, counted) = bytes_per_record(answer).await;
        if counted < 0.9 * taken || counted > 1.25 * taken {
            wrong.push((answer, taken, counted));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn what_records_take_is_added_up_again_at_the_start() {
    let mut place = Place::new();
    place.config.request_bytes = TIGHT;
    let mut told = Vec::new();
    for round in 0..2 {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry).of_tenant("t");
        let log = Sqlite::open(&place.config, TENANT, place.hands.clock(), metrics).unwrap();
        if round == 0 {
            for number in 0..200 {
                let (id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
                log.begin(intent(id, attempt)).await.unwrap();
                if number % 3 == 0 {
                    let end = Ending {
                        answer: vec![b'x'; number * 150].into(),
                        ..ending(id, attempt, StoredState::MayBeRepeated, "")
                    };
                    log.finish(end).await.unwrap();
                }
                if number % 6 == 0 {
                    log.begin(intent(id, attempt)).await.unwrap();
                }
            }
        }
        log.close().await;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let gauges = text
            .lines()
            .filter(|line| line.starts_with("store_request_"));
        let gauges = gauges.filter(|line| !line.contains("evicted"));
        told.push(gauges.map(str::to_owned).collect::<Vec<_>>());
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].len(), 3);
}
