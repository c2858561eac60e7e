//! Screenings from callers with generated stubs, and a Kora that answers each at once and costs little.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use kora_gateway::pb::{self, compliance_service_client::ComplianceServiceClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::timeout,
};
use tonic::{
    Request,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use uuid::Uuid;

/// How many connections the callers share.
const CONNECTIONS: usize = 8;

/// How long all screenings of one measurement may take.
const SCREEN_TIMEOUT: Duration = Duration::from_secs(120);

/// More than any request of these.
const REQUEST_BYTES: usize = 4096;

/// About what the record of a request and its answer has.
pub const RECORD_BYTES: usize = 600;

/// A screening that found nothing.
const SCREENING: &str = r#"{"screening_id":"scr_0123456789abcdef","subject_id":"subj_0123456789","status":"COMPLETED","risk_score":150,"risk_band":"LOW","decision":{"outcome":"APPROVE","triggered_rules":[],"explanation":"No relevant match was found on the lists that were checked."},"matches":[],"match_summary":{"total_matches":0,"sanctions_matches":0,"pep_matches":0,"exact_matches":0,"strong_matches":0},"created_at":"2026-01-02T03:04:05Z","completed_at":"2026-01-02T03:04:06Z"}"#;

/// A Kora on loopback.
pub struct Kora {
    pub addr: SocketAddr,
    /// Runs it, on a thread of its own.
    _runtime: Runtime,
}

/// What the callers saw.
pub struct Screened {
    /// From the first call to the last answer.
    pub took: Duration,
    /// From each call to its answer.
    pub latencies: Vec<Duration>,
}

impl Kora {
    pub fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        runtime.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                tokio::spawn(answer(socket));
            }
        });
        Kora {
            addr,
            _runtime: runtime,
        }
    }
}

/// Screens `count` times, so many at a time. Blocks, and fails at the first answer that is no approval.
pub fn screen(to: SocketAddr, at_a_time: usize, count: u32, has_request_id: bool) -> Screened {
    screen_as(to, at_a_time, count, has_request_id, |_| MetadataMap::new())
}

/// The same. Each of those who do so at a time has this metadata.
pub fn screen_as(
    to: SocketAddr,
    at_a_time: usize,
    count: u32,
    has_request_id: bool,
    metadata_of: impl Fn(usize) -> MetadataMap,
) -> Screened {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let all = screen_all(to, at_a_time, count, has_request_id, metadata_of);
    let in_time = runtime.block_on(async { timeout(SCREEN_TIMEOUT, all).await });
    in_time.expect("all screenings are answered in time")
}

async fn screen_all(
    to: SocketAddr,
    at_a_time: usize,
    count: u32,
    has_request_id: bool,
    metadata_of: impl Fn(usize) -> MetadataMap,
) -> Screened {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let endpoint = Endpoint::from_shared(format!("http://{to}")).unwrap();
        clients.push(ComplianceServiceClient::new(
            endpoint.connect().await.unwrap(),
        ));
    }
    let (began, mut callers) = (Instant::now(), JoinSet::new());
    for (first, client) in clients.iter().cycle().take(at_a_time).enumerate() {
        let share = (first..count as usize).step_by(at_a_time).len();
        let metadata = metadata_of(first);
        callers.spawn(screen_some(client.clone(), share, has_request_id, metadata));
    }
    let latencies = callers.join_all().await.into_iter().flatten();
    Screened {
        latencies: latencies.collect(),
        took: began.elapsed(),
    }
}

async fn screen_some(
    mut client: ComplianceServiceClient<Channel>,
    count: usize,
    has_request_id: bool,
    metadata: MetadataMap,
) -> Vec<Duration> {
    let mut latencies = Vec::with_capacity(count);
    for _ in 0..count {
        let mut request = request();
        if has_request_id {
            request.request_id = Uuid::new_v4().to_string();
        }
        let mut request = Request::new(request);
        *request.metadata_mut() = metadata.clone();
        let sent = Instant::now();
        let answer = client.screen(request).await.unwrap().into_inner();
        latencies.push(sent.elapsed());
        let decision = answer.screening.unwrap().decision.unwrap();
        assert_eq!(decision.outcome(), pb::Outcome::Approve);
    }
    latencies
}

fn request() -> pb::ScreenRequest {
    let profile = pb::SubjectProfile {
        r#type: pb::SubjectType::Individual.into(),
        name: "Jane Smith".to_owned(),
        date_of_birth: "1985-03-20".to_owned(),
        nationality: "GB".to_owned(),
        ..Default::default()
    };
    pb::ScreenRequest {
        party: Some(pb::screen_request::Party::Subject(profile)),
        purpose: pb::ScreeningPurpose::Onboarding.into(),
        checks: [pb::CheckType::Sanctions, pb::CheckType::Pep]
            .map(Into::into)
            .to_vec(),
        ..Default::default()
    }
}

/// Answers every request of a connection. It ends with its gateway.
async fn answer(mut socket: TcpStream) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_0123456789\r\n\
         content-length: {}\r\n\r\n{SCREENING}",
        SCREENING.len()
    );
    let (mut request, mut len) = ([0; REQUEST_BYTES], 0);
    while let Ok(more @ 1..) = socket.read(&mut request[len..]).await {
        len += more;
        if !is_whole(&request[..len]) {
            continue;
        }
        len = 0;
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The gateway sends one request after the other.
fn is_whole(request: &[u8]) -> bool {
    let Some(head) = request.windows(4).position(|end| end == b"\r\n\r\n") else {
        return false;
    };
    let lines = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = lines.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
    request.len() >= head + 4 + length.unwrap_or(0)
}
