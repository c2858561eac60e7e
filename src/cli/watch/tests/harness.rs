//! A watcher whose words are caught, and the messages that it gets.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    super::{
        Watcher,
        delivery::{Delivery, Form},
        notices::Notices,
        place::Place,
        waits::Waits,
    },
    scripted_gateway::Act,
};
use crate::{
    cli::gateway_args::GatewayArgs,
    lifecycle::Shutdown,
    pb::{
        self, GapPolicy, StartPosition, WatchEventsRequest, WatchEventsResponse,
        watch_events_request::Start, watch_events_response::Signal,
    },
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A heartbeat interval that no test waits for.
pub(super) const FAR: Duration = Duration::from_secs(3600);

/// A writer whose words can be read, and waited for.
#[derive(Clone, Default)]
pub(super) struct Caught {
    text: Arc<Mutex<Vec<u8>>>,
    came: Arc<Notify>,
}

/// A watcher before it starts, and what it says.
pub(super) struct Rig {
    pub(super) watcher: Watcher,
    pub(super) out: Caught,
    pub(super) notices: Caught,
}

impl Caught {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    /// Waits until `part` was written.
    pub(super) async fn wait_for(&self, part: &str) {
        let wait = async {
            while !self.text().contains(part) {
                self.came.notified().await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap();
    }
}

impl Write for Caught {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap().extend_from_slice(bytes);
        self.came.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Rig {
    /// A watcher that asks this gateway for all that comes from now on until it has caught up, and that
    /// comes back nearly at once.
    pub(super) fn new(addr: SocketAddr, resume_file: Option<&Path>) -> Rig {
        let out = Caught::default();
        Rig::printing_to(Box::new(out.clone()), out, addr, resume_file)
    }

    /// The same, with a writer of the test's.
    pub(super) fn printing_to(
        writer: Box<dyn Write + Send + Sync>,
        out: Caught,
        addr: SocketAddr,
        resume_file: Option<&Path>,
    ) -> Rig {
        let notices = Caught::default();
        let place = resume_file.map(|path| Place::open(path.to_owned()).unwrap());
        let watcher = Watcher {
            gateway: GatewayArgs::to(format!("http://{addr}")),
            way_in: None,
            request: WatchEventsRequest {
                start: Some(Start::Position(StartPosition::Latest.into())),
                until_caught_up: true,
                on_gap: GapPolicy::Fail.into(),
                ..Default::default()
            },
            waits: Waits {
                opening: PATIENCE,
                first_backoff: Duration::from_millis(1),
                max_backoff: Duration::from_millis(10),
            },
            failures: 0,
            delivery: Delivery::new(writer, Form::Line, place),
            notices: Notices::new(Box::new(notices.clone())),
            shutdown: Shutdown::default(),
        };
        Rig {
            watcher,
            out,
            notices,
        }
    }

    /// Runs it to its end: how it ended, and what it said.
    pub(super) async fn run(self) -> (Result<(), String>, String, String) {
        let ended = timeout(PATIENCE, self.watcher.run()).await.unwrap();
        (ended, self.out.text(), self.notices.text())
    }
}

pub(super) fn opened(token: &str) -> Act {
    opened_beating(token, FAR)
}

pub(super) fn opened_beating(token: &str, heartbeat: Duration) -> Act {
    signal(
        token,
        Signal::Opened(pb::Opened {
            heartbeat_interval: Some(heartbeat.try_into().unwrap()),
            ..Default::default()
        }),
    )
}

pub(super) fn events(token: &str, ids: &[&str]) -> Act {
    let event = |id: &&str| pb::Event {
        event_id: (*id).to_owned(),
        r#type: "case.created".to_owned(),
        ..Default::default()
    };
    Act::Send(WatchEventsResponse {
        events: ids.iter().map(event).collect(),
        resume_token: token.to_owned(),
        signal: None,
    })
}

pub(super) fn heartbeat(token: &str) -> Act {
    signal(token, Signal::Heartbeat(pb::Heartbeat {}))
}

pub(super) fn caught_up(token: &str) -> Act {
    signal(token, Signal::CaughtUp(pb::CaughtUp::default()))
}

pub(super) fn signal(token: &str, signal: Signal) -> Act {
    Act::Send(WatchEventsResponse {
        events: Vec::new(),
        resume_token: token.to_owned(),
        signal: Some(signal),
    })
}

/// A stream that brings nothing and is over.
pub(super) fn finished() -> Vec<Act> {
    vec![opened("End"), caught_up("End"), Act::End]
}

/// The end of a stream that is worth coming back to.
pub(super) fn lost() -> Act {
    Act::Fail(Status::unavailable("lost"))
}

/// An error as a gateway sends it.
pub(super) fn refusal(code: Code, reason: &str, wait: Option<Duration>) -> Act {
    let mut details = ErrorDetails::with_error_info(reason, "kora-gateway", []);
    if let Some(wait) = wait {
        details.set_retry_info(Some(wait));
    }
    Act::Fail(Status::with_error_details(code, "what it means", details))
}

/// Where each request started.
pub(super) fn starts(requests: &[WatchEventsRequest]) -> Vec<String> {
    requests
        .iter()
        .map(|request| match &request.start {
            Some(Start::ResumeToken(token)) => token.clone(),
            Some(Start::Position(position)) => {
                let position = StartPosition::try_from(*position).unwrap();
                position.as_str_name().to_owned()
            }
            Some(Start::FromTime(time)) => time.to_string(),
            None => "nowhere".to_owned(),
        })
        .collect()
}

/// The ids of the events that were printed.
pub(super) fn printed(out: &str) -> Vec<&str> {
    out.lines()
        .filter_map(|line| line.split_once("event="))
        .filter_map(|(_, rest)| rest.split_once(':'))
        .map(|(id, _)| id)
        .collect()
}
