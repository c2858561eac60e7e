//! The binary while it runs, with all that it writes.

use std::{collections::BTreeMap, net::SocketAddr, process, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Child,
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use super::outputs::Outputs;

/// How long a test waits for what must come, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One that runs. It is killed when it is dropped.
pub struct Running {
    child: Child,
    ports: BTreeMap<String, SocketAddr>,
    pub files: TempDir,
    stdout: Text,
    stderr: Text,
}

/// What comes out of a pipe, which is read all the time, so that a full one never stops the process.
struct Text {
    so_far: watch::Receiver<Vec<u8>>,
    reading: JoinHandle<()>,
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
    /// Waits until it is ready.
    pub async fn ready(mut child: Child, files: TempDir) -> Running {
        let stderr = Text::of(child.stderr.take().unwrap());
        let mut stdout = Text::of(child.stdout.take().unwrap());
        stdout.wait_for("ready\n").await;
        Running {
            ports: ports(&stdout.now()),
            stdout,
            stderr,
            child,
            files,
        }
    }

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
