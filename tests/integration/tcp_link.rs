//! A TCP link that delays what it carries, or carries nothing for a while.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

/// How many chunks are on their way in one direction.
const IN_FLIGHT: usize = 1024;

/// How large a chunk is at most, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// A proxy in front of one server. It ends when it is dropped.
pub struct TcpLink {
    addr: SocketAddr,
    is_cut: watch::Sender<bool>,
    _accepting: AbortOnDropHandle<()>,
}

impl TcpLink {
    /// Starts one in front of the server at `target`; each byte takes `delay` in either direction.
    pub async fn start(target: SocketAddr, delay: Duration) -> TcpLink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (is_cut, cuts) = watch::channel(false);
        TcpLink {
            addr,
            is_cut,
            _accepting: AbortOnDropHandle::new(tokio::spawn(accept(listener, target, delay, cuts))),
        }
    }

    /// Where it accepts connections.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Holds everything back, new connections included, as a network that drops packets does; or lets it go on.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    delay: Duration,
    cuts: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.unwrap();
                connections.spawn(connect(client, target, delay, cuts.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(
    client: TcpStream,
    target: SocketAddr,
    delay: Duration,
    mut cuts: watch::Receiver<bool>,
) {
    let _ = cuts.wait_for(|is_cut| !is_cut).await;
    // A server that is down accepts nothing, and the client's connection closes.
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = carry(from_client, to_server, delay, cuts.clone()) => {}
        () = carry(from_server, to_client, delay, cuts) => {}
    }
}

/// Carries one direction to its end.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    mut cuts: watch::Receiver<bool>,
) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let read = async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            let due = Instant::now() + delay;
            if sender.send((due, chunk[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            let _ = cuts.wait_for(|is_cut| !is_cut).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
