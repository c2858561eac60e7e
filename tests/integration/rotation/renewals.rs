//! A call whose key was refused, and its wait for another one.

use std::{fs, time::Duration};

use kora_gateway::{
    clock::Clock,
    error::{CallError, Reason},
    kora::{self, Client, Departure, GivenUp, Metrics, Orders, Requester},
    lifecycle::Shutdown,
    screening::{CreateSubject, GetSubject, SubjectProfile},
    secret::Secret,
};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, pause},
};
use tokio_util::task::AbortOnDropHandle;

use super::secret;
use crate::{
    call::SUBJECT_ID,
    harness::TENANT_ID,
    scripted_kora::{Act, ScriptedKora},
};

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(3600);

/// A client whose key is in a file that nobody reads again, and a Kora that refuses it and closes.
struct Refused {
    kora: ScriptedKora,
    client: Client,
    key: Secret,
    directory: TempDir,
    give_up: Shutdown,
    departure: Departure,
}

impl Refused {
    async fn new() -> Refused {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("api-key");
        fs::write(&file, "a-key").unwrap();
        let key = secret(&file, kora::check_api_key);
        let answer = b"HTTP/1.1 401 Whatever\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let kora = ScriptedKora::start(Act::Write(answer.to_vec())).await;
        let account = kora::Account {
            base_url: kora.base_url().parse().unwrap(),
            api_key: key.clone(),
            tenant_id: TENANT_ID.to_owned(),
        };
        let config = kora::Config {
            timeout: LONG,
            idle_timeout: LONG,
            connection_max_age: LONG,
            proxy: None,
            ca_file: None,
            max_response_bytes: 1 << 20,
            trust_503: false,
        };
        let orders = Orders::default();
        let give_up = orders.give_up.clone();
        let metrics = Metrics::register(&mut Registry::default());
        let http = kora::HttpClient::new(&config).unwrap();
        Refused {
            client: Client::new(&http, &account, Clock::system(), metrics, orders).unwrap(),
            kora,
            key,
            directory,
            give_up,
            departure: Departure::default(),
        }
    }

    fn create(&self) -> JoinHandle<Option<CallError>> {
        let (client, departure) = (self.client.clone(), self.departure.clone());
        tokio::spawn(async move {
            let request = CreateSubject {
                subject: SubjectProfile::default(),
                request_id: None,
                late_violations: Vec::new(),
            };
            let requester = Requester {
                name: "caller".into(),
                scope: "caller".into(),
            };
            let until = Instant::now() + LONG;
            let created = client.create_subject(&request, &requester, until, &departure);
            created.await.err()
        })
    }

    fn read(&self) -> JoinHandle<Option<CallError>> {
        let client = self.client.clone();
        tokio::spawn(async move {
            let request = GetSubject {
                subject_id: SUBJECT_ID.to_owned(),
            };
            let until = Instant::now() + LONG;
            client.subject(&request, "caller", until).await.err()
        })
    }

    /// Until a call has seen the answer: from there it goes to its wait without a pause.
    async fn waits(&self) {
        let mut answering = self.client.answering();
        answering.wait_for(Option::is_some).await.unwrap();
    }
}

/// What a call ends with, at once.
async fn ends_at_once(call: JoinHandle<Option<CallError>>, give_up: impl FnOnce()) -> Reason {
    // Time goes on only while somebody waits for it.
    pause();
    let began = Instant::now();
    give_up();
    let error = call.await.unwrap().unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    error.reason
}

#[tokio::test]
async fn what_creates_something_stops_waiting_when_it_is_given_up() {
    let refused = Refused::new().await;
    let call = refused.create();
    refused.waits().await;
    let reason = ends_at_once(call, || {
        refused.departure.give_up(GivenUp::Stopping);
    });
    assert_eq!(reason.await, Reason::KoraCredentialRejected);
}

#[tokio::test]
async fn a_read_stops_waiting_when_the_gateway_ends() {
    let refused = Refused::new().await;
    let call = refused.read();
    refused.waits().await;
    let reason = ends_at_once(call, || refused.give_up.start());
    assert_eq!(reason.await, Reason::KoraCredentialRejected);
}

/// Kora has refused it, which is more than that nothing was sent.
#[tokio::test]
async fn a_refusal_is_told_when_what_follows_it_is_not_sent() {
    let refused = Refused::new().await;
    let call = refused.create();
    refused.waits().await;
    let addr = refused.kora.addr;
    drop(refused.kora);
    while TcpStream::connect(addr).await.is_ok() {}
    fs::write(refused.directory.path().join("api-key"), "another").unwrap();
    let _follow = AbortOnDropHandle::new(tokio::spawn(refused.key.clone().follow(
        "key",
        TENANT_ID.to_owned(),
        |_| Ok(()),
    )));
    let error = call.await.unwrap().unwrap();
    assert_eq!(error.reason, Reason::KoraCredentialRejected);
    assert_eq!(refused.key.now().number, 1, "there is another key");
}
