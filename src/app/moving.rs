//! Moving a tenant's log, without a gateway around it.

use std::path::Path;

use crate::{
    config::TenantLog,
    store::transfer::{self, Counts, TransferError},
};

/// Writes a tenant's log into a file, and tells what it holds.
///
/// # Errors
/// See [`TransferError`].
pub async fn export_log(log: &TenantLog, file: &Path) -> Result<Counts, TransferError> {
    transfer::export(&log.place, &log.tenant, file).await
}

/// Fills a tenant's log, which must be empty, from a file, and tells what it holds.
///
/// # Errors
/// See [`TransferError`].
pub async fn import_log(log: &TenantLog, file: &Path) -> Result<Counts, TransferError> {
    transfer::import(&log.place, &log.tenant, file).await
}
