//! The proof that a request was not sent.
//!
//! A POST's body is one piece of our own type. HTTP/1 asks for it right after the head was put into the
//! connection's buffer and before anything is flushed (hyper 1: `proto::h1::dispatch`). So a body that was
//! never asked for proves that no byte of the request left; and one that answers with an error when it is
//! asked for makes hyper drop the connection with the buffer unflushed. From the moment it was asked for,
//! the request may be on its way.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

const UNSENT: u8 = 0;
const STARTED: u8 = 1;
const REVOKED: u8 = 2;

/// Whether one request was sent. Handles share the answer.
#[derive(Clone, Default)]
pub(super) struct Transmission(Arc<State>);

#[derive(Default)]
struct State {
    progress: AtomicU8,
    started: Notify,
}

/// A request body that tells when it leaves.
pub(super) struct TrackedBody {
    content: Option<Bytes>,
    transmission: Transmission,
}

/// The request was taken back before it was sent.
#[derive(Debug)]
pub(super) struct Revoked;

impl Transmission {
    /// The body for the one request that this is about.
    pub(super) fn body(&self, content: Bytes) -> TrackedBody {
        TrackedBody {
            content: Some(content),
            transmission: self.clone(),
        }
    }

    /// Takes the request back. True: no byte of it left, and none will. False: it may be on its way.
    pub(super) fn revoke(&self) -> bool {
        self.move_on(REVOKED) || self.0.progress.load(Ordering::SeqCst) == REVOKED
    }

    /// Waits until the request may be on its way. One waiter at a time.
    pub(super) async fn started(&self) {
        self.0.started.notified().await;
    }

    fn start(&self) -> bool {
        let started = self.move_on(STARTED);
        if started {
            self.0.started.notify_one();
        }
        started
    }

    fn move_on(&self, to: u8) -> bool {
        self.0
            .progress
            .compare_exchange(UNSENT, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = Revoked;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Revoked>>> {
        let Some(content) = self.content.take() else {
            return Poll::Ready(None);
        };
        if self.transmission.start() {
            Poll::Ready(Some(Ok(Frame::data(content))))
        } else {
            Poll::Ready(Some(Err(Revoked)))
        }
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            self.content
                .as_ref()
                .map_or(0, |content| content.len() as u64),
        )
    }
}

impl fmt::Display for Revoked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the request was taken back before it was sent")
    }
}

impl std::error::Error for Revoked {}

#[cfg(test)]
mod tests {
    use reqwest::{Client, Method, Request};
    use std::time::Duration;

    use tokio::{io::AsyncReadExt, net::TcpListener, time::timeout};

    use super::*;

    async fn listen() -> (TcpListener, Client, Request) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/screenings", listener.local_addr().unwrap());
        let client = Client::builder().http1_only().no_proxy().build().unwrap();
        (
            listener,
            client,
            Request::new(Method::POST, url.parse().unwrap()),
        )
    }

    #[tokio::test]
    async fn no_byte_of_a_revoked_request_leaves() {
        let (listener, client, mut request) = listen().await;
        let transmission = Transmission::default();
        *request.body_mut() = Some(reqwest::Body::wrap(transmission.body("{}".into())));
        assert!(transmission.revoke());
        let exchange = tokio::spawn(async move { client.execute(request).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        let patience = Duration::from_secs(10);
        timeout(patience, stream.read_to_end(&mut received))
            .await
            .unwrap()
            .unwrap();
        assert!(received.is_empty(), "{received:?}");
        assert!(exchange.await.unwrap().is_err());
        assert!(transmission.revoke(), "it still counts as taken back");
    }

    #[tokio::test]
    async fn a_request_on_its_way_cannot_be_revoked() {
        let (listener, client, mut request) = listen().await;
        let transmission = Transmission::default();
        *request.body_mut() = Some(reqwest::Body::wrap(transmission.body("{}".into())));
        let exchange = tokio::spawn(async move { client.execute(request).await });
        let (mut stream, _) = listener.accept().await.unwrap();
        transmission.started().await;
        assert!(!transmission.revoke());
        let mut received = [0; 4];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"POST");
        drop(stream);
        assert!(exchange.await.unwrap().is_err());
    }
}
