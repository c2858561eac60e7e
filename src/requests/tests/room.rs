//! One caller's requests with one id, on a slow store.

use prometheus_client::registry::Registry;
use tempfile::TempDir;

use super::{super::*, slow_store::SlowStore};
use crate::{
    access::Claimant,
    clock::Clock,
    reconciler,
    store::{self, Sqlite},
};

/// How many calls there may be at a time.
pub(super) const MAX_CALLS: usize = 100;

/// How long callers wait.
pub(super) const WAIT: Duration = Duration::from_secs(1);

/// The requests, and the store that the test tells when to answer.
pub(super) struct Room {
    pub(super) requests: Requests,
    pub(super) permits: Permits,
    pub(super) store: Arc<SlowStore>,
    _data: TempDir,
}

pub(super) type Answer = Result<Answered<pb::Screening>, CallError>;

impl Room {
    pub(super) fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut registry = Registry::default();
        let events = store::Config {
            directory: data.path().to_owned(),
            retention_age: WAIT,
            retention_bytes: 1 << 20,
            dedup_window: WAIT,
            request_retention: WAIT,
            request_bytes: 2 << 30,
        };
        let events = Sqlite::open(
            &events,
            "tenant",
            Clock::system(),
            store::Metrics::register(&mut registry),
        );
        let store = Arc::new(SlowStore::default());
        let kora = kora(&mut registry);
        let reconciler = Reconciler::new(
            reconciler::Config::default(),
            kora.clone(),
            store.clone(),
            Clock::system(),
            reconciler::Metrics::register(&mut registry),
        );
        let requests = Requests::new(
            Config {
                is_request_id_required: false,
            },
            kora,
            Logs {
                requests: store.clone(),
                events: Arc::new(events.unwrap()),
            },
            reconciler,
            Metrics::register(&mut registry),
            TaskTracker::new(),
            Orders {
                stop: Shutdown::default(),
                give_up: Shutdown::default(),
            },
        );
        Room {
            requests,
            permits: Permits::new(MAX_CALLS),
            store,
            _data: data,
        }
    }

    /// Makes the request, which a caller waits for so long.
    pub(super) fn call(
        &self,
        wait: Duration,
        send: impl Future<Output = Result<pb::Screening, CallError>> + Send + 'static,
    ) -> impl Future<Output = Answer> + Send + 'static {
        let answer_by = Instant::now() + wait;
        let call = Call {
            caller: Requester {
                name: "caller".into(),
                scope: key().caller.into(),
            },
            answer_by,
            permits: self.permits.of_call(Claimant::only(), answer_by),
            message: None,
        };
        let content = RequestContent {
            rpc: "Screen".to_owned(),
            fingerprint: [0; 32],
        };
        let requests = self.requests.clone();
        async move {
            let hold = (Departure::default(), Waiting::default());
            requests
                .run_once(key(), content, false, call, hold, |_| send)
                .await
        }
    }

    /// Waits until all calls are over, whoever waited for them.
    pub(super) async fn is_over(&self) {
        self.requests.calls.close();
        self.requests.calls.wait().await;
    }
}

fn kora(registry: &mut Registry) -> kora::Client {
    let account = kora::Account {
        base_url: "http://127.0.0.1:1/api/v1".parse().unwrap(),
        api_key: "key".into(),
        tenant_id: "tenant".to_owned(),
    };
    let config = kora::Config {
        timeout: WAIT,
        idle_timeout: WAIT,
        connection_max_age: WAIT,
        proxy: None,
        ca_file: None,
        max_response_bytes: 1,
        trust_503: false,
    };
    let metrics = kora::Metrics::register(registry);
    let (http, orders) = (
        kora::HttpClient::new(&config).unwrap(),
        kora::Orders::default(),
    );
    kora::Client::new(&http, &account, Clock::system(), metrics, orders).unwrap()
}

pub(super) fn key() -> RequestKey {
    RequestKey {
        caller: "caller".to_owned(),
        request_id: Uuid::nil(),
    }
}

pub(super) fn screening() -> pb::Screening {
    pb::Screening {
        screening_id: "scr_1".to_owned(),
        ..pb::Screening::default()
    }
}

/// The paused clock moves on when everybody else waits for something.
pub(super) async fn everybody_waits() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub(super) async fn sent_twice() -> Result<pb::Screening, CallError> {
    panic!("it is sent twice")
}
