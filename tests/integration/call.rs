//! A gRPC call made by hand over HTTP/2, so that no client library stands between a test and the bytes:
//! none that times out, retries, or refuses to send what is malformed.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kora_gateway::pb;
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
    time,
};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// How long any call of a test may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The id that calls of tests have.
pub const CALL_ID: &str = "call-of-a-test";

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: Status,
    pub headers: HeaderMap,
    pub message: Bytes,
}

/// One call, to be sent once; a clone is the same bytes again.
#[derive(Clone)]
pub struct Call {
    path: String,
    headers: Vec<(&'static str, String)>,
    frame: Bytes,
}

/// The RPCs that ask Kora.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpc {
    Screen,
    GetScreening,
    CreateSubject,
    GetSubject,
}

/// The ids that tests read with.
pub const SCREENING_ID: &str = "scr_1";
pub const SUBJECT_ID: &str = "subj_1";

impl Rpc {
    pub const ALL: [Rpc; 4] = [
        Rpc::Screen,
        Rpc::GetScreening,
        Rpc::CreateSubject,
        Rpc::GetSubject,
    ];

    pub fn is_paid(self) -> bool {
        matches!(self, Rpc::Screen | Rpc::CreateSubject)
    }

    pub fn path(self) -> String {
        format!("/kora.compliance.v1.ComplianceService/{self:?}")
    }

    /// A valid call of this RPC.
    pub fn call(self) -> Call {
        match self {
            Rpc::Screen => Call::new(self, &screen_request()),
            Rpc::GetScreening => Call::new(
                self,
                &pb::GetScreeningRequest {
                    screening_id: SCREENING_ID.to_owned(),
                    include_raw_json: false,
                },
            ),
            Rpc::CreateSubject => Call::new(
                self,
                &pb::CreateSubjectRequest {
                    subject: Some(profile()),
                    request_id: String::new(),
                },
            ),
            Rpc::GetSubject => Call::new(
                self,
                &pb::GetSubjectRequest {
                    subject_id: SUBJECT_ID.to_owned(),
                },
            ),
        }
    }
}

/// A valid request with an inline subject.
pub fn screen_request() -> pb::ScreenRequest {
    pb::ScreenRequest {
        party: Some(pb::screen_request::Party::Subject(profile())),
        purpose: pb::ScreeningPurpose::Onboarding.into(),
        checks: vec![pb::CheckType::Sanctions.into()],
        ..Default::default()
    }
}

/// A valid profile.
pub fn profile() -> pb::SubjectProfile {
    pb::SubjectProfile {
        r#type: pb::SubjectType::Individual.into(),
        name: "Jane Smith".to_owned(),
        ..Default::default()
    }
}

impl Call {
    pub fn new(rpc: Rpc, message: &impl Message) -> Call {
        Call::raw(rpc.path(), &message.encode_to_vec())
    }

    /// A call of any path with any bytes as its message.
    pub fn raw(path: String, message: &[u8]) -> Call {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        Call {
            path,
            headers: vec![
                ("content-type", "application/grpc".to_owned()),
                ("te", "trailers".to_owned()),
                ("x-request-id", CALL_ID.to_owned()),
            ],
            frame: [&[0], &length[..], message].concat().into(),
        }
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Call {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sends the call on a connection of its own and waits for the whole answer.
    pub async fn send(self, gateway: SocketAddr) -> Answer {
        Connection::open(gateway).await.send(self).await.unwrap()
    }

    /// Sends the call and tells the HTTP status alone.
    pub async fn http_status(self, gateway: SocketAddr) -> u16 {
        let frame = self.frame.clone();
        let mut connection = Connection::open(gateway).await;
        let answer = connection.exchange(self, Full::new(frame).boxed()).await;
        answer.unwrap().0
    }
}

/// A connection to a gateway. It ends with its last clone.
#[derive(Clone)]
pub struct Connection {
    gateway: SocketAddr,
    sender: SendRequest<BoxBody<Bytes, Infallible>>,
    _running: Arc<AbortOnDropHandle<()>>,
}

impl Connection {
    /// Connects, and waits until the gateway has shown that it speaks HTTP/2.
    pub async fn open(gateway: SocketAddr) -> Connection {
        let stream = TcpStream::connect(gateway).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, gateway).await.unwrap()
    }

    /// The same over a way that is there.
    pub async fn over(
        way: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        gateway: SocketAddr,
    ) -> hyper::Result<Connection> {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(way)).await?;
        let running = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Connection {
            gateway,
            sender,
            _running: Arc::new(AbortOnDropHandle::new(running)),
        })
    }

    /// Sends a call and waits for the whole answer; an error if the connection ends without one.
    pub async fn send(&mut self, call: Call) -> hyper::Result<Answer> {
        let frame = call.frame.clone();
        self.answer(call, Full::new(frame).boxed()).await
    }

    /// The same with a message that never comes.
    pub async fn send_without_message(&mut self, call: Call) -> hyper::Result<Answer> {
        let nothing = StreamBody::new(futures_util::stream::pending());
        self.answer(call, nothing.boxed()).await
    }

    /// The same with a message that comes when `told` is.
    pub async fn send_once_told(
        &mut self,
        call: Call,
        told: oneshot::Receiver<()>,
    ) -> hyper::Result<Answer> {
        let frame = call.frame.clone();
        let late = futures_util::stream::once(async move {
            told.await.unwrap();
            Ok(Frame::data(frame))
        });
        self.answer(call, StreamBody::new(late).boxed()).await
    }

    /// The same with a message of which `beginning` is all that ever comes.
    pub async fn send_beginning(&mut self, call: Call, beginning: Bytes) -> hyper::Result<Answer> {
        let beginning = futures_util::stream::iter([Ok(Frame::data(beginning))]);
        let rest = futures_util::stream::pending();
        let beginning = futures_util::StreamExt::chain(beginning, rest);
        self.answer(call, StreamBody::new(beginning).boxed()).await
    }

    async fn answer(
        &mut self,
        call: Call,
        body: BoxBody<Bytes, Infallible>,
    ) -> hyper::Result<Answer> {
        let (http_status, headers, mut message) = self.exchange(call, body).await?;
        assert_eq!(http_status, 200);
        if !message.is_empty() {
            message = message.slice(5..);
        }
        Ok(Answer {
            status: Status::from_header_map(&headers).unwrap(),
            headers,
            message,
        })
    }

    async fn exchange(
        &mut self,
        call: Call,
        body: BoxBody<Bytes, Infallible>,
    ) -> hyper::Result<(u16, HeaderMap, Bytes)> {
        let mut request = Request::post(format!("http://{}{}", self.gateway, call.path));
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let exchange = async {
            let request = request.body(body).unwrap();
            let response = self.sender.send_request(request).await?;
            let status = response.status().as_u16();
            let mut headers = response.headers().clone();
            let body = response.into_body().collect().await?;
            headers.extend(body.trailers().cloned().unwrap_or_default());
            Ok((status, headers, body.to_bytes()))
        };
        time::timeout(PATIENCE, exchange).await.unwrap()
    }
}

impl Answer {
    /// The message of a call that must have succeeded.
    pub fn ok<T: Message + Default>(&self) -> T {
        assert_eq!(self.status.code(), Code::Ok, "{:?}", self.status);
        T::decode(self.message.clone()).unwrap()
    }

    pub fn screening(&self) -> pb::Screening {
        self.ok::<pb::ScreenResponse>().screening.unwrap()
    }

    pub fn details(&self) -> ErrorDetails {
        self.status.get_error_details()
    }

    pub fn reason(&self) -> String {
        self.details()
            .error_info()
            .map(|info| info.reason.clone())
            .unwrap_or_default()
    }

    pub fn outcome(&self) -> Option<String> {
        self.details()
            .error_info()?
            .metadata
            .get("outcome")
            .cloned()
    }
}
