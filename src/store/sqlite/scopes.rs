//! Whether the file holds request records of a scope. No index is kept for a question that is asked once in a while, so
//! a bounded number of rows is looked at.

use rusqlite::Connection;

use super::snapshot::unreadable;
use crate::store::ReadError;

/// How many of the oldest and how many of the newest records are looked at.
const LOOKED_AT: i64 = 50_000;

pub(super) fn has_scope(connection: &Connection, scope: &str) -> Result<bool, ReadError> {
    let found = |order: &str| {
        let query = format!(
            "SELECT EXISTS (SELECT 1 FROM (SELECT caller FROM requests ORDER BY number {order} LIMIT ?) \
             WHERE caller = ?)"
        );
        let found = connection.query_row(&query, (LOOKED_AT, scope), |row| row.get(0));
        found.map_err(unreadable(0))
    };
    Ok(found("ASC")? || found("DESC")?)
}
