//! What names one tenant's log: all that moving it needs.

use super::{Environment, Problems, reader::Reader, rooms::store_place, sources::Flags, values};
use crate::store;

/// The settings that name a tenant's log.
pub const TENANT_LOG_SETTINGS: &[&str] = &[
    "kora-tenant-id",
    "event-log",
    "nats-credentials-file",
    "nats-ca-file",
    "nats-stream-prefix",
    "nats-replicas",
    "retention-age",
    "retention-size",
    "request-retention",
    "request-size",
    "dedup-window",
];

/// Where a tenant's log is.
#[derive(Clone, Debug)]
pub struct TenantLog {
    /// The tenant's id at Kora.
    pub tenant: String,
    /// The place, and what is kept there.
    pub place: store::Place,
}

impl TenantLog {
    /// Reads what names a log, as `serve` would. Other settings are not asked for.
    ///
    /// # Errors
    /// Every one of these settings that is missing or wrong, and every unknown key of the file.
    pub fn load(flags: Flags, environment: &Environment) -> Result<Self, Problems> {
        let mut reader = Reader::open(flags, environment);
        let tenant = reader.value("kora-tenant-id", values::text);
        let place = store_place(&mut reader);
        match (tenant, place, reader.close().problems) {
            (Some(tenant), Some(place), problems) if problems.is_empty() => {
                Ok(TenantLog { tenant, place })
            }
            (.., problems) => Err(Problems(problems)),
        }
    }
}
