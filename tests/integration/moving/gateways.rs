//! What callers and subscribers of a gateway find at the next one, whose log was moved.

use std::{path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kora_gateway::{
    clock::Clock,
    pb::{self, RequestState, watch_events_request::Start},
    store::{
        self, Ending, EventLog, Intent, JetStream, Metrics, Poll, PollLog, RequestContent,
        RequestKey, Sqlite, StoredState, Summary,
    },
};
use prometheus_client::registry::Registry;
use tonic::Code;
use uuid::Uuid;

use super::{add_postponed_poll, add_request, done, new_file};
use crate::{
    call::SCREENING_ID,
    deliveries::Webhooks,
    harness::{Gateway, TENANT_ID},
    log_laws::{NatsPlace, Place},
    nats_server::NatsServer,
    requests::{completed, is_replay, record, request, screen},
    scripted_kora::ScriptedKora,
    subscriber::{Subscriber, after, assert_failure, from_earliest},
};

/// What was never delivered before.
const LAST: &str = "evt_last";

/// What Kora sends: ends and other events, without an id, and what nobody can read.
const BODIES: &[&str] = &[
    r#"{"id": "evt_1", "event": "case.created", "data": {"case_id": "cas_1"}}"#,
    r#"{"event": "case.closed", "data": {"case_id": "cas_1"}}"#,
    r#"{"id": "evt_2", "event": "screening.completed", "data": {"screening_id": "scr_7", "subject_id": "subj_7"}}"#,
    "neither JSON nor anything else",
    r#"{"id": "evt_3", "event": "risk.threshold_breached", "data": {"subject_id": "subj_7"}}"#,
];

/// The requests in every state.
struct Requests {
    succeeded: Uuid,
    others: Vec<(Uuid, StoredState)>,
}

fn in_directory(directory: &Path) -> Sqlite {
    let config = store::Config {
        directory: directory.to_owned(),
        retention_age: Duration::from_secs(86_400),
        retention_bytes: 1 << 30,
        dedup_window: Duration::from_secs(60),
        request_retention: Duration::from_secs(7 * 86_400),
        request_bytes: 2 << 30,
    };
    let metrics = Metrics::register(&mut Registry::default());
    Sqlite::open(&config, TENANT_ID, Clock::system(), metrics).unwrap()
}

async fn on_nats(server: &NatsServer) -> JetStream {
    let mut config = NatsPlace::new().await.config;
    config.servers = vec![server.url()];
    let metrics = Metrics::register(&mut Registry::default());
    let opened = JetStream::open(&config, TENANT_ID, Clock::system(), metrics).await;
    opened.unwrap()
}

/// A request in each state that Kora is not needed for.
async fn add_requests(log: &Sqlite) -> Vec<(Uuid, StoredState)> {
    let states = [
        StoredState::InFlight,
        StoredState::Failed,
        StoredState::MayBeRepeated,
    ];
    let mut added = Vec::new();
    for state in states {
        let (request_id, attempt) = (Uuid::new_v4(), Uuid::new_v4());
        let key = RequestKey {
            caller: "anonymous".to_owned(),
            request_id,
        };
        let intent = Intent {
            key: key.clone(),
            content: RequestContent {
                rpc: "Screen".to_owned(),
                fingerprint: [7; 32],
            },
            attempt,
        };
        let reason = match state {
            StoredState::Failed => r#"{"reason":"KORA_VALIDATION"}"#,
            _ => r#"{"reason":"KORA_RATE_LIMITED"}"#,
        };
        let ending = (state != StoredState::InFlight).then(|| Ending {
            key,
            attempt,
            state,
            answer: reason.into(),
            summary: Summary::default(),
        });
        add_request(log, intent, ending).await;
        added.push((request_id, state));
    }
    added
}

async fn past(gateway: &Gateway, request: pb::WatchEventsRequest) -> (Vec<pb::Event>, String) {
    let request = pb::WatchEventsRequest {
        include_raw_json: true,
        until_caught_up: true,
        ..request
    };
    let subscriber = Subscriber::connect(gateway.grpc).await;
    let mut stream = subscriber.watch(request).await.unwrap();
    let (mut events, mut token) = (Vec::new(), String::new());
    while let Some(message) = stream.next().await.unwrap() {
        events.extend(message.events);
        token = message.resume_token;
    }
    (events, token)
}

async fn records(gateway: &Gateway, requests: &Requests) -> Vec<pb::RequestRecord> {
    let others = requests.others.iter().map(|(id, _)| *id);
    let mut records = Vec::new();
    for id in [requests.succeeded].into_iter().chain(others) {
        records.push(record(gateway, id).await);
    }
    records
}

/// A log that a gateway has filled, and what the gateway told of it.
struct Moved {
    directory: tempfile::TempDir,
    kora: ScriptedKora,
    requests: Requests,
    events: Vec<pb::Event>,
    token: String,
    records: Vec<pb::RequestRecord>,
    polls: Vec<Poll>,
}

impl Moved {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = in_directory(directory.path());
        let others = add_requests(&log).await;
        let later = Timestamp::now() + SignedDuration::from_mins(30);
        add_postponed_poll(&log, "scr_8", later).await;
        let polls = log.polls(10, Timestamp::MAX).await.unwrap().sound;
        log.close().await;

        let kora = ScriptedKora::start(completed()).await;
        let setting = format!("file:{}", directory.path().display());
        let gateway = Gateway::start(&kora.base_url(), &[("event-log", &setting)]).await;
        let succeeded = Uuid::new_v4();
        screen(&gateway, &request(succeeded)).await.screening();
        let requests = Requests { succeeded, others };
        let webhooks = Webhooks::to(gateway.webhook);
        for body in BODIES {
            webhooks.deliver(body.as_bytes()).await;
        }
        let (events, token) = past(&gateway, from_earliest()).await;
        assert_eq!(events.len(), BODIES.len());
        let records = records(&gateway, &requests).await;
        gateway.stop().await;
        kora.take_received();
        Moved {
            directory,
            kora,
            requests,
            events,
            token,
            records,
            polls,
        }
    }

    fn setting(&self) -> String {
        format!("file:{}", self.directory.path().display())
    }

    /// Sees that a gateway on the log that it was moved into tells the same.
    async fn is_found_at(&self, event_log: &str) {
        let gateway = Gateway::start(&self.kora.base_url(), &[("event-log", event_log)]).await;
        let (events, token) = past(&gateway, from_earliest()).await;
        assert_eq!(events, self.events);
        let subscriber = Subscriber::connect(gateway.grpc).await;
        let foreign = subscriber.watch(after(&self.token)).await;
        let status = foreign.err().expect("a token of another log");
        assert_failure(&status, Code::OutOfRange, "TOKEN_FOREIGN");
        let from_time = pb::WatchEventsRequest {
            start: Some(Start::FromTime(self.events[2].receive_time.unwrap())),
            ..Default::default()
        };
        let (since, _) = past(&gateway, from_time).await;
        let is_since = |event: &&pb::Event| {
            let time =
                |event: &pb::Event| event.receive_time.map(|time| (time.seconds, time.nanos));
            time(event) >= time(&self.events[2])
        };
        assert_eq!(
            since,
            self.events
                .iter()
                .filter(is_since)
                .cloned()
                .collect::<Vec<_>>()
        );

        assert_eq!(records(&gateway, &self.requests).await, self.records);
        let again = screen(&gateway, &request(self.requests.succeeded)).await;
        assert!(is_replay(&again));
        assert_eq!(again.screening().screening_id, SCREENING_ID);
        assert_eq!(self.kora.take_received().len(), 0);

        // Everything again: it is known. And something new, which comes after the token.
        let webhooks = Webhooks::to(gateway.webhook);
        for body in BODIES {
            webhooks.deliver(body.as_bytes()).await;
        }
        webhooks.deliver_event(LAST, "case.closed").await;
        let (new, _) = past(&gateway, after(&token)).await;
        let ids: Vec<_> = new.iter().map(|event| event.event_id.as_str()).collect();
        assert_eq!(ids, [LAST]);
        gateway.stop().await;
    }
}

fn states(records: &[pb::RequestRecord]) -> Vec<RequestState> {
    records.iter().map(pb::RequestRecord::state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_directory_to_nats_and_back_into_another_directory() {
    let moved = Moved::new().await;
    assert_eq!(
        states(&moved.records),
        [
            RequestState::Succeeded,
            RequestState::Unknown,
            RequestState::Rejected,
            RequestState::Rejected,
        ]
    );
    let (_files, file) = new_file();
    let said = done("export", &file, &moved.setting(), TENANT_ID).await;
    assert_eq!(said, "exported 5 events, 4 request records, 1 polls\n");
    let nats = NatsServer::start();
    let said = done("import", &file, &nats.url(), TENANT_ID).await;
    assert_eq!(said, "imported 5 events, 4 request records, 1 polls\n");

    let (_files, back) = new_file();
    done("export", &back, &nats.url(), TENANT_ID).await;
    let directory = tempfile::tempdir().unwrap();
    let setting = format!("file:{}", directory.path().display());
    done("import", &back, &setting, TENANT_ID).await;
    let log = in_directory(directory.path());
    assert_eq!(
        log.polls(10, Timestamp::MAX).await.unwrap().sound,
        moved.polls
    );
    let ids = [log.id(), in_directory(moved.directory.path()).id()];
    assert_ne!(ids[0], ids[1]);
    log.close().await;
    drop(log);

    moved.is_found_at(&nats.url()).await;
    moved.is_found_at(&setting).await;
    let log = on_nats(&nats).await;
    assert_eq!(
        log.polls(10, Timestamp::MAX).await.unwrap().sound,
        moved.polls
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_directory_to_another() {
    let moved = Moved::new().await;
    let (_files, file) = new_file();
    done("export", &file, &moved.setting(), TENANT_ID).await;
    let directory = tempfile::tempdir().unwrap();
    let setting = format!("file:{}", directory.path().join("new").display());
    done("import", &file, &setting, TENANT_ID).await;
    moved.is_found_at(&setting).await;
    // The old one is as it was.
    let log = in_directory(moved.directory.path());
    assert_eq!(log.tail().bounds().head.sequence, BODIES.len() as u64);
    assert_eq!(
        log.polls(10, Timestamp::MAX).await.unwrap().sound,
        moved.polls
    );
}
