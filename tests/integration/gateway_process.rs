//! A gateway as a process of its own, which can be killed.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::harness::{API_KEY, TENANT_ID, WEBHOOK_SECRET};

/// How long a gateway has to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many lines it says at most before it is ready.
const LINES: usize = 16;

/// A gateway that serves on free ports. It is killed when it is dropped.
pub struct GatewayProcess {
    process: Child,
    pub grpc: SocketAddr,
    pub webhook: SocketAddr,
    pub admin: SocketAddr,
}

impl GatewayProcess {
    /// Starts one whose Kora is at `base_url`, on this log, and waits until it is ready.
    pub fn start(base_url: &str, event_log: &str) -> GatewayProcess {
        Self::start_with(base_url, event_log, &[])
    }

    /// The same with these flags besides.
    pub fn start_with(base_url: &str, event_log: &str, flags: &[&str]) -> GatewayProcess {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kora-gateway"))
            .arg("serve")
            .args(["--grpc-addr", "127.0.0.1:0"])
            .args(["--webhook-addr", "127.0.0.1:0"])
            .args(["--admin-addr", "127.0.0.1:0"])
            .args(["--kora-base-url", base_url, "--kora-tenant-id", TENANT_ID])
            .args(["--event-log", event_log])
            .args(flags)
            .env_clear()
            .env("KORA_API_KEY", API_KEY)
            .env("KORA_WEBHOOK_SECRET", WEBHOOK_SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = lines_of(process.stdout.take().unwrap());
        let mut gateway = GatewayProcess {
            process,
            grpc: SocketAddr::from(([0; 4], 0)),
            webhook: SocketAddr::from(([0; 4], 0)),
            admin: SocketAddr::from(([0; 4], 0)),
        };
        let began = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let line = lines.recv_timeout(left).expect("the gateway starts");
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["listening", "grpc", addr] => gateway.grpc = addr.parse().unwrap(),
                ["listening", "webhook", addr] => gateway.webhook = addr.parse().unwrap(),
                ["listening", "admin", addr] => gateway.admin = addr.parse().unwrap(),
                ["ready"] => return gateway,
                _ => {}
            }
        }
    }

    /// SIGKILL: nothing in it gets to run any more.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // One that was killed is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads all lines to the end, so that the process never writes to a closed pipe.
fn lines_of(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::sync_channel(LINES);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // After `ready` nobody listens.
            let _ = sender.try_send(line);
        }
    });
    lines
}
