//! What callers' request ids are kept under, and which ids have been left behind: said at start, and whenever the
//! callers change.

use std::sync::Arc;

use crate::{
    access::{ANONYMOUS, Caller, Callers},
    store::RequestLog,
};

/// How many callers that keep their ids under another name are named.
const MAX_NAMED: usize = 100;

/// Says it now, and after each change of the callers. `logs` are the request records with their tenants' names.
pub(super) async fn follow(callers: Callers, logs: Vec<(String, Arc<dyn RequestLog>)>) {
    let mut changes = callers.changes();
    loop {
        if let Some(listed) = callers.listed() {
            announce(&listed);
            if listed.iter().all(|caller| &**caller.scope() != ANONYMOUS) {
                warn_of_anonymous(&logs).await;
            }
        }
        if !changes.next().await {
            return;
        }
    }
}

fn announce(listed: &[Arc<Caller>]) {
    let mut moved = listed.iter().filter(|caller| caller.ids_of.is_some());
    for caller in moved.by_ref().take(MAX_NAMED) {
        tracing::info!(caller = %caller.name, ids_of = %caller.scope(), "request ids are kept under another name");
    }
    let unnamed = moved.count();
    if unnamed > 0 {
        tracing::info!(
            callers = unnamed,
            "request ids of more callers are kept under other names"
        );
    }
}

/// Records of the time before there were callers, which no caller can find.
async fn warn_of_anonymous(logs: &[(String, Arc<dyn RequestLog>)]) {
    for (tenant, log) in logs {
        match log.has_scope(ANONYMOUS.to_owned()).await {
            Ok(false) => {}
            Ok(true) => tracing::warn!(
                tenant,
                "the log has request ids of anonymous callers, and no caller has ids_of = \"anonymous\": such an id is \
                 new when it is repeated, and is sent again"
            ),
            Err(error) => {
                tracing::warn!(tenant, %error, "it is not known whether the log has request ids of anonymous callers");
            }
        }
    }
}
