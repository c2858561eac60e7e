//! The stream that shows the model what is appended.

use kora_gateway::pb::{self, watch_events_response::Signal};

use super::running::Running;
use crate::subscriber::{EventStream, after, from_earliest};

/// Unfiltered, at one of the gateways.
pub struct Reference {
    pub at: usize,
    stream: EventStream,
}

impl Reference {
    /// Opens it at the head of the log, whose token the model knows unless the log is new. Returns that token.
    pub async fn open(gateway: &Running, at: usize, head: Option<&str>) -> (Reference, String) {
        let mut request = head.map_or_else(from_earliest, after);
        request.include_raw_json = true;
        let mut stream = gateway.subscriber.watch(request).await.unwrap();
        let (opened, token) = stream.opened().await;
        assert_eq!(token, opened.head_token);
        assert_eq!(stream.past().await, vec![]);
        (Reference { at, stream }, token)
    }

    /// The event that was appended last.
    pub async fn appended(&mut self) -> (pb::Event, String) {
        loop {
            let mut message = self.stream.message().await;
            match (message.events.len(), &message.signal) {
                (1, None) => return (message.events.remove(0), message.resume_token),
                (0, Some(Signal::Heartbeat(_))) => {}
                _ => panic!("{message:?} for one event"),
            }
        }
    }
}
