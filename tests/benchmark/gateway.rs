//! The real binary, on free loopback ports and with a data directory of its own.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tempfile::TempDir;

/// How long a gateway may take to be ready, with a million events.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// The secret that webhooks are signed with.
const SECRET: &str = "benchmark-webhook-secret";

/// The tenant whose log is filled.
pub const TENANT: &str = "benchmark";

/// A gateway that is ready. It is killed when it is dropped: what was answered `200` must be safe by then.
pub struct Gateway {
    process: Child,
    /// Where callers connect.
    pub grpc: SocketAddr,
    /// Where webhooks go.
    pub webhook: SocketAddr,
    /// From the start of the process to its word that it is ready.
    pub start_time: Duration,
    /// Gone after the process is.
    _data: Option<TempDir>,
}

/// Where every candidate keeps its data: beside the build, and not in `/tmp`, which can be memory.
pub fn data_root() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// A data directory.
pub fn new_directory() -> TempDir {
    tempfile::tempdir_in(data_root()).unwrap()
}

impl Gateway {
    /// Starts one with an empty log.
    pub fn start() -> Self {
        let data = new_directory();
        let mut gateway = Self::start_on(data.path());
        gateway._data = Some(data);
        gateway
    }

    /// Starts one with the log in `directory`. Nobody asks it for a screening.
    pub fn start_on(directory: &Path) -> Self {
        Self::start_with(directory, SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    /// Starts one with an empty log, which screens at this Kora.
    pub fn start_calling(kora: SocketAddr) -> Self {
        let data = new_directory();
        let mut gateway = Self::start_with(data.path(), kora);
        gateway._data = Some(data);
        gateway
    }

    fn start_with(directory: &Path, kora: SocketAddr) -> Self {
        Self::launch(|command| {
            command
                .args(["--kora-base-url", &format!("http://{kora}")])
                .args(["--kora-tenant-id", TENANT])
                .arg("--event-log")
                .arg(format!("file:{}", directory.display()))
                .env("KORA_API_KEY", "benchmark")
                .env("KORA_WEBHOOK_SECRET", SECRET)
        })
    }

    /// Starts one with all its settings in a file.
    pub fn start_by(config: &Path) -> Self {
        Self::launch(|command| command.arg("--config").arg(config))
    }

    fn launch(settings: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let started = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kora-gateway"));
        command
            .arg("serve")
            .args(["--grpc-addr", "127.0.0.1:0"])
            .args(["--webhook-addr", "127.0.0.1:0"])
            .args(["--admin-addr", "127.0.0.1:0"])
            .env("RUST_LOG", "warn");
        let mut process = settings(&mut command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(process.stdout.take().expect("it is piped"));
        let (mut grpc, mut webhook) = (None, None);
        loop {
            let left = START_TIMEOUT.saturating_sub(started.elapsed());
            let line = lines.recv_timeout(left).expect("the gateway starts");
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["listening", "grpc", addr] => grpc = addr.parse().ok(),
                ["listening", "webhook", addr] => webhook = addr.parse().ok(),
                ["ready"] => break,
                _ => {}
            }
        }
        Gateway {
            process,
            grpc: grpc.expect("it says where before it is ready"),
            webhook: webhook.expect("it says where before it is ready"),
            start_time: started.elapsed(),
            _data: None,
        }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // One that has ended by itself is gone as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads all lines to the end, so that the process never writes to a closed pipe.
fn lines_of(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::sync_channel(16);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // After `ready` nobody listens.
            let _ = sender.try_send(line);
        }
    });
    lines
}

/// What Kora signs a body with: hex HMAC-SHA256 (Kora docs: webhooks).
pub fn signature(body: &[u8]) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length is a key");
    hmac.update(body);
    hex(&hmac.finalize().into_bytes())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes all");
        hex
    })
}
