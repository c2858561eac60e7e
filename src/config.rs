//! The configuration: from flags, environment and file to the rooms' own settings.
//!
//! A flag beats the environment, the environment beats the file, the file beats the default. Everything
//! that is wrong is reported at once, by the name of the setting.

mod callers;
mod environment;
mod loaded;
mod ports;
mod reader;
mod rooms;
mod settings;
mod sources;
mod tenant_log;
mod tenants;
mod values;

use std::{fmt, net::SocketAddr, time::Duration};

use secrecy::ExposeSecret;

pub use callers::{CallersFile, MAX_CALLERS};
pub use environment::{Environment, NotUtf8};
pub use loaded::{Fixed, Loaded};
pub use reader::{Effective, GivenSecret, Problem};
pub use settings::{Kind, SETTINGS, Setting};
pub use sources::{Flags, Origin};
pub use tenant_log::{TENANT_LOG_SETTINGS, TenantLog};
pub use tenants::{MAX_TENANTS, Tenant};
pub use values::is_loopback;

use crate::{
    access::Callers, emulator, grpc, kora, listener, reconciler, requests, store, webhook,
};
use callers::callers;
use loaded::warnings;
use ports::ports;
use reader::{Closed, Reader};
use rooms::{emulator_addr, kora_config, memory_budget, preset_webhook, store_place};
use tenants::tenants;

/// Everything that a gateway needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where callers connect.
    pub grpc_addr: SocketAddr,
    /// Where Kora delivers webhooks.
    pub webhook_addr: SocketAddr,
    /// Where the orchestrator connects.
    pub admin_addr: SocketAddr,
    /// What the callers' port accepts.
    pub grpc_listener: listener::Config,
    /// What the webhook port accepts.
    pub webhook_listener: listener::Config,
    /// Who may call.
    pub callers: Callers,
    /// The file that lists them, if there is one.
    pub callers_file: Option<CallersFile>,
    /// What the callers' API accepts.
    pub grpc: grpc::Config,
    /// What webhooks are accepted.
    pub webhook: webhook::Config,
    /// Whether somebody chose how large a webhook may be.
    pub is_webhook_limit_chosen: bool,
    /// What is asked of requests.
    pub requests: requests::Config,
    /// When screenings are polled whose end does not come.
    pub reconciler: reconciler::Config,
    /// How events and request records are kept.
    pub store: store::Place,
    /// How Kora is reached.
    pub kora: kora::Config,
    /// Whose gateway it is; never nobody's. With an emulator its address replaces the base URL.
    pub tenants: Vec<Tenant>,
    /// The emulator, if one shall run in this process.
    pub emulator: Option<Emulator>,
    /// How much memory everything large may take together.
    pub memory_budget: usize,
    /// The bound on a stop.
    pub drain_timeout: Duration,
    /// For how long a step of the wall clock has to stand before it is followed.
    pub clock_step_hold: Duration,
}

/// An emulator to run in the gateway's process.
#[derive(Clone, Debug)]
pub struct Emulator {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it expects of its callers.
    pub config: emulator::Config,
}

/// Everything that is wrong with the settings; never empty.
#[derive(Debug)]
pub struct Problems(pub Vec<Problem>);

impl Config {
    /// Reads the configuration. `with_emulator` lets the required Kora settings default to the emulator's own.
    ///
    /// # Errors
    /// Every setting that is missing, unknown or wrong.
    pub fn load(
        flags: Flags,
        environment: &Environment,
        with_emulator: bool,
    ) -> Result<Loaded, Problems> {
        let mut reader = Reader::open(flags, environment);
        let config = read(&mut reader, with_emulator);
        let Closed {
            effective,
            secrets,
            problems,
            warnings: found,
        } = reader.close();
        match config {
            Some(config) if problems.is_empty() => Ok(Loaded {
                warnings: warnings(&config).into_iter().chain(found).collect(),
                config,
                effective,
                secrets,
            }),
            _ => Err(Problems(problems)),
        }
    }
}

impl Emulator {
    /// Reads what an emulator alone needs. With a URL it sends webhooks there, signed with the first of
    /// the webhook secrets.
    ///
    /// # Errors
    /// Every setting that is wrong, and a URL that the emulator does not post to.
    pub fn load(
        flags: Flags,
        environment: &Environment,
        webhook_url: Option<String>,
    ) -> Result<Self, Problems> {
        let mut reader = Reader::open(flags, environment);
        let webhook = webhook_url.and_then(|url| preset_webhook(&mut reader, url));
        let addr = emulator_addr(&mut reader);
        let api_key = reader.secret_or("kora-api-key", emulator::API_KEY, kora::check_api_key);
        let tenant_id = reader.value_or("kora-tenant-id", emulator::TENANT_ID, values::tenant_id);
        match (addr, api_key, tenant_id, reader.close().problems) {
            (Some(addr), Some(api_key), Some(tenant_id), problems) if problems.is_empty() => {
                Ok(Emulator {
                    addr,
                    config: emulator::Config {
                        api_key: api_key.now().text.expose_secret().to_owned(),
                        tenant_id,
                        webhook,
                    },
                })
            }
            (.., problems) => Err(Problems(problems)),
        }
    }
}

/// Reads every setting, so that every problem is found; `None` if there is any.
fn read(reader: &mut Reader<'_>, with_emulator: bool) -> Option<Config> {
    let ports = ports(reader, with_emulator);
    let tenants = tenants(reader, with_emulator);
    let kora = kora_config(reader);
    let max_webhook_bytes = reader.value("webhook-max-bytes", values::webhook_bytes);
    let is_webhook_limit_chosen = reader.is_set("webhook-max-bytes");
    let store = store_place(reader);
    let max_watch_streams = reader.value("max-watch-streams", values::positive);
    let emulator_addr = emulator_addr(reader);
    let is_request_id_required = reader.switch("require-request-id");
    let max_calls = reader.value("max-calls", values::positive);
    let max_request_bytes = reader.value("max-request-bytes", values::bytes);
    let memory_budget = memory_budget(reader, [max_webhook_bytes, max_request_bytes]);
    let drain_timeout = reader.value("drain-timeout", values::duration);
    let clock_step_hold = reader.value("clock-step-hold", values::period);
    let is_reflection_served = reader.switch("reflection");
    let (tenants, ports) = (tenants?, ports?);
    let names = tenants.iter().map(|tenant| tenant.name.clone());
    let (callers, callers_file) = callers(reader, names.collect())?;
    let emulator = with_emulator.then(|| emulator_for(&tenants[0], emulator_addr));
    Some(Config {
        grpc_addr: ports.grpc_addr,
        webhook_addr: ports.webhook_addr,
        admin_addr: ports.admin_addr,
        grpc_listener: ports.grpc,
        webhook_listener: ports.webhook,
        callers,
        callers_file,
        grpc: grpc::Config {
            is_reflection_served,
            max_request_bytes: max_request_bytes?,
            max_calls: max_calls? as usize,
            max_streams: max_watch_streams? as usize,
        },
        requests: requests::Config {
            is_request_id_required,
        },
        reconciler: reconciler::Config::default(),
        webhook: webhook::Config {
            max_bytes: max_webhook_bytes?,
        },
        is_webhook_limit_chosen,
        store: store?,
        emulator: match emulator {
            Some(emulator) => Some(emulator?),
            None => None,
        },
        kora: kora?,
        tenants,
        memory_budget: memory_budget?,
        drain_timeout: drain_timeout?,
        clock_step_hold: clock_step_hold?,
    })
}

/// The emulator that one tenant finds in place of Kora.
fn emulator_for(tenant: &Tenant, addr: Option<SocketAddr>) -> Option<Emulator> {
    let account = &tenant.kora;
    Some(Emulator {
        addr: addr?,
        config: emulator::Config {
            api_key: account.api_key.now().text.expose_secret().to_owned(),
            tenant_id: account.tenant_id.clone(),
            webhook: None,
        },
    })
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(out, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_secrets_nor_passwords_nor_their_files_are_printed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("MARKER-secret");
        std::fs::write(&file, "MARKER-key").unwrap();
        let flags = Flags([("kora-proxy", "http://MARKER:MARKER@127.0.0.1:9/".to_owned())].into());
        let flags_printed = format!("{flags:?}");
        let environment = Environment::from([
            ("KORA_TENANT_ID".to_owned(), "t".to_owned()),
            ("KORA_API_KEY_FILE".to_owned(), file.display().to_string()),
            ("KORA_WEBHOOK_SECRET".to_owned(), "MARKER".to_owned()),
        ]);
        let loaded = Config::load(flags, &environment, false).unwrap();
        for printed in [flags_printed, format!("{loaded:?}")] {
            assert!(!printed.contains("MARKER"), "{printed}");
            assert!(printed.contains("kora-proxy"));
        }
    }
}
