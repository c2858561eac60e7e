//! A gateway on a real socket that plays a script: one list of acts for each connection.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use prost::Message;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::pb::{WatchEventsRequest, WatchEventsResponse};

/// What comes before each message on the wire: a flag and its length.
const PREFIX_LENGTH: usize = 5;

/// What the gateway does next on a connection. After the last act the stream stays open and silent.
#[derive(Clone)]
pub(super) enum Act {
    /// Sends a message.
    Send(WatchEventsResponse),
    /// Ends the stream with OK.
    End,
    /// Ends it with an error.
    Fail(Status),
    /// Ends it without a status.
    EndWithoutStatus,
    /// Cuts the connection, once the test says so.
    Cut,
}

/// The gateway. It stops when it is dropped.
pub(super) struct ScriptedGateway {
    pub(super) addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What the connections share with the test.
#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<WatchEventsRequest>>,
    cut: Notify,
}

impl ScriptedGateway {
    /// Listens on a free port.
    pub(super) async fn start(script: Vec<Vec<Act>>) -> ScriptedGateway {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, script)
    }

    /// Listens here. A connection that is not in the script gets an error that ends a watcher.
    pub(super) fn on(listener: TcpListener, script: Vec<Vec<Act>>) -> ScriptedGateway {
        let shared = Arc::new(Shared::default());
        let addr = listener.local_addr().unwrap();
        let accepting = tokio::spawn({
            let shared = shared.clone();
            async move {
                let mut script = script.into_iter();
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    let beyond = vec![Act::Fail(Status::data_loss("beyond the script"))];
                    let acts = script.next().unwrap_or(beyond);
                    tokio::spawn(serve(socket, acts, shared.clone()));
                }
            }
        });
        ScriptedGateway {
            addr,
            shared,
            accepting,
        }
    }

    /// What it was asked for until now.
    pub(super) fn requests(&self) -> Vec<WatchEventsRequest> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Cuts the connection whose next act is that, or else the next that comes to it.
    pub(super) fn cut(&self) {
        self.shared.cut.notify_one();
    }
}

impl Drop for ScriptedGateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(socket: TcpStream, acts: Vec<Act>, shared: Arc<Shared>) {
    let cut = CancellationToken::new();
    let answer = service_fn(|request: Request<Incoming>| {
        let (acts, shared, cut) = (acts.clone(), shared.clone(), cut.clone());
        async move {
            assert!(request.uri().path().ends_with("/WatchEvents"));
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let asked = WatchEventsRequest::decode(&body[PREFIX_LENGTH..]).unwrap();
            shared.requests.lock().unwrap().push(asked);
            Ok::<_, Infallible>(response(acts, shared, cut))
        }
    });
    let builder = Builder::new(TokioExecutor::new()).http2_only();
    tokio::select! {
        () = cut.cancelled() => {}
        // A client that goes away is no fault of the script's.
        _ = builder.serve_connection(TokioIo::new(socket), answer) => {}
    }
}

fn response(
    acts: Vec<Act>,
    shared: Arc<Shared>,
    cut: CancellationToken,
) -> Response<BoxBody<Bytes, Infallible>> {
    let ends = |act: &Act| matches!(act, Act::End | Act::Fail(_) | Act::EndWithoutStatus);
    let ends = acts.iter().any(ends);
    let frames = stream::iter(acts).filter_map(move |act| {
        let (shared, cut) = (shared.clone(), cut.clone());
        async move {
            let frame = match act {
                Act::Send(message) => Frame::data(framed(&message)),
                Act::End => Frame::trailers(trailers(&Status::ok(""))),
                Act::Fail(status) => Frame::trailers(trailers(&status)),
                Act::EndWithoutStatus => return None,
                Act::Cut => {
                    shared.cut.notified().await;
                    cut.cancel();
                    return None;
                }
            };
            Some(Ok(frame))
        }
    });
    let body: BoxBody<_, _> = match ends {
        true => BoxBody::new(StreamBody::new(frames)),
        false => BoxBody::new(StreamBody::new(frames.chain(stream::pending()))),
    };
    let mut response = Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}

fn framed(message: &WatchEventsResponse) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len().try_into().unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

fn trailers(status: &Status) -> HeaderMap {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    headers
}
