//! An upstream that does exactly what a test tells it, byte for byte.
//!
//! It is written on bare sockets and shares nothing with the gateway's client or with the emulator.

mod act;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

pub use act::Act;

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

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether it starts an ASYNC screening.
    pub fn is_async(&self) -> bool {
        self.method == "POST" && self.json()["mode"] == "ASYNC"
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
            Act::AsScripted(script) => (script.0)(&request),
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
            Act::Hang | Act::AnswerOnceTold(..) | Act::AsScripted(_) => {
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
