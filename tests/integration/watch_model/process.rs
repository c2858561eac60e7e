//! A gateway as a process of its own, which can be killed. It is this test's own program, started once more, because a
//! run sets its gateways' clocks.

use std::{
    env,
    io::{Write, stdout},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::{hands, running::NO_KORA};
use crate::harness::Gateway;

/// Tells the process what to be: where its clock's hands are, and the values of its flags.
const SETTING: &str = "WATCH_MODEL_GATEWAY";

/// The flags, in the order of their values.
const FLAGS: [&str; 5] = [
    "event-log",
    "nats-stream-prefix",
    "retention-age",
    "retention-size",
    "dedup-window",
];

/// What the line begins with that tells the addresses.
const ADDRESSES: &str = "addresses ";

/// How long a process has to start, and to stop in order.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway that serves. It is killed when it is dropped.
pub struct Process {
    /// For callers, for webhooks, and for its orchestrator.
    pub addresses: [SocketAddr; 3],
    child: Child,
    /// Open, so that it can write to the end.
    _stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts one with these flags, which are all of [`FLAGS`].
    pub async fn start(flags: &[(&str, String)], hands: &Path) -> Process {
        let mut setting = vec![hands.display().to_string()];
        for name in FLAGS {
            let flag = flags.iter().find(|(given, _)| *given == name);
            setting.push(flag.expect("every flag").1.clone());
        }
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .arg("watch_model::process::is_a_gateway")
            .env(SETTING, setting.join("\n"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let told = timeout(PATIENCE, addresses(&mut stdout)).await;
        Process {
            addresses: told.expect("a gateway that starts"),
            child,
            _stdout: stdout,
        }
    }

    /// Sends the order to stop, and does not wait.
    pub async fn start_stop(&self) {
        self.signal("-TERM").await;
    }

    /// Stops it, or lets it go on, where it is: it keeps its connections and says nothing.
    pub async fn freeze(&self, is_frozen: bool) {
        self.signal(if is_frozen { "-STOP" } else { "-CONT" }).await;
    }

    async fn signal(&self, signal: &str) {
        let process = self.child.id().expect("it was not waited for").to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.await.unwrap().success());
    }

    /// Waits for the end of one that was told to stop.
    pub async fn ended(mut self) {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        assert!(ended.expect("a bounded stop").unwrap().success());
    }

    /// Sends it SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

async fn addresses(stdout: &mut BufReader<ChildStdout>) -> [SocketAddr; 3] {
    let mut lines = stdout.lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("a line more");
        // What runs tests does not end its line first.
        if let Some((_, told)) = line.split_once(ADDRESSES) {
            let told: Vec<_> = told.split(' ').map(|addr| addr.parse().unwrap()).collect();
            return told.try_into().expect("three addresses");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is what a run starts, and checks nothing"]
async fn is_a_gateway() {
    let Ok(setting) = env::var(SETTING) else {
        return;
    };
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let mut lines = setting.lines();
    let hands = PathBuf::from(lines.next().unwrap());
    let flags: Vec<_> = FLAGS.into_iter().zip(lines).collect();
    let gateway = Gateway::start_on(NO_KORA, &flags, hands::clock(&hands)).await;
    let told = format!(
        "{ADDRESSES}{} {} {}\n",
        gateway.grpc, gateway.webhook, gateway.admin
    );
    stdout().write_all(told.as_bytes()).unwrap();
    stdout().flush().unwrap();
    terminate.recv().await;
    gateway.stop().await;
}
