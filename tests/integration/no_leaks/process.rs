//! The binary, with all that it writes.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{self, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use super::{
    marked::{KEY, WEBHOOK_SECRET},
    outputs::Outputs,
};
use crate::harness::TENANT_ID;

/// How long a test waits for what must come, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A run of the binary, to be started.
pub struct Launch {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    /// A directory of its own.
    files: TempDir,
}

/// One that runs. It is killed when it is dropped.
pub struct Running {
    child: Child,
    ports: BTreeMap<String, SocketAddr>,
    pub files: TempDir,
    stdout: Text,
    stderr: Text,
}

/// One that ended by itself.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// What comes out of a pipe, which is read all the time, so that a full one never stops the process.
struct Text {
    so_far: watch::Receiver<Vec<u8>>,
    reading: JoinHandle<()>,
}

impl Launch {
    /// A verb with nothing but its arguments.
    pub fn verb(arguments: &[&str]) -> Launch {
        Launch {
            arguments: arguments.iter().map(|part| (*part).to_owned()).collect(),
            environment: BTreeMap::from([("RUST_LOG".to_owned(), "trace".to_owned())]),
            files: tempfile::tempdir().unwrap(),
        }
    }

    /// A gateway on free ports, with a directory for its log.
    pub fn bare() -> Launch {
        let launch = Self::verb(&["serve"]);
        let log = format!("file:{}", launch.path("data").display());
        let ports = ["grpc-addr", "webhook-addr", "admin-addr"];
        let launch = ports
            .into_iter()
            .fold(launch, |launch, name| launch.flag(name, "127.0.0.1:0"));
        launch.flag("event-log", &log)
    }

    /// The same for one tenant, whose key and secret are markers.
    pub fn gateway(base_url: &str) -> Launch {
        Self::bare()
            .flag("kora-base-url", base_url)
            .flag("kora-tenant-id", TENANT_ID)
            .flag("kora-timeout", "300ms")
            .flag("kora-max-response-bytes", "100KiB")
            .flag("webhook-max-bytes", "64KiB")
            .variable("KORA_API_KEY", KEY)
            .variable("KORA_WEBHOOK_SECRET", WEBHOOK_SECRET)
    }

    /// Sets a flag, in the place of one that was given before.
    pub fn flag(mut self, name: &str, value: &str) -> Launch {
        let begin = format!("--{name}=");
        self.arguments.retain(|part| !part.starts_with(&begin));
        self.arguments.push(begin + value);
        self
    }

    pub fn variable(mut self, name: &str, value: &str) -> Launch {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn without(mut self, variable: &str) -> Launch {
        self.environment.remove(variable);
        self
    }

    /// The path of a file of its own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes one, and returns its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    fn spawn(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_kora-gateway"))
            .args(&self.arguments)
            .current_dir(self.files.path())
            .env_clear()
            .envs(&self.environment)
            // Nothing listens there: a gateway that took these for its own would reach nobody.
            .envs(
                ["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:1")),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(self) -> Running {
        let mut child = self.spawn();
        let stderr = Text::of(child.stderr.take().unwrap());
        let mut stdout = Text::of(child.stdout.take().unwrap());
        stdout.wait_for("ready\n").await;
        Running {
            ports: ports(&stdout.now()),
            stdout,
            stderr,
            child,
            files: self.files,
        }
    }

    /// Runs another verb with the same arguments to its end.
    pub async fn end_as(&self, verb: &str) -> Ended {
        let mut launch = Launch::verb(&[verb]);
        launch.arguments.extend(self.arguments[1..].iter().cloned());
        launch.environment.clone_from(&self.environment);
        launch.end().await
    }

    /// Runs it to its end.
    pub async fn end(&self) -> Ended {
        let output = timeout(PATIENCE, self.spawn().wait_with_output()).await;
        let output = output.expect("it ends").unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// What it says of its ports.
fn ports(text: &str) -> BTreeMap<String, SocketAddr> {
    let lines = text.lines();
    let words = lines.filter_map(|line| line.strip_prefix("listening ")?.split_once(' '));
    words
        .map(|(name, addr)| (name.to_owned(), addr.parse().unwrap()))
        .collect()
}

impl Running {
    pub fn grpc(&self) -> SocketAddr {
        self.ports["grpc"]
    }

    pub fn webhook(&self) -> SocketAddr {
        self.ports["webhook"]
    }

    pub fn admin(&self) -> SocketAddr {
        self.ports["admin"]
    }

    pub fn emulator(&self) -> SocketAddr {
        self.ports["emulator"]
    }

    /// Waits until this stands in the log.
    pub async fn wait_for_log(&mut self, part: &str) {
        self.stderr.wait_for(part).await;
    }

    /// Waits until this stands in it so many times.
    pub async fn wait_for_logs(&mut self, part: &str, count: usize) {
        self.stderr.wait(part, count).await;
    }

    /// Waits until this is among the metrics.
    pub async fn wait_for_metric(&self, part: &str) {
        let wait = async { while !self.get("metrics").await.contains(part) {} };
        let waited = timeout(PATIENCE, wait).await;
        assert!(
            waited.is_ok(),
            "{part} is not in: {}",
            self.get("metrics").await
        );
    }

    async fn get(&self, path: &str) -> String {
        let url = format!("http://{}/{path}", self.admin());
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// Stops a gateway, keeps all that it tells, and returns its log.
    pub async fn end(self, outputs: &mut Outputs) -> String {
        for path in ["metrics", "livez", "readyz"] {
            outputs.add(path, self.get(path).await);
        }
        self.stop(outputs).await
    }

    /// Stops it, keeps what it wrote, and returns its log.
    pub async fn stop(mut self, outputs: &mut Outputs) -> String {
        let pid = self.child.id().unwrap().to_string();
        let told = process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.unwrap().success());
        let ended = timeout(PATIENCE, self.child.wait()).await;
        assert!(ended.expect("it stops").unwrap().success());
        outputs.add("stdout", self.stdout.all().await);
        let log = self.stderr.all().await;
        assert!(!log.is_empty(), "there is no log to look at");
        outputs.add("stderr", &log);
        log
    }
}

impl Text {
    fn of(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Text {
        let (text, so_far) = watch::channel(Vec::new());
        let reading = tokio::spawn(async move {
            let mut piece = vec![0; 16 << 10];
            while let Ok(length @ 1..) = pipe.read(&mut piece).await {
                text.send_modify(|text| text.extend_from_slice(&piece[..length]));
            }
        });
        Text { so_far, reading }
    }

    fn now(&self) -> String {
        String::from_utf8_lossy(&self.so_far.borrow()).into_owned()
    }

    async fn wait_for(&mut self, part: &str) {
        self.wait(part, 1).await;
    }

    async fn wait(&mut self, part: &str, count: usize) {
        let is_there =
            |text: &Vec<u8>| String::from_utf8_lossy(text).matches(part).count() >= count;
        let found = timeout(PATIENCE, self.so_far.wait_for(is_there)).await;
        let is_found = matches!(found, Ok(Ok(_)));
        drop(found);
        assert!(is_found, "{part} does not come: {}", self.now());
    }

    async fn all(self) -> String {
        self.reading.await.unwrap();
        String::from_utf8_lossy(&self.so_far.borrow()).into_owned()
    }
}
