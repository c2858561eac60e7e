//! Signed webhooks, and senders that cost little: HTTP/1.1 on kept-alive sockets, every request made before
//! the clock runs, every answer looked at.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime,
    task::JoinSet,
    time::{interval, timeout},
};

use crate::gateway::signature;

/// How long all webhooks of one measurement may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(120);

/// How many subjects there are, where that does not matter.
const SUBJECTS: u32 = 5000;

/// How many digits an event's id ends with: its number.
const NUMBER_DIGITS: usize = 10;

/// How the only good answer begins and ends.
const OK_BEGIN: &[u8] = b"HTTP/1.1 200 OK\r\n";
const OK_END: &[u8] = b"\r\n\r\nOK";

/// Requests, and when each was sent.
#[derive(Clone)]
pub struct Webhooks {
    first_number: u32,
    all: Arc<[Webhook]>,
}

struct Webhook {
    request: Vec<u8>,
    sent: OnceLock<Instant>,
}

/// What the senders saw.
pub struct Sent {
    /// From the first request to the last answer.
    pub took: Duration,
    /// From each request to its answer.
    pub latencies: Vec<Duration>,
}

impl Webhooks {
    /// As many different events, ready to be sent, with the numbers from the first one on.
    pub fn new(first_number: u32, count: u32) -> Self {
        Self::about(SUBJECTS, first_number, count)
    }

    /// The same about so many subjects in turn.
    pub fn about(subjects: u32, first_number: u32, count: u32) -> Self {
        let numbers = first_number..first_number + count;
        let webhooks = numbers.map(|number| Webhook {
            request: request(&body_about(subjects, number)),
            sent: OnceLock::new(),
        });
        Webhooks {
            first_number,
            all: webhooks.collect(),
        }
    }

    /// The place of the event with this id.
    pub fn index_of(&self, event_id: &[u8]) -> Option<usize> {
        let digits = event_id.last_chunk::<NUMBER_DIGITS>()?;
        let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let index = number.checked_sub(self.first_number)? as usize;
        (index < self.len()).then_some(index)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// When one was sent.
    pub fn sent_at(&self, index: usize) -> Option<Instant> {
        self.all.get(index)?.sent.get().copied()
    }

    /// Sends all of them, each sender one after the other: the events of a sender are in the log in the order
    /// in which it sends them. With a `pace` the next one starts no earlier than that after the one before.
    /// Blocks, and fails at the first answer that is not `200`.
    pub fn send(&self, to: SocketAddr, senders: usize, pace: Option<Duration>) -> Sent {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let all = runtime
            .block_on(async { timeout(SEND_TIMEOUT, self.send_all(to, senders, pace)).await });
        all.expect("all webhooks are answered in time")
    }

    async fn send_all(&self, to: SocketAddr, senders: usize, pace: Option<Duration>) -> Sent {
        let mut sockets = Vec::new();
        for _ in 0..senders {
            let socket = TcpStream::connect(to).await.unwrap();
            socket.set_nodelay(true).unwrap();
            sockets.push(socket);
        }
        let (began, mut tasks) = (Instant::now(), JoinSet::new());
        for (first, socket) in sockets.into_iter().enumerate() {
            tasks.spawn(self.clone().send_some(socket, first, senders, pace));
        }
        let mut latencies = Vec::with_capacity(self.len());
        while let Some(sent) = tasks.join_next().await {
            latencies.extend(sent.unwrap());
        }
        Sent {
            took: began.elapsed(),
            latencies,
        }
    }

    /// Every `step`-th, beginning with `first`.
    async fn send_some(
        self,
        mut socket: TcpStream,
        first: usize,
        step: usize,
        pace: Option<Duration>,
    ) -> Vec<Duration> {
        let mut ticks = pace.map(interval);
        let mut latencies = Vec::with_capacity(self.len() / step + 1);
        for webhook in self.all.iter().skip(first).step_by(step) {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            let sent = *webhook.sent.get_or_init(Instant::now);
            socket.write_all(&webhook.request).await.unwrap();
            read_ok(&mut socket).await;
            latencies.push(sent.elapsed());
        }
        latencies
    }
}

async fn read_ok(socket: &mut TcpStream) {
    let (mut answer, mut len) = ([0; 512], 0);
    while !answer[..len].ends_with(OK_END) {
        let more = socket.read(&mut answer[len..]).await.unwrap();
        len += more;
        assert!(
            more > 0,
            "no 200: {}",
            String::from_utf8_lossy(&answer[..len])
        );
    }
    let is_ok = answer.starts_with(OK_BEGIN);
    assert!(is_ok, "no 200: {}", String::from_utf8_lossy(&answer[..len]));
}

fn request(body: &str) -> Vec<u8> {
    let signature = signature(body.as_bytes());
    let length = body.len();
    format!(
        "POST /webhooks/compliance HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n\
         x-webhook-signature: {signature}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The id of an event. One that follows another in time has no place near it in an index, as with ids that
/// are made up at random.
pub fn event_id(number: u32) -> String {
    let scattered = number.wrapping_mul(0x9E37_79B1);
    format!("evt_{scattered:08x}{number:0NUMBER_DIGITS$}")
}

/// The id of a subject.
pub fn subject_id(subject: u32) -> String {
    format!("subj_4b1e{subject:08}")
}

/// A completed screening with one possible match.
pub fn body(number: u32) -> String {
    body_about(SUBJECTS, number)
}

fn body_about(subjects: u32, number: u32) -> String {
    let (id, subject) = (event_id(number), subject_id(number % subjects));
    format!(
        r#"{{"event":"screening.completed","id":"{id}","timestamp":"2026-03-02T09:15:27Z","data":{{"screening_id":"scr_9f2c41d07a{number:010}","subject_id":"{subject}","status":"COMPLETED","risk_score":185,"risk_band":"LOW","decision":{{"outcome":"APPROVE_WITH_MONITORING","triggered_rules":["pep_possible_match"],"explanation":"One possible match below the threshold"}},"matches":[{{"match_id":"mat_71c0","source":"PEP","score":0.62,"strength":"POSSIBLE"}}],"match_summary":{{"total_matches":1,"sanctions_matches":0,"pep_matches":1}},"created_at":"2026-03-02T09:15:24Z","completed_at":"2026-03-02T09:15:27Z"}}}}"#
    )
}
