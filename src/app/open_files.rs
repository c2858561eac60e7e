//! How many files and connections may be open at a time: what the system allows is often less than what is needed.

use std::cmp::Ordering;

use rlimit::Resource;

use crate::{config::Config, store::Place};

/// What an embedded log has open at most: its file and the two beside it, and two for each of its readers.
const FILES_OF_A_LOG: u64 = 3 + 2 * 4;

/// What there is besides logs and connections: the runtime's, the listeners, files that are read for a moment.
const OTHER_FILES: u64 = 64;

/// Raises the soft limit on open files as far as it has to and may be. Returns what to say where that is not enough.
pub fn make_room_for_files(config: &Config) -> Option<String> {
    let needed = needed(config);
    let (soft, hard) = Resource::NOFILE.get().ok()?;
    let raised = needed.min(hard);
    if raised > soft && Resource::NOFILE.set(raised, hard).is_err() {
        return Some(too_few(soft, needed));
    }
    match hard.cmp(&needed) {
        Ordering::Less => Some(too_few(hard, needed)),
        Ordering::Equal | Ordering::Greater => None,
    }
}

/// How many can be open at a time, if everybody comes whom the limits let in.
fn needed(config: &Config) -> u64 {
    let connections = [&config.grpc_listener, &config.webhook_listener];
    let connections = connections.map(|listener| listener.max_connections as u64);
    let to_kora = config.grpc.max_calls as u64;
    let logs = match config.store {
        Place::Directory(_) => FILES_OF_A_LOG * config.tenants.len() as u64,
        Place::Nats(_) => 0,
    };
    connections.iter().sum::<u64>() + to_kora + logs + OTHER_FILES
}

fn too_few(limit: u64, needed: u64) -> String {
    format!(
        "only {limit} files and connections may be open at a time, and up to {needed} can be needed: raise the hard \
         limit (ulimit -Hn, LimitNOFILE=)"
    )
}
