//! How the binary is started: with which arguments, environment and files.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Stdio};

use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{
    marked::{KEY, WEBHOOK_SECRET},
    process::{PATIENCE, Running},
};
use crate::harness::TENANT_ID;

/// A run of the binary, to be started.
pub struct Launch {
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    /// A directory of its own.
    files: TempDir,
}

/// One that ended by itself.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
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
        let child = self.spawn();
        Running::ready(child, self.files).await
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
