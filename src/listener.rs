//! The accept loop under every port: hyper-util serves the connections, and a stop is bounded whatever
//! a client does.
//!
//! tonic's own server waits for silent clients without a limit when it is told to stop, and answers
//! CANCELLED when `grpc-timeout` passes (seen in tonic 0.14), so its routes are served from here.

mod connection;
mod gathering;
mod http1;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tower::Service;

use crate::lifecycle::Shutdown;
use connection::{Connection, Streams};
use gathering::Gathering;

/// How long to wait after a failed accept, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client has to close its connection after the last call was answered.
const CLOSING_GRACE: Duration = Duration::from_secs(1);

/// What a port accepts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which protocol.
    pub protocol: Protocol,
    /// Open connections; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub max_streams_per_connection: u32,
}

/// Which protocol a port speaks, always without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 from the first byte, as gRPC wants it.
    Http2,
    /// HTTP/1.1 alone. A request's head that is not complete in time is answered `408`.
    Http1 {
        /// How long a head may take, and how long a connection may idle.
        header_timeout: Duration,
    },
    /// HTTP/1.1 or HTTP/2, told apart by the first bytes.
    Http1OrHttp2,
}

/// A port's name and its socket.
#[derive(Debug)]
pub struct Listener {
    name: &'static str,
    socket: TcpListener,
    addr: SocketAddr,
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
        let socket = TcpListener::bind(addr).await.map_err(explain)?;
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
    pub async fn serve<S, B>(self, service: S, config: Config, stop: Shutdown, drained: Shutdown)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(config.max_connections));
        let mut connections = JoinSet::new();
        let stopped = stop.started();
        tokio::pin!(stopped);
        loop {
            let (stream, place) = tokio::select! {
                biased;
                () = &mut stopped => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.accept(&room) => accepted,
            };
            let service = TowerToHyperService::new(service.clone());
            if let Protocol::Http1 { header_timeout } = config.protocol {
                let served = http1::serve(stream, service, header_timeout, stop.started());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
                continue;
            }
            let streams = Streams::default();
            let server = connection_builder(&config, streams.clone());
            let watcher = graceful.watcher();
            connections.spawn(async move {
                let connection =
                    server.serve_connection(TokioIo::new(Gathering::new(stream)), service);
                // What goes wrong on one connection is its client's affair; calls log their own failures.
                let watched = watcher.watch(connection.into_owned());
                let _ = Connection::new(watched, streams).await;
                drop(place);
            });
        }
        drop(self.socket);
        let ended = async {
            graceful.shutdown().await;
            while connections.join_next().await.is_some() {}
        };
        tokio::select! {
            () = ended => {}
            () = async { drained.started().await; tokio::time::sleep(CLOSING_GRACE).await } => {
                tracing::debug!(listener = self.name, "dropping the connections that are left");
            }
        }
        connections.shutdown().await;
    }

    async fn accept(&self, room: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
        let place = Arc::clone(room)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    // Small answers must not wait for more; a socket that refuses is still served.
                    let _ = stream.set_nodelay(true);
                    return (stream, place);
                }
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "could not accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn connection_builder(config: &Config, streams: Streams) -> auto::Builder<Streams> {
    let mut server = auto::Builder::new(streams);
    if config.protocol == Protocol::Http2 {
        server = server.http2_only();
    }
    server.http1().timer(TokioTimer::new());
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams_per_connection);
    server
}
