//! Subscribers that cost little: many `WatchEvents` streams on few HTTP/2 connections, and of each message no
//! more decoded than who it is.

use std::{error::Error, net::SocketAddr, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use h2::{
    RecvStream,
    client::{self, SendRequest},
};
use http::{Method, Request, StatusCode};
use kora_gateway::pb::WatchEventsRequest;
use prost::Message;
use tokio::{net::TcpStream, time::timeout};

/// How many connections the streams share.
pub const CONNECTIONS: usize = 20;

/// How long a stream may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// What a client is ready to hold: enough that the gateway never waits for its leave.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 256 << 20;

/// The bytes before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// `WatchEventsResponse`, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
pub struct Received {
    /// The events.
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<Event>,
    /// The past has been sent.
    #[prost(message, optional, tag = "5")]
    pub caught_up: Option<CaughtUp>,
}

/// `Event`, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Its id, not copied.
    #[prost(bytes = "bytes", tag = "1")]
    pub event_id: Bytes,
}

/// `CaughtUp`.
#[derive(Clone, PartialEq, Message)]
pub struct CaughtUp {}

/// An open stream.
pub struct Stream {
    body: RecvStream,
    /// What came and is no whole message yet.
    rest: BytesMut,
    /// Keeps the connection open.
    _connection: SendRequest<Bytes>,
}

/// Opens as many streams of every event from the newest on; see [`open_each`].
pub async fn open(to: SocketAddr, count: usize) -> Vec<Stream> {
    let all = WatchEventsRequest::default();
    open_each(to, &vec![all; count]).await
}

/// Opens a stream for each of these, dealt out to the connections, and waits until each is in the present.
pub async fn open_each(to: SocketAddr, requests: &[WatchEventsRequest]) -> Vec<Stream> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(to).await.unwrap());
    }
    let mut streams = Vec::with_capacity(requests.len());
    for (connection, request) in connections.iter().cycle().zip(requests) {
        let opened = timeout(OPEN_TIMEOUT, Stream::open(connection.clone(), to, request));
        streams.push(opened.await.unwrap().unwrap());
    }
    streams
}

async fn connect(to: SocketAddr) -> Result<SendRequest<Bytes>, Box<dyn Error>> {
    let socket = TcpStream::connect(to).await?;
    socket.set_nodelay(true)?;
    let (requests, connection) = client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(socket)
        .await?;
    // It ends when the gateway is killed; streams that were not done by then say so.
    tokio::spawn(async { connection.await.ok() });
    Ok(requests)
}

impl Stream {
    async fn open(
        connection: SendRequest<Bytes>,
        to: SocketAddr,
        asked: &WatchEventsRequest,
    ) -> Result<Self, Box<dyn Error>> {
        let mut connection = connection.ready().await?;
        let path = "kora.compliance.v1.ComplianceService/WatchEvents";
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{to}/{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (answer, mut body) = connection.send_request(request, false)?;
        let length = u32::try_from(asked.encoded_len())?.to_be_bytes();
        let message = [&[0], &length[..], &asked.encode_to_vec()].concat();
        body.send_data(message.into(), true)?;
        let answer = answer.await?;
        assert_eq!(answer.status(), StatusCode::OK);
        let mut stream = Stream {
            body: answer.into_body(),
            rest: BytesMut::new(),
            _connection: connection,
        };
        let mut is_present = false;
        while !is_present {
            let each = |received: Received, _| is_present |= received.caught_up.is_some();
            stream.receive(each).await?;
        }
        Ok(stream)
    }

    /// Waits for data and hands on every message that is whole, and its size on the wire.
    pub async fn receive(
        &mut self,
        mut each: impl FnMut(Received, usize),
    ) -> Result<(), Box<dyn Error>> {
        let mut data = self.body.data().await.ok_or("the stream ended")??;
        self.body.flow_control().release_capacity(data.len())?;
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(&data);
            data = self.rest.split().freeze();
        }
        while let Some(message) = take_message(&mut data) {
            let size = PREFIX_BYTES + message.len();
            each(Received::decode(message)?, size);
        }
        self.rest.extend_from_slice(&data);
        Ok(())
    }
}

/// The first message, if all of it is there.
fn take_message(data: &mut Bytes) -> Option<Bytes> {
    let (prefix, rest) = data.split_first_chunk::<PREFIX_BYTES>()?;
    let [is_compressed, length @ ..] = *prefix;
    assert_eq!(is_compressed, 0, "no compression was asked for");
    let length = u32::from_be_bytes(length) as usize;
    if rest.len() < length {
        return None;
    }
    data.advance(PREFIX_BYTES);
    Some(data.split_to(length))
}
