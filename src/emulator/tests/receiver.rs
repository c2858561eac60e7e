//! A receiver of webhooks on a bare socket, and what a test does with one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::*;
use crate::emulator::signature::sign;

/// In place of a status: the webhook is taken and never answered.
pub(super) const SILENCE: u16 = 0;

/// The most that a test waits for a webhook: far more than is needed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes webhooks, each on a connection of its own.
pub(super) struct Receiver {
    pub(super) url: String,
    arrivals: mpsc::Receiver<Arrival>,
}

/// A webhook as it arrived.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    /// Where its answer goes. Kept open where there is none.
    pub(super) connection: TcpStream,
}

impl Receiver {
    /// One that answers with these statuses, and 200 from then on.
    pub(super) async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let statuses = Arc::new(Mutex::new(VecDeque::from(statuses.to_vec())));
        let (arrived, arrivals) = mpsc::channel(1000);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (statuses, arrived) = (Arc::clone(&statuses), arrived.clone());
                tokio::spawn(async move {
                    let mut arrival = read(stream).await;
                    let status = statuses.lock().unwrap().pop_front().unwrap_or(200);
                    if status != SILENCE {
                        // The location is the receiver itself: a redirect that is followed is seen.
                        let answer = format!(
                            "HTTP/1.1 {status} Answer\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n"
                        );
                        let written = arrival.connection.write_all(answer.as_bytes()).await;
                        written.unwrap();
                    }
                    let _ = arrived.send(arrival).await;
                });
            }
        });
        Self {
            url: format!("http://{address}/hook?a=b"),
            arrivals,
        }
    }

    pub(super) async fn next(&mut self) -> Arrival {
        let arrival = timeout(PATIENCE, self.arrivals.recv()).await;
        arrival.expect("no webhook comes").unwrap()
    }

    /// The next ones, by their names, in the order of their arrival.
    pub(super) async fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.next().await.json()["event"].as_str().unwrap().into());
        }
        names
    }
}

async fn read(mut stream: TcpStream) -> Arrival {
    let mut read = Vec::new();
    loop {
        let end = read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(read[..end].to_vec()).unwrap();
            let length: usize = header(&head, "content-length").unwrap().parse().unwrap();
            if read.len() == end + 4 + length {
                return Arrival {
                    head,
                    body: read.split_off(end + 4),
                    connection: stream,
                };
            }
        }
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "cut off");
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

impl Arrival {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn is_signed_with(&self, secret: &str) -> bool {
        self.header("x-webhook-signature") == Some(&sign(secret, &self.body))
    }
}

impl Emulator {
    /// Subscribes to these events and returns the secret.
    pub(super) async fn subscribe(&self, receiver: &Receiver, events: &[&str]) -> String {
        let body = json!({"name": "Test", "url": receiver.url, "events": events});
        let answer = self.post("/webhooks/subscriptions", &body).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        let subscription: Value = answer.json().await.unwrap();
        subscription["secret"].as_str().unwrap().to_owned()
    }

    /// Starts an ASYNC screening and returns its path.
    pub(super) async fn screen(&self, name: &str) -> String {
        let answer = self.post("/screenings", &screening(name, "ASYNC")).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let receipt: Value = answer.json().await.unwrap();
        format!("/screenings/{}", receipt["screening_id"].as_str().unwrap())
    }

    pub(super) async fn set_webhook_faults(&self, faults: Value) -> Response {
        let request = self.bare(Method::PUT, "/__emulator/webhooks").json(&faults);
        request.send().await.unwrap()
    }

    pub(super) async fn fire(&self, webhook: Value) -> Response {
        let request = self
            .bare(Method::POST, "/__emulator/webhooks")
            .json(&webhook);
        request.send().await.unwrap()
    }

    /// The deliveries that are listed.
    pub(super) async fn deliveries(&self) -> Vec<Value> {
        let request = self.bare(Method::GET, "/__emulator/webhooks");
        let list: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(list["dropped"], 0);
        list["deliveries"].as_array().unwrap().clone()
    }

    /// The deliveries, once none is pending.
    pub(super) async fn ended_deliveries(&self) -> Vec<Value> {
        let ended = async {
            loop {
                let deliveries = self.deliveries().await;
                if deliveries.iter().all(|one| one["progress"] != "pending") {
                    return deliveries;
                }
            }
        };
        timeout(PATIENCE, ended).await.expect("deliveries pend")
    }
}
