//! A subscriber: the generated client on a connection of its own.

use std::{net::SocketAddr, time::Duration};

use kora_gateway::pb::{
    self, StartPosition, compliance_service_client::ComplianceServiceClient,
    watch_events_request::Start, watch_events_response::Signal,
};
use tokio::time::timeout;
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_types::{ErrorInfo, StatusExt};

use crate::call::CALL_ID;

/// How long a subscriber waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How much the gateway may send before the subscriber reads: little, so that one that stands still is felt.
const WINDOW: u32 = 4096;

/// A connection to the callers' port.
#[derive(Clone)]
pub struct Subscriber(ComplianceServiceClient<Channel>);

/// An open stream.
pub struct EventStream(Streaming<pb::WatchEventsResponse>);

impl Subscriber {
    /// Connects.
    pub async fn connect(gateway: SocketAddr) -> Subscriber {
        let channel = Endpoint::from_shared(format!("http://{gateway}"))
            .unwrap()
            .initial_stream_window_size(WINDOW)
            .connect()
            .await
            .unwrap();
        Subscriber(ComplianceServiceClient::new(channel))
    }

    /// Asks for a stream.
    pub async fn watch(&self, request: pb::WatchEventsRequest) -> Result<EventStream, Status> {
        self.watch_with(Request::new(request)).await
    }

    /// The same with metadata besides.
    pub async fn watch_with(
        &self,
        mut request: Request<pb::WatchEventsRequest>,
    ) -> Result<EventStream, Status> {
        let call_id = CALL_ID.parse().unwrap();
        request.metadata_mut().insert("x-request-id", call_id);
        let mut client = self.0.clone();
        let answer = timeout(PATIENCE, client.watch_events(request)).await;
        let answer = answer.expect("an answer in time")?;
        Ok(EventStream(answer.into_inner()))
    }
}

impl EventStream {
    /// The next message; `None` at an end with OK.
    pub async fn next(&mut self) -> Result<Option<pb::WatchEventsResponse>, Status> {
        self.next_within(PATIENCE).await
    }

    /// The same with another patience.
    pub async fn next_within(
        &mut self,
        patience: Duration,
    ) -> Result<Option<pb::WatchEventsResponse>, Status> {
        timeout(patience, self.0.message())
            .await
            .expect("a message in time")
    }

    /// The next message, which must be there.
    pub async fn message(&mut self) -> pb::WatchEventsResponse {
        self.next().await.unwrap().expect("one message more")
    }

    /// The message that a stream begins with, and its token.
    pub async fn opened(&mut self) -> (pb::Opened, String) {
        let message = self.message().await;
        match message.signal {
            Some(Signal::Opened(opened)) => (opened, message.resume_token),
            _ => panic!("something before Opened"),
        }
    }

    /// Reads up to `CaughtUp`: what has been sent by then.
    pub async fn past(&mut self) -> Vec<pb::Event> {
        let mut events = Vec::new();
        loop {
            let message = self.message().await;
            events.extend(message.events);
            if let Some(Signal::CaughtUp(_)) = message.signal {
                return events;
            }
        }
    }
}

/// A request that starts with the oldest event.
pub fn from_earliest() -> pb::WatchEventsRequest {
    pb::WatchEventsRequest {
        start: Some(Start::Position(StartPosition::Earliest.into())),
        ..Default::default()
    }
}

/// A request that goes on after a token.
pub fn after(token: &str) -> pb::WatchEventsRequest {
    pb::WatchEventsRequest {
        start: Some(Start::ResumeToken(token.to_owned())),
        ..Default::default()
    }
}

/// Sees that a failure of a stream has this code, this reason, and whose call it was.
#[track_caller]
pub fn assert_failure(status: &Status, code: Code, reason: &str) -> ErrorInfo {
    let details = status.get_error_details();
    let info = details.error_info().cloned();
    let info = info.unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    let seen = (status.code(), info.reason.as_str(), info.domain.as_str());
    assert_eq!(seen, (code, reason, "kora-gateway"));
    let call = details.request_info().expect("a RequestInfo");
    assert_eq!(call.request_id, CALL_ID);
    info
}
