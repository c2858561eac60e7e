//! One tenant of the file.

use std::path::PathBuf;

use toml::{Table, Value};
use url::Url;

use super::{TENANTS, Tenant};
use crate::{
    config::{reader::Reader, values},
    kora,
    secret::{Check, Secret},
    webhook,
};

/// What one may have.
const KEYS: [&str; 5] = [
    "name",
    "kora_tenant_id",
    "api_key_file",
    "webhook_secret_file",
    "base_url",
];

/// How long a name may be.
const MAX_NAME_BYTES: usize = 64;

/// What was read of one; `None` where something is wrong with it.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) name: Option<String>,
    pub(super) kora_tenant_id: Option<String>,
    pub(super) webhook_secrets: Option<Secret>,
    api_key: Option<Secret>,
    base_url: Option<Url>,
}

/// Reads the values of one entry, and tells by its place what is wrong with them.
struct Values<'a, 'b> {
    reader: &'a mut Reader<'b>,
    place: String,
    table: &'a Table,
}

impl Entry {
    pub(super) fn read(
        reader: &mut Reader<'_>,
        number: usize,
        value: &Value,
        base_url: Option<&Url>,
    ) -> Self {
        let place = format!("{TENANTS}[{number}]");
        let Value::Table(table) = value else {
            reader.problem(&place, "is not a table");
            return Entry::default();
        };
        for key in table.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            reader.problem(&format!("{place}.{key}"), "is not a key of a tenant");
        }
        let mut values = Values {
            reader,
            place,
            table,
        };
        let name = values.required("name", check_name);
        let of = name.clone();
        Entry {
            name,
            kora_tenant_id: values.required("kora_tenant_id", values::tenant_id),
            api_key: values.secret("api_key_file", of.as_deref(), kora::check_api_key),
            webhook_secrets: values.secret(
                "webhook_secret_file",
                of.as_deref(),
                webhook::check_secrets,
            ),
            base_url: match table.contains_key("base_url") {
                true => values.required("base_url", values::base_url),
                false => base_url.cloned(),
            },
        }
    }

    /// What it is called in a complaint.
    pub(super) fn title(&self, number: usize) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => format!("{TENANTS}[{number}]"),
        }
    }

    pub(super) fn into_tenant(self) -> Option<Tenant> {
        Some(Tenant {
            name: self.name?,
            kora: kora::Account {
                base_url: self.base_url?,
                api_key: self.api_key?,
                tenant_id: self.kora_tenant_id?,
            },
            webhook_secrets: self.webhook_secrets?,
        })
    }
}

impl Values<'_, '_> {
    fn required<T>(&mut self, key: &str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        let read = match self.table.get(key) {
            Some(Value::String(text)) => parse(text),
            Some(_) => Err("is not a text".to_owned()),
            None => Err("is missing".to_owned()),
        };
        read.map_err(|what| self.problem(key, what)).ok()
    }

    /// The secret in the file that is named here.
    fn secret(&mut self, key: &str, tenant: Option<&str>, check: Check) -> Option<Secret> {
        let file: PathBuf = self.required(key, values::path)?;
        let name = key.strip_suffix("_file").unwrap_or(key);
        let name = format!("{name} of {}", tenant.unwrap_or(&self.place));
        let read = self.reader.secret_in_file(name, file, check);
        read.map_err(|what| self.problem(key, what)).ok()
    }

    fn problem(&mut self, key: &str, what: String) {
        self.reader.problem(&format!("{}.{key}", self.place), what);
    }
}

/// A name stands in paths, in metrics and in the log.
fn check_name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match text {
        // Clients take them out of paths.
        "." | ".." => Err("is a dot segment".to_owned()),
        _ if (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_plain) => {
            Ok(text.to_owned())
        }
        _ => Err("is not 1 to 64 letters, digits, dots, - and _".to_owned()),
    }
}
