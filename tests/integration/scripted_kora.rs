//! An upstream that does exactly what a test tells it, byte for byte.
//!
//! It is written on bare sockets and shares nothing with the gateway's client or with the emulator.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::call::SCREENING_ID;

/// What the upstream does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answers with this status, these headers and this body, and keeps the connection.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Writes these bytes and closes.
    Write(Vec<u8>),
    /// Closes after the head, the body unread.
    CloseAfterHead,
    /// Closes after the whole request.
    CloseAfterRequest,
    /// Never answers.
    Hang,
    /// Waits for the word, and answers then.
    AnswerOnceTold(Arc<Notify>, Box<Act>),
    /// The first for a SYNC screening, the second for an ASYNC one.
    ByMode(Box<[Act; 2]>),
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The upstream.
pub struct ScriptedKora {
    pub addr: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    act: Mutex<Act>,
    received: watch::Sender<Vec<Received>>,
}

impl Act {
    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Act {
        Act::Answer(
            status,
            vec![
                ("content-type", "application/json".to_owned()),
                ("x-request-id", "req_header".to_owned()),
            ],
            body.to_string().into_bytes(),
        )
    }

    /// An error answer in Kora's envelope, with a message text that must not get anywhere.
    pub fn error(status: u16, code: &str) -> Act {
        Act::json(
            status,
            &serde_json::json!({
                "code": code, "message": "VENDOR-TEXT about Jane Smith", "request_id": "req_body"
            }),
        )
    }

    /// SCREENING_TIMEOUT for a SYNC screening, and this for an ASYNC one.
    pub fn timeout_then(for_async: Act) -> Act {
        Act::ByMode(Box::new([Act::error(503, "SCREENING_TIMEOUT"), for_async]))
    }

    /// An answer that waits for the word.
    pub fn once_told(body: &Value) -> (Arc<Notify>, Act) {
        let told = Arc::new(Notify::new());
        let late = Act::AnswerOnceTold(Arc::clone(&told), Box::new(Act::json(200, body)));
        (told, late)
    }

    /// A screening that is PENDING, answered when the word is given.
    pub fn pending_once_told() -> (Arc<Notify>, Act) {
        Act::once_told(&serde_json::json!({"screening_id": SCREENING_ID, "status": "PENDING"}))
    }

    /// The same answer with one more header.
    pub fn with_header(self, name: &'static str, value: &str) -> Act {
        match self {
            Act::Answer(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Act::Answer(status, headers, body)
            }
            other => other,
        }
    }
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl ScriptedKora {
    pub async fn start(act: Act) -> ScriptedKora {
        Self::start_with(act, None).await
    }

    /// The same behind TLS.
    pub async fn start_tls(act: Act, tls: TlsAcceptor) -> ScriptedKora {
        Self::start_with(act, Some(tls)).await
    }

    async fn start_with(act: Act, tls: Option<TlsAcceptor>) -> ScriptedKora {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            act: Mutex::new(act),
            received: watch::Sender::new(Vec::new()),
        });
        let accepting = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let (state, tls) = (Arc::clone(&state), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => serve(stream, state).await,
                            // A client that does not trust the certificate leaves in the handshake.
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    serve(stream, state).await;
                                }
                            }
                        }
                    });
                }
            }
        });
        ScriptedKora {
            addr,
            state,
            accepting,
        }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.addr)
    }

    /// What to do from now on.
    pub fn act(&self, act: Act) {
        *self.state.act.lock().unwrap() = act;
    }

    /// Everything that arrived since the last time, whole requests and those cut at the head.
    pub fn take_received(&self) -> Vec<Received> {
        self.state.received.send_replace(Vec::new())
    }

    /// Waits until this many requests have arrived.
    pub async fn wait_for_requests(&self, count: usize) {
        let mut received = self.state.received.subscribe();
        received.wait_for(|all| all.len() >= count).await.unwrap();
    }
}

impl Drop for ScriptedKora {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves one connection; it ends when either side closes it.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let mut buffer = Vec::new();
    loop {
        let Some(end_of_head) = read_until_blank_line(&mut stream, &mut buffer).await else {
            return;
        };
        let head = String::from_utf8(buffer[..end_of_head].to_vec()).unwrap();
        let mut request = parse_head(&head);
        let act = state.act.lock().unwrap().clone();
        if matches!(act, Act::CloseAfterHead) {
            state.received.send_modify(|all| all.push(request));
            return;
        }
        let length = request
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while buffer.len() < end_of_head + length {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        request.body = buffer[end_of_head..end_of_head + length].to_vec();
        buffer.drain(..end_of_head + length);
        let act = match act {
            Act::ByMode(acts) => {
                let [for_sync, for_async] = *acts;
                match request.json()["mode"] == "ASYNC" {
                    true => for_async,
                    false => for_sync,
                }
            }
            other => other,
        };
        state.received.send_modify(|all| all.push(request));
        let act = match act {
            Act::AnswerOnceTold(told, then) => {
                told.notified().await;
                *then
            }
            other => other,
        };
        match act {
            Act::Answer(status, headers, body) => {
                let mut answer = format!("HTTP/1.1 {status} Whatever\r\n");
                for (name, value) in headers {
                    answer += &format!("{name}: {value}\r\n");
                }
                answer += &format!("content-length: {}\r\n\r\n", body.len());
                let bytes = [answer.as_bytes(), &body].concat();
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Act::Write(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Act::CloseAfterHead | Act::CloseAfterRequest => return,
            Act::Hang | Act::AnswerOnceTold(..) | Act::ByMode(_) => {
                // Ends when the gateway closes the connection.
                let _ = stream.read(&mut [0]).await;
                return;
            }
        }
    }
}

async fn read_until_blank_line(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Option<usize> {
    loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            return Some(at + 4);
        }
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

fn parse_head(head: &str) -> Received {
    let mut lines = head.trim_end().split("\r\n");
    let mut start = lines.next().unwrap().split(' ');
    let (method, path) = (start.next().unwrap(), start.next().unwrap());
    Received {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: Vec::new(),
    }
}
