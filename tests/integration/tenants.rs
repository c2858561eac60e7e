//! Several tenants in one gateway: what is one's own never gets to another.

mod calls;
mod isolation;
mod on_nats;
mod restarts;
mod webhooks;

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    deliveries::{Webhooks, signature_by},
    harness::Gateway,
    subscriber::PATIENCE,
};

/// Nothing asks Kora here.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// The tenants of these tests.
pub const ALPHA: Tenant = Tenant {
    name: "alpha",
    id: "9d1f7a3c-0000-4000-8000-00000000000a",
    key: "key-of-alpha",
    secret: "whsec_alpha",
};
pub const BETA: Tenant = Tenant {
    name: "beta.2",
    id: "9d1f7a3c-0000-4000-8000-00000000000b",
    key: "key-of-beta",
    secret: "whsec_beta",
};

/// A tenant as the configuration has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub name: &'static str,
    pub id: &'static str,
    pub key: &'static str,
    pub secret: &'static str,
}

/// The files of a gateway with tenants, their logs included.
pub struct Files(TempDir);

impl Files {
    /// Those of a gateway of these tenants, each with its Kora.
    pub fn of(tenants: &[(Tenant, &str)]) -> Files {
        let files = Files(tempfile::tempdir().unwrap());
        let mut text = format!("event_log = \"file:{}\"\n", files.path("data").display());
        for (tenant, kora) in tenants {
            let [key, secret] = ["key", "secret"].map(|what| files.secret(*tenant, what));
            fs::write(&key, tenant.key).unwrap();
            fs::write(&secret, tenant.secret).unwrap();
            write!(
                text,
                "[[tenants]]\nname = \"{}\"\nkora_tenant_id = \"{}\"\napi_key_file = {key:?}\n\
                 webhook_secret_file = {secret:?}\nbase_url = \"{kora}\"\n",
                tenant.name, tenant.id
            )
            .unwrap();
        }
        fs::write(files.path("gateway.toml"), text).unwrap();
        files
    }

    /// Those of a gateway of both, which asks no Kora.
    pub fn of_both() -> Files {
        Self::of(&[(ALPHA, NO_KORA), (BETA, NO_KORA)])
    }

    pub async fn start(&self) -> Gateway {
        self.start_with(&[]).await
    }

    pub async fn start_with(&self, flags: &[(&'static str, &str)]) -> Gateway {
        Gateway::start_by(&self.path("gateway.toml"), flags).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The file of a tenant's `key` or `secret`.
    pub fn secret(&self, tenant: Tenant, what: &str) -> PathBuf {
        self.path(&format!("{}-{what}", tenant.name))
    }

    /// The file of a tenant's log.
    pub fn log(&self, tenant: Tenant) -> PathBuf {
        self.path("data").join(format!("{}.events.db", tenant.id))
    }

    /// The ids of the events in a tenant's log, which nobody may have open.
    pub fn event_ids(&self, tenant: Tenant) -> Vec<String> {
        event_ids(&self.log(tenant))
    }
}

fn event_ids(log: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(log).unwrap();
    let mut query = connection
        .prepare("SELECT event_id FROM events ORDER BY sequence")
        .unwrap();
    let ids = query.query_map([], |row| row.get(0)).unwrap();
    ids.collect::<Result<_, _>>().unwrap()
}

/// The gauge of one tenant.
pub fn gauge(name: &str, tenant: Tenant, value: i64) -> String {
    format!(
        "kora_gateway_{name}{{tenant=\"{}\"}} {value}\n",
        tenant.name
    )
}

/// Where a tenant's webhooks go.
pub fn door(gateway: &Gateway, tenant: Tenant) -> Webhooks {
    let path = format!("/webhooks/compliance/{}", tenant.name);
    Webhooks::on(gateway.webhook, &path)
}

/// Offers an event there, signed by this tenant. Returns the status.
pub async fn offer(door: &Webhooks, signed_by: Tenant, id: &str) -> u16 {
    let body = json!({"id": id, "event": "case.closed", "data": {}}).to_string();
    let signature = signature_by(signed_by.secret, body.as_bytes());
    let answer = door.offer_signed(body.as_bytes(), signature).await;
    answer.status().as_u16()
}
