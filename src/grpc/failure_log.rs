//! One line for one failed call.

use std::error::Error;

use tonic::Code;
use tracing::Level;

use super::{gate::Who, metrics::code_name, rpc::Rpc};
use crate::{
    error::{CallError, Outcome, Reason},
    telemetry::Throttle,
};

/// Anybody who reaches the port can be refused.
static UNAUTHENTICATED: Throttle = Throttle::new("call failed: UNAUTHENTICATED");

/// One line for one failed call: ids, the names of caller and tenant, reason and causes, and nothing that a caller or Kora
/// wrote. Calls of nobody known are logged up to a limit.
pub(super) fn write(error: &CallError, rpc: Option<Rpc>, call_id: &str, code: Code, who: &Who) {
    let is_stranger = error.reason == Reason::Unauthenticated && who.caller().is_empty();
    if is_stranger && !UNAUTHENTICATED.allows() {
        return;
    }
    let method = rpc.map_or("unknown", Rpc::name);
    let code = code_name(code);
    let reason = error.reason.name();
    let kora_request_id = error.kora_request_id.as_deref().unwrap_or_default();
    let (caller, tenant) = (who.caller(), who.tenant());
    let cause = causes(error);
    macro_rules! write_at {
        ($level:expr) => {
            tracing::event!(
                $level,
                method,
                call_id,
                caller,
                tenant,
                code,
                reason,
                kora_request_id,
                cause,
                "call failed"
            )
        };
    }
    match (error.reason, error.reason.outcome()) {
        // A stream's caller said when it should end.
        (Reason::DeadlineExceeded, _) if rpc == Some(Rpc::WatchEvents) => write_at!(Level::DEBUG),
        // The operator must act.
        _ if matches!(code, "INTERNAL" | "DATA_LOSS") => write_at!(Level::ERROR),
        // Somebody must look at Kora for what became of it, or at the disk.
        (_, Some(Outcome::Unknown)) | (Reason::StoreUnavailable, _) => write_at!(Level::WARN),
        // Every open stream ends so when the gateway stops.
        (Reason::StreamDrained, _) => write_at!(Level::DEBUG),
        _ => write_at!(Level::INFO),
    }
}

fn causes(error: &CallError) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
