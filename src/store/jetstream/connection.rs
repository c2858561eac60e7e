//! The connection to NATS: made once, and made again by itself for ever.

use std::{
    error::Error,
    fmt::Display,
    io, iter,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, PublishError, ServerError,
    SubscribeError, Subscriber, connection::State, jetstream,
};
use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::rustls;

use super::{Config, OpenError, servers::Servers};
use crate::store::{Metrics, ReadError};

/// How long NATS has to answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// After how long a read is sent again: while the servers of a cluster elect a leader, nobody answers.
pub(super) const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long to wait before something is tried again that was refused at once.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// After how long without a connection NATS counts as away. A client whose server has died finds another one sooner.
const AWAY_AFTER: Duration = Duration::from_secs(2);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// After how much silence NATS is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// The oldest server that keeps what it promises when it is alone.
const OLDEST_SERVER: (i64, i64) = (2, 9);

/// The oldest servers that keep it in a cluster: older ones lose compare-and-set, and acknowledge duplicates that
/// they did not store.
const OLDEST_CLUSTER: (i64, i64) = (2, 11);

/// The smallest `max_payload` with which every record fits: an answer or event that was cut as far as it can be, and
/// what its message has besides.
const MIN_MAX_PAYLOAD: usize = 256 << 10;

/// How much of a message is set aside for what it has besides its event or answer: headers, keys and ids. No more than
/// half of the message, so that small events still fit where `max_payload` was lowered too far.
const MESSAGE_OVERHEAD: usize = 64 << 10;

/// How many publishes wait for their acknowledgement.
const UNACKNOWLEDGED: usize = 4096;

/// A connection. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    client: Client,
    pub(super) jetstream: jetstream::Context,
    /// How often it was made.
    made: watch::Receiver<u64>,
    servers: Arc<Servers>,
    /// How many servers the gateway was given.
    configured: usize,
    /// Since when it is lost.
    lost: watch::Receiver<Option<Instant>>,
    /// The last right that the server refused.
    refused: watch::Receiver<Option<String>>,
    /// The last `max_payload` that was logged.
    logged_max_payload: Arc<AtomicUsize>,
}

/// The rights that the server refuses from now on.
pub(super) struct Refused(watch::Receiver<Option<String>>);

impl Refused {
    /// The last one, in the server's words.
    pub(super) fn since(mut self) -> Option<String> {
        if !self.0.has_changed().unwrap_or(false) {
            return None;
        }
        self.0.borrow_and_update().clone()
    }
}

impl Connection {
    /// Connects for the first time.
    pub(super) async fn open(config: &Config) -> Result<Self, OpenError> {
        let (made, times_made) = watch::channel(0);
        let (loses, lost) = watch::channel(None);
        let (refuses, refused) = watch::channel(None);
        let servers = Arc::new(Servers::default());
        let (choice, has_connected) = (Arc::clone(&servers), times_made.clone());
        let mut options = ConnectOptions::new()
            .name("kora-gateway")
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(ANSWER_TIMEOUT))
            .ping_interval(PING_INTERVAL)
            .max_reconnects(None)
            .reconnect_delay_callback(pause)
            .reconnect_to_server_callback(move |servers, _| {
                // The first time all are tried, one after the other.
                let is_again = *has_connected.borrow() > 0;
                let choice = Arc::clone(&choice);
                async move { choice.choose(servers).filter(|_| is_again) }
            })
            .event_callback(move |event| {
                notice(&event, (&made, &loses), &refuses);
                async {}
            });
        if config
            .servers
            .iter()
            .any(|server| server.starts_with("tls:"))
        {
            options = options.require_tls(true);
        }
        if let Some(path) = &config.ca_file {
            options = options.add_root_certificates(path.clone());
        }
        if let Some(path) = &config.credentials_file {
            let read = options.credentials_file(path).await;
            options = read.map_err(|error| {
                OpenError::Misconfigured(format!(
                    "the NATS credentials (--nats-credentials-file) cannot be used: {error}"
                ))
            })?;
        }
        let client = options
            .connect(config.servers.as_slice())
            .await
            .map_err(not_connected)?;
        let client_max_payload = client.max_payload();
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(ANSWER_TIMEOUT)
            .ack_timeout(ANSWER_TIMEOUT)
            .max_ack_inflight(UNACKNOWLEDGED)
            .build(client.clone());
        let connection = Connection {
            client,
            jetstream,
            made: times_made,
            servers,
            configured: config.servers.len(),
            lost,
            refused,
            logged_max_payload: Arc::new(AtomicUsize::new(client_max_payload)),
        };
        connection.require_version(OLDEST_SERVER, "a NATS server")?;
        let server = connection.client.server_info();
        if server.cluster.is_some() {
            connection.require_version(OLDEST_CLUSTER, "a cluster of NATS servers")?;
        }
        if !server.jetstream {
            return Err(OpenError::Misconfigured(
                "the NATS server has JetStream switched off: it needs a jetstream block in its settings".to_owned(),
            ));
        }
        if client_max_payload < MIN_MAX_PAYLOAD {
            return Err(OpenError::Misconfigured(format!(
                "max_payload of the NATS server is {client_max_payload} bytes, and has to be at least {MIN_MAX_PAYLOAD}"
            )));
        }
        Ok(connection)
    }

    /// Whether NATS is there, as far as is known.
    pub(super) fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits until there is a connection. False if NATS is away: then it is not waited for.
    pub(super) async fn until_up(&self) -> bool {
        while !self.is_up() {
            let lost = *self.lost.borrow();
            if lost.is_some_and(|lost| lost.elapsed() >= AWAY_AFTER) {
                return false;
            }
            sleep(RETRY_PAUSE).await;
        }
        true
    }

    /// Says something to whoever subscribes to it now.
    pub(super) async fn say(&self, subject: String, word: Bytes) -> Result<(), PublishError> {
        self.client.publish(subject, word).await
    }

    /// What is said on a subject from now on.
    pub(super) async fn subscribe(&self, subject: String) -> Result<Subscriber, SubscribeError> {
        self.client.subscribe(subject).await
    }

    /// NATS has acknowledged a write.
    pub(super) fn write_succeeded(&self) {
        self.servers.succeeded();
    }

    /// NATS has not acknowledged a write that was sent then, or could not take it.
    pub(super) async fn write_failed(&self, sent: Instant) {
        if self.servers.failed(sent) {
            self.try_another_server().await;
        }
    }

    /// NATS has not answered a read. It answered one then.
    pub(super) async fn read_failed(&self, heard: Instant) {
        if self.servers.is_silent_since(heard) {
            self.try_another_server().await;
        }
    }

    /// Leaves the server for another one, if there are others.
    pub(super) async fn try_another_server(&self) {
        let known = self.client.server_info().connect_urls.len();
        if self.is_up() && self.configured.max(known) > 1 && self.servers.may_leave() {
            tracing::warn!("the NATS server does not serve; another one is tried");
            // A client that has no connection looks for one anyway.
            let _ = self.client.force_reconnect().await;
        }
    }

    /// How often the connection was made, and its changes.
    pub(super) fn made(&self) -> watch::Receiver<u64> {
        self.made.clone()
    }

    /// The rights that are refused from now on.
    pub(super) fn refused(&self) -> Refused {
        let mut refused = self.refused.clone();
        refused.mark_unchanged();
        Refused(refused)
    }

    /// How large an event, or the answer of a request, may be on this server. A server whose `max_payload` is lowered by
    /// a reload says so when it refuses a message and the client connects again.
    pub(super) fn max_value_bytes(&self) -> usize {
        max_value_bytes(self.client.max_payload())
    }

    /// How large a message may be, its headers included.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Logs and shows `max_payload` where it has changed: somebody reloaded the server's settings.
    pub(super) fn watch_max_payload(&self, metrics: &Metrics) {
        let now = self.client.max_payload();
        metrics
            .nats_max_payload
            .set(i64::try_from(now).unwrap_or(i64::MAX));
        let before = self.logged_max_payload.swap(now, Ordering::Relaxed);
        if now == before {
            return;
        }
        let largest = max_value_bytes(now);
        if now < MIN_MAX_PAYLOAD {
            tracing::error!(
                max_payload = now,
                before,
                needed = MIN_MAX_PAYLOAD,
                "max_payload of NATS was lowered below what the gateway needs: webhooks and answers above {largest} bytes are \
                 refused or cut"
            );
        } else if now < before {
            tracing::error!(
                max_payload = now,
                before,
                "max_payload of NATS was lowered: webhooks above {largest} bytes are refused, and parts of large events and \
                 answers are left out"
            );
        } else {
            tracing::info!(max_payload = now, before, "max_payload of NATS was raised");
        }
    }

    fn require_version(&self, oldest: (i64, i64), of: &str) -> Result<(), OpenError> {
        let (major, minor) = oldest;
        if self.client.is_server_compatible(major, minor, 0) {
            return Ok(());
        }
        let version = self.client.server_info().version;
        Err(OpenError::Refused(format!(
            "{of} has to be of version {major}.{minor} or newer, and is {version}"
        )))
    }

    /// Says what is left, and ends.
    pub(super) async fn close(&self) {
        // One that is away has nothing to be told.
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, self.client.drain()).await;
    }
}

/// The `max_payload` with which values of this size fit.
pub(super) fn max_payload_for(value_bytes: usize) -> usize {
    (value_bytes + MESSAGE_OVERHEAD).max(MIN_MAX_PAYLOAD)
}

fn max_value_bytes(max_payload: usize) -> usize {
    max_payload
        .saturating_sub(MESSAGE_OVERHEAD)
        .max(max_payload / 2)
}

fn not_connected(error: ConnectError) -> OpenError {
    match error.kind() {
        ConnectErrorKind::ServerParse => OpenError::Refused(error.to_string()),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            OpenError::Misconfigured(format!(
                "NATS does not let the gateway in (--nats-credentials-file): {error}"
            ))
        }
        _ if has_tls_failed(&error) => OpenError::Misconfigured(format!(
            "NATS and the gateway do not agree on TLS (tls:// in --event-log, --nats-ca-file): {error}"
        )),
        _ => OpenError::Unreachable(error.to_string()),
    }
}

/// A certificate that is not trusted, or a server that speaks no TLS. The client calls it an I/O error.
fn has_tls_failed(error: &ConnectError) -> bool {
    if error.kind() == ConnectErrorKind::Tls {
        return true;
    }
    let first: &(dyn Error + 'static) = error;
    let mut causes = iter::successors(Some(first), |&error| error.source());
    causes.any(|cause| {
        let wrapped = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        cause.is::<rustls::Error>()
            || wrapped.is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
    })
}

/// Sends a request that changes nothing, again and again until it is answered.
///
/// # Errors
/// The last failure, if there was no answer within [`ANSWER_TIMEOUT`].
pub(super) async fn ask<T, E: Display, R>(mut request: impl FnMut() -> R) -> Result<T, ReadError>
where
    R: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let mut failure = None;
    loop {
        match timeout_at(deadline, timeout(ASK_AGAIN_AFTER, request())).await {
            Ok(Ok(Ok(answer))) => return Ok(answer),
            Ok(Ok(Err(error))) => failure = Some(error.to_string()),
            Ok(Err(_)) => {}
            Err(_) => {
                let failure = failure.unwrap_or_else(|| "NATS did not answer".to_owned());
                return Err(ReadError::Unavailable(failure));
            }
        }
        let _ = timeout_at(deadline, sleep(RETRY_PAUSE)).await;
    }
}

fn notice(
    event: &Event,
    (made, loses): (&watch::Sender<u64>, &watch::Sender<Option<Instant>>),
    refuses: &watch::Sender<Option<String>>,
) {
    match event {
        Event::Connected => {
            loses.send_replace(None);
            made.send_modify(|times| *times += 1);
        }
        Event::ServerError(ServerError::Other(text)) if is_refusal(text) => {
            tracing::warn!(error = text, "NATS refuses a right");
            refuses.send_replace(Some(text.clone()));
        }
        Event::Disconnected => {
            loses.send_replace(Some(Instant::now()));
            tracing::warn!("the connection to NATS is lost");
        }
        other => tracing::info!(event = %other, "NATS"),
    }
}

fn is_refusal(text: &str) -> bool {
    text.to_ascii_lowercase()
        .starts_with("permissions violation")
}

/// Longer and longer, and different for each gateway.
fn pause(attempts: usize) -> Duration {
    let longest = Duration::from_millis(50)
        .saturating_mul(1 << attempts.min(10))
        .min(MAX_PAUSE);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}
