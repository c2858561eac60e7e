//! The tenants: one by settings, or several by `[[tenants]]` in the file.

mod entry;

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    reader::Reader,
    rooms::{base_url, webhook_secrets},
    values,
};
use crate::{emulator, kora, secret::Secret, webhook};
use entry::Entry;

/// How many tenants one gateway may have.
pub const MAX_TENANTS: usize = 10_000;

/// The key in the file.
pub(super) const TENANTS: &str = "tenants";

/// The settings of the one tenant that is not in the file's list.
const OF_ONE_TENANT: [&str; 3] = ["kora-api-key", "kora-tenant-id", "kora-webhook-secret"];

/// One tenant: an account with Kora, and all that is kept of it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// What it is called here: in the path of its webhooks, in metrics, in the log. Where there is one by settings alone,
    /// it is the tenant's id at Kora.
    pub name: String,
    /// Its account. The event log is named after the id in it.
    pub kora: kora::Account,
    /// The secrets that its webhooks are signed with, one a line.
    pub webhook_secrets: Secret,
}

/// Reads the tenants; never none. `None` after a problem.
pub(super) fn tenants(reader: &mut Reader<'_>, with_emulator: bool) -> Option<Vec<Tenant>> {
    let Some(listed) = reader.listed(TENANTS) else {
        return by_settings(reader, with_emulator).map(|tenant| vec![tenant]);
    };
    if with_emulator {
        reader.problem(
            TENANTS,
            "cannot be given together with --emulator, which is one tenant's Kora",
        );
        return None;
    }
    for name in OF_ONE_TENANT {
        if reader.is_given(name) {
            reader.problem(name, "cannot be given together with [[tenants]]");
        }
    }
    let base_url = base_url(reader, false);
    match listed {
        toml::Value::Array(values) if (1..=MAX_TENANTS).contains(&values.len()) => {
            in_list(reader, &values, base_url.as_ref())
        }
        toml::Value::Array(_) => {
            reader.problem(
                TENANTS,
                format!("is not a list of 1 to {MAX_TENANTS} tenants"),
            );
            None
        }
        _ => {
            reader.problem(TENANTS, "is not a list: write [[tenants]] over each");
            None
        }
    }
}

fn by_settings(reader: &mut Reader<'_>, with_emulator: bool) -> Option<Tenant> {
    let base_url = base_url(reader, with_emulator);
    let (api_key, tenant_id) = match with_emulator {
        true => (
            reader.secret_or("kora-api-key", emulator::API_KEY, kora::check_api_key),
            reader.value_or("kora-tenant-id", emulator::TENANT_ID, values::tenant_id),
        ),
        false => (
            reader.secret("kora-api-key", kora::check_api_key),
            reader.value("kora-tenant-id", values::tenant_id),
        ),
    };
    let webhook_secrets = webhook_secrets(reader, with_emulator);
    let tenant_id = tenant_id?;
    Some(Tenant {
        name: tenant_id.clone(),
        kora: kora::Account {
            base_url: base_url?,
            api_key: api_key?,
            tenant_id,
        },
        webhook_secrets: webhook_secrets?,
    })
}

fn in_list(
    reader: &mut Reader<'_>,
    values: &[toml::Value],
    base_url: Option<&Url>,
) -> Option<Vec<Tenant>> {
    let entries: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(number, value)| Entry::read(reader, number, value, base_url))
        .collect();
    refuse_twins(reader, &entries, "name", |entry| entry.name.as_ref());
    refuse_twins(reader, &entries, "kora_tenant_id", |entry| {
        entry.kora_tenant_id.as_ref()
    });
    refuse_shared_secrets(reader, &entries);
    entries.into_iter().map(Entry::into_tenant).collect()
}

/// What has to be each tenant's own must not be another's too.
fn refuse_twins(
    reader: &mut Reader<'_>,
    entries: &[Entry],
    key: &str,
    of: impl Fn(&Entry) -> Option<&String>,
) {
    let mut first = HashMap::new();
    for (number, entry) in entries.iter().enumerate() {
        let Some(text) = of(entry) else {
            continue;
        };
        match first.get(text) {
            None => drop(first.insert(text, number)),
            Some(other) => reader.problem(
                &format!("{TENANTS}[{number}].{key}"),
                format!("is that of {TENANTS}[{other}] too"),
            ),
        }
    }
}

/// A secret that two tenants share lets each sign for the other.
fn refuse_shared_secrets(reader: &mut Reader<'_>, entries: &[Entry]) {
    let secrets_of = |entry: &Entry| match &entry.webhook_secrets {
        Some(secret) => webhook::secrets_of(&secret.now().text),
        None => Vec::new(),
    };
    let secrets: Vec<Vec<SecretString>> = entries.iter().map(secrets_of).collect();
    let mut first = HashMap::new();
    for (number, secrets) in secrets.iter().enumerate() {
        let others = secrets.iter().filter_map(|secret| {
            let owner = *first.entry(secret.expose_secret()).or_insert(number);
            (owner != number).then_some(owner)
        });
        if let Some(other) = others.min() {
            let [this, other] = [number, other].map(|number| entries[number].title(number));
            reader.problem(
                &format!("{TENANTS}[{number}].webhook_secret_file"),
                format!("shares a secret with another tenant's: {this} and {other}"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
