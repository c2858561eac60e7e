//! The accept loop under every port: hyper serves the connections, and whatever a client does or does not do is
//! bounded, a stop included.
//!
//! tonic's own server waits for silent clients without a limit when it is told to stop, and answers
//! CANCELLED when `grpc-timeout` passes (seen in tonic 0.14), so its routes are served from here.

mod connection;
mod eviction;
mod exchanges;
mod gathering;
mod head_timer;
mod http1;
mod http2;
mod metrics;
mod opening;
mod pace;
mod peer;
pub mod pem;
mod places;
mod resets;
mod tls;

use std::{
    convert::Infallible,
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tower::Service;

pub use eviction::{Candidates, Network};
pub use exchanges::HeadersTooLarge;
pub use metrics::Metrics;
pub use peer::PeerNames;
pub use pem::Unusable;
pub use places::PlaceClaim;
pub use resets::CallProgress;
pub use tls::{Tls, TlsError, TlsFile, TlsFiles};

use crate::lifecycle::Shutdown;
use connection::Streams;
use exchanges::Exchanges;
use metrics::Unopened;
use opening::{Opened, Version};
use places::{Place, Places};
use resets::Calls;

/// How many connections may wait to be accepted, where the system allows it: what is beyond gets no answer, or a reset.
const BACKLOG: u32 = 4096;

/// How long to wait after a failed accept, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client has to close its connection after the last call was answered.
const CLOSING_GRACE: Duration = Duration::from_secs(1);

/// By which part of it the age of a connection is less or more than it should be: clients that came together do not
/// come back together.
const AGE_JITTER: f64 = 0.1;

/// What a port accepts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which protocol.
    pub protocol: Protocol,
    /// Its certificates, where it speaks TLS.
    pub tls: Option<Tls>,
    /// Open connections; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub max_streams_per_connection: u32,
    /// How long things may take.
    pub patience: Patience,
}

/// Which protocol a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 from the first byte, as gRPC wants it.
    Http2,
    /// HTTP/1.1 alone. A request's head that is not complete in time is answered `408`.
    Http1(Http1Patience),
    /// HTTP/1.1 or HTTP/2, told apart by the first bytes.
    Http1OrHttp2(Http1Patience),
}

/// How long a port waits for clients that speak HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http1Patience {
    /// For the head of a request, from its first byte on; of the first one from the connection's first moment on.
    pub header: Duration,
    /// For the next request on a connection, after an answer.
    pub idle: Duration,
}

/// How long a port waits for its clients.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For TLS, and for what begins HTTP/2.
    pub opening: Duration,
    /// With an answer that is not taken. HTTP/2: then its stream is reset; HTTP/1.1: the connection is closed.
    pub stall: Duration,
    /// A connection is this old, more or less, when its client is asked to make a new one.
    pub age: Duration,
    /// So long after that it is closed. Longer than any call may take, so that none is cut.
    pub grace: Duration,
}

/// A port's name and its socket.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    addr: SocketAddr,
}

/// What a connection needs to be served.
#[derive(Clone)]
struct Server<S> {
    name: &'static str,
    config: Config,
    service: S,
    stop: Shutdown,
    metrics: Metrics,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            opening: Duration::from_secs(5),
            stall: Duration::from_secs(60),
            age: Duration::from_secs(30 * 60),
            grace: Duration::from_secs(10 * 60 + 5),
        }
    }
}

impl Patience {
    /// An age at random, around the one that is meant.
    fn random_age(&self) -> Duration {
        let factor = 1.0 + AGE_JITTER * (2.0 * fastrand::f64() - 1.0);
        self.age.mul_f64(factor)
    }
}

impl Listener {
    /// Binds `addr`; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address cannot be bound; the message names the listener and the address.
    pub async fn bind(name: &'static str, addr: SocketAddr) -> io::Result<Self> {
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), format!("the {name} address {addr}: {error}"))
        };
        let socket = listen(addr).map_err(explain)?;
        let addr = socket.local_addr().map_err(explain)?;
        Ok(Listener { name, socket, addr })
    }

    /// The name that it was bound with.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The bound address, with the port that was taken.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The socket, for a server that brings its own accept loop.
    pub fn into_socket(self) -> TcpListener {
        self.socket
    }

    /// Serves until told to stop. Then nothing new is accepted and connections are asked to end. Once
    /// `drained` says that no call is left, those that are still open are dropped after a short grace.
    pub async fn serve<S, B>(
        self,
        service: S,
        config: Config,
        metrics: Metrics,
        stop: Shutdown,
        drained: Shutdown,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut beside = JoinSet::new();
        if let Some(tls) = config.tls.clone() {
            beside.spawn(tls.follow(self.name));
        }
        let places = Places::new(config.max_connections);
        let mut connections = JoinSet::new();
        let server = Server {
            name: self.name,
            config,
            service,
            stop: stop.clone(),
            metrics,
        };
        let stopped = stop.started();
        tokio::pin!(stopped);
        loop {
            let (stream, address) = tokio::select! {
                biased;
                () = &mut stopped => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.accept() => accepted,
            };
            let place = tokio::select! {
                () = &mut stopped => break,
                place = places.take(address) => place,
            };
            connections.spawn(server.clone().serve(stream, place));
        }
        drop(self.socket);
        let ended = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            () = ended => {}
            () = async { drained.started().await; sleep(CLOSING_GRACE).await } => {
                tracing::debug!(listener = self.name, "dropping the connections that are left");
            }
        }
        connections.shutdown().await;
    }

    async fn accept(&self) -> (TcpStream, IpAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    // Small answers must not wait for more; a socket that refuses is still served.
                    let _ = stream.set_nodelay(true);
                    return (stream, address.ip());
                }
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "could not accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A gateway that is started again has its port at once, whatever is left of old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

impl<S, B> Server<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// Serves one connection, from its first byte on.
    async fn serve(self, stream: TcpStream, place: Place) {
        let _open = self.metrics.open(self.name);
        let place = Arc::new(place);
        let (metrics, name) = (self.metrics.clone(), self.name);
        // In one task, so that nothing begins between the order and the end; and what is to be written goes first.
        tokio::select! {
            biased;
            () = self.open_and_serve(stream, Arc::clone(&place)) => {}
            () = place.evicted() => metrics.unopened(name, Unopened::Evicted),
        }
    }

    async fn open_and_serve(self, stream: TcpStream, place: Arc<Place>) {
        let Config {
            protocol,
            tls,
            patience,
            ..
        } = &self.config;
        let opening = opening::open(stream, tls.as_ref(), *protocol);
        let opened = tokio::select! {
            opened = timeout(patience.opening, opening) => opened,
            () = self.stop.started() => return,
        };
        let Opened { io, version, peer } = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => return self.metrics.unopened(self.name, Unopened::Failed),
            Err(_) => return self.metrics.unopened(self.name, Unopened::Late),
        };
        let mut io = TimeoutStream::new(io);
        io.set_write_timeout(Some(patience.stall));
        let io = Box::pin(io);
        let exchanges = Exchanges {
            service: TowerToHyperService::new(self.service),
            place,
            ending: self.stop.child(),
            peer,
            streams: Streams::default(),
            calls: Calls::default(),
        };
        let age = patience.random_age();
        match (version, *protocol) {
            (Version::Http1, Protocol::Http2) => {
                self.metrics.unopened(self.name, Unopened::Failed);
                http1::refuse(io).await;
            }
            (Version::Http1, Protocol::Http1(patience) | Protocol::Http1OrHttp2(patience)) => {
                http1::serve(io, exchanges, patience, age, self.stop).await;
            }
            _ => {
                let (name, config) = (self.name, &self.config);
                http2::serve(name, io, exchanges, config, age, self.stop, self.metrics).await;
            }
        }
    }
}
