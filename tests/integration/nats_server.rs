//! Real NATS servers, each with a directory of its own on a free port of the loopback.

mod cluster;

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use async_nats::jetstream;
use tempfile::TempDir;

pub use cluster::NatsCluster;

/// Which of the supported versions a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The oldest one that is tested: Debian's.
    Oldest,
    /// A current one, which syncs each write to disk before it acknowledges it.
    Current,
}

impl Program {
    /// The environment variable that names it, and what it is called on the path.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Program::Oldest => ("KORA_GATEWAY_NATS_SERVER", "nats-server"),
            Program::Current => ("KORA_GATEWAY_NATS_SERVER_CURRENT", "nats-server-current"),
        }
    }
}

/// How much a server may keep, whatever the disk has left: from that it would take its own limit,
/// and create no log on a disk that is nearly full.
pub const ROOM_BYTES: u64 = 64 << 30;

/// How long a server has to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long its greeting may take.
const GREETING: Duration = Duration::from_secs(2);

/// How long to leave the machine to others before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A server. It is killed when it is dropped.
pub struct NatsServer {
    process: Option<Child>,
    addr: SocketAddr,
    directory: TempDir,
    program: Program,
    arguments: Vec<String>,
    /// In its settings file; the server's default where there is none.
    max_payload: Option<usize>,
}

impl NatsServer {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with these arguments besides.
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::start_limited(arguments, None)
    }

    /// The same with a limit on the size of messages.
    pub fn start_limited(arguments: &[&str], max_payload: Option<usize>) -> Self {
        Self::start_program(Program::Oldest, arguments, max_payload)
    }

    /// The same of this version.
    pub fn start_program(program: Program, arguments: &[&str], max_payload: Option<usize>) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut server = NatsServer {
            process: None,
            addr: free.local_addr().unwrap(),
            directory: tempfile::tempdir().unwrap(),
            program,
            arguments: arguments.iter().map(|part| (*part).to_owned()).collect(),
            max_payload,
        };
        drop(free);
        server.resume();
        server
    }

    /// Where it is, as a setting of the gateway.
    pub fn url(&self) -> String {
        format!("nats://{}", self.addr)
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Kills it as a power cut would, its memory included.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops it, or lets it go on, where it is: it keeps its connections and says nothing.
    pub fn freeze(&self, is_frozen: bool) {
        let process = self.process.as_ref().unwrap().id().to_string();
        let signal = if is_frozen { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.unwrap().success());
        let tasks = format!("/proc/{process}/task");
        while is_frozen && !fs::read_dir(&tasks).unwrap().all(is_stopped) {
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Starts it again with what it had on disk.
    pub fn resume(&mut self) {
        let (variable, name) = self.program.place();
        let program = env::var_os(variable).unwrap_or_else(|| OsString::from(name));
        let settings = self.write_settings();
        let started = Command::new(&program)
            .args(["-a", "127.0.0.1", "-p", &self.addr.port().to_string()])
            .arg("-c")
            .arg(&settings)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut process) = started else {
            panic!("{program:?} cannot be started: install nats-server, or name it in {variable}");
        };
        let began = Instant::now();
        while !is_ready(self.addr) {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the NATS server ended: {status}");
            }
            assert!(began.elapsed() < PATIENCE, "the NATS server does not start");
            std::thread::sleep(LOOK_AGAIN);
        }
        self.process = Some(process);
    }

    /// Has it read another limit on the size of messages, as an operator would who edits its settings and reloads them.
    /// Connected clients are not told.
    pub fn reload_max_payload(&mut self, max_payload: usize) {
        self.max_payload = Some(max_payload);
        self.write_settings();
        let process = self.process.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-HUP", &process]).status();
        assert!(sent.unwrap().success());
        let wanted = format!("\"max_payload\":{max_payload},");
        let began = Instant::now();
        while !greeting(self.addr).is_some_and(|greeting| greeting.contains(&wanted)) {
            assert!(began.elapsed() < PATIENCE, "the settings are not reloaded");
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn write_settings(&self) -> PathBuf {
        let path = self.directory.path().join("room.conf");
        let max_payload = self
            .max_payload
            .map_or_else(String::new, |bytes| format!("max_payload: {bytes}\n"));
        // A directory that is given by a flag keeps the server from reloading the rest.
        let directory = self.directory.path().display();
        let sync = match self.program {
            Program::Oldest => "",
            Program::Current => ", sync_interval: always",
        };
        let jetstream =
            format!("jetstream {{ max_file: {ROOM_BYTES}, store_dir: \"{directory}\"{sync} }}");
        let settings = format!("{max_payload}{jetstream}");
        fs::write(&path, settings).unwrap();
        path
    }

    /// Loses all that it has on disk.
    pub fn lose_everything(&mut self) {
        self.kill();
        fs::remove_dir_all(self.directory.path().join("jetstream")).unwrap();
        self.resume();
    }

    /// A client that does as it likes with the server.
    pub async fn client(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.url()).await.unwrap())
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Whether a thread, by its folder in `/proc`, is stopped.
fn is_stopped(task: io::Result<fs::DirEntry>) -> bool {
    let status = fs::read_to_string(task.unwrap().path().join("status"));
    status.is_ok_and(|status| status.contains("State:\tT"))
}

/// Whether a server greets there.
fn is_ready(addr: SocketAddr) -> bool {
    greeting(addr).is_some_and(|greeting| greeting.starts_with("INFO "))
}

/// The first line that whoever is there sends.
fn greeting(addr: SocketAddr) -> Option<String> {
    let stream = TcpStream::connect(addr).ok()?;
    // Somebody else who has got this port meanwhile can be silent.
    stream.set_read_timeout(Some(GREETING)).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line)
}
