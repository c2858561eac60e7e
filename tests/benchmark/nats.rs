//! nats-server as the measure of a fan-out: the same bytes to as many subscriptions on as many connections.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    gateway::new_directory,
    process::CpuTime,
    streams::CONNECTIONS,
    webhooks::{body, event_id},
};

/// How long a server may take to listen, and a subscriber to get its next bytes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The subject that all listen to.
const SUBJECT: &str = "events";

/// The greeting of a client that wants no acknowledgements.
const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n";

/// So much may wait for a connection: none is to be cut.
const MAX_PENDING: &str = "max_pending: 4GB\nwrite_deadline: \"60s\"\n";

/// A server that keeps nothing. It is killed when it is dropped.
struct Server {
    process: Child,
    port: u16,
    /// Gone after the process is.
    _config: TempDir,
}

/// The server's processor time for each delivery, where `events` go to `subscriptions`. With a `pace`, an event is
/// published no earlier than that after the one before; without, all at once. Every subscription is seen to get every
/// event in order.
pub fn cpu_per_delivery(subscriptions: usize, events: u32, pace: Option<Duration>) -> Duration {
    let server = Server::start();
    let share = subscriptions / CONNECTIONS;
    let subscribers: Vec<_> = (0..CONNECTIONS)
        .map(|_| subscribe(server.connect(), share, events))
        .collect();
    let mut publisher = server.connect();
    greet(&mut publisher);
    let before = CpuTime::of(server.process.id());
    let mut next = Instant::now();
    for number in 0..events {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += pace.unwrap_or_default();
        let body = body(number);
        let length = body.len();
        write!(publisher, "PUB {SUBJECT} {length}\r\n{body}\r\n").unwrap();
    }
    for subscriber in subscribers {
        subscriber.join().unwrap();
    }
    let cpu = CpuTime::of(server.process.id()).since(&before);
    cpu / events / u32::try_from(share * CONNECTIONS).unwrap()
}

impl Server {
    fn start() -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let config = new_directory();
        let file = config.path().join("nats.conf");
        fs::write(&file, MAX_PENDING).unwrap();
        let binary =
            env::var_os("KORA_GATEWAY_NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let process = Command::new(binary)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-c"])
            .arg(file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is installed, or KORA_GATEWAY_NATS_SERVER names it");
        let server = Server {
            process,
            port,
            _config: config,
        };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "nats-server does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself is gone as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn greet(socket: &mut TcpStream) {
    socket.write_all(CONNECT.as_bytes()).unwrap();
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
    while lines.next().unwrap().unwrap() != "PONG" {}
}

/// Subscribes so many times, and reads on a thread of its own until each subscription has had all.
fn subscribe(mut socket: TcpStream, subscriptions: usize, events: u32) -> JoinHandle<()> {
    greet(&mut socket);
    for id in 1..=subscriptions {
        write!(socket, "SUB {SUBJECT} {id}\r\n").unwrap();
    }
    socket.write_all(b"PING\r\n").unwrap();
    let mut reader = BufReader::with_capacity(256 << 10, socket);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "PONG\r\n");
    thread::spawn(move || {
        let mut had = vec![0; subscriptions];
        let mut left = subscriptions * events as usize;
        let mut payload = Vec::new();
        while left > 0 {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let words: Vec<_> = line.split_whitespace().collect();
            let ["MSG", SUBJECT, id, length] = words[..] else {
                assert_eq!(words, ["PING"]);
                reader.get_mut().write_all(b"PONG\r\n").unwrap();
                continue;
            };
            let (id, length): (usize, usize) = (id.parse().unwrap(), length.parse().unwrap());
            payload.resize(length + 2, 0);
            reader.read_exact(&mut payload).unwrap();
            let expected = event_id(had[id - 1]);
            let is_next = payload
                .windows(expected.len())
                .any(|part| part == expected.as_bytes());
            assert!(is_next, "out of order");
            had[id - 1] += 1;
            left -= 1;
        }
    })
}
