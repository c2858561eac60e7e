//! What NATS means by refusing a stream: whether it passes by itself, and which setting is at fault where it does not.

use async_nats::jetstream::{Error, ErrorCode};

use super::OpenError;

/// The code of NATS's errors that pass.
const SERVICE_UNAVAILABLE: usize = 503;

/// What NATS says where there is no server of a cluster with enough room.
const NO_ROOM: &str = "insufficient storage";

const STORAGE: &str = "--retention-size is set aside for the stream of each tenant, and has to fit into max_file_store of \
                       the server and into the limits of the account";
const STREAMS: &str = "each tenant takes three streams: raise max_streams of the account";
const ACCOUNT: &str = "the account that --nats-credentials-file belongs to needs JetStream";
const REPLICAS: &str = "--nats-replicas is more than this server or cluster can keep";

/// What keeps a stream from being found or created.
pub(super) fn of_stream(name: &str, error: &Error) -> OpenError {
    match setting_at_fault(error) {
        Some(fault) => {
            OpenError::Misconfigured(format!("NATS refuses the stream {name}: {error}; {fault}"))
        }
        // The cluster's servers have not found each other yet, or they are too few.
        None if error.error_code() == ErrorCode::CLUSTER_NO_PEERS
            || error.code() == SERVICE_UNAVAILABLE =>
        {
            OpenError::Unreachable(error.to_string())
        }
        None => OpenError::Refused(format!("NATS refuses the stream {name}: {error}")),
    }
}

fn setting_at_fault(error: &Error) -> Option<&'static str> {
    match error.error_code() {
        ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED
        | ErrorCode::STREAM_MAX_BYTES_REQUIRED
        | ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED => Some(STORAGE),
        ErrorCode::MAXIMUM_STREAMS_LIMIT => Some(STREAMS),
        ErrorCode::JETSTREAM_NOT_ENABLED
        | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
        | ErrorCode::NO_ACCOUNT
        | ErrorCode::NO_LIMITS => Some(ACCOUNT),
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => Some(REPLICAS),
        ErrorCode::CLUSTER_NO_PEERS if error.to_string().contains(NO_ROOM) => Some(STORAGE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(code: usize, error_code: u64, description: &str) -> OpenError {
        let error = json!({"code": code, "err_code": error_code, "description": description});
        of_stream("S", &serde_json::from_value(error).unwrap())
    }

    #[test]
    fn what_passes_is_waited_for_and_what_does_not_names_its_setting() {
        for (code, error_code, description, setting) in [
            (
                500,
                10047,
                "insufficient storage resources available",
                "--retention-size",
            ),
            (503, 10023, "insufficient resources", "--retention-size"),
            (
                400,
                10005,
                "no suitable peers for placement, insufficient storage",
                "--retention-size",
            ),
            (
                400,
                10027,
                "maximum number of streams reached",
                "max_streams",
            ),
            (
                503,
                10039,
                "JetStream not enabled for account",
                "--nats-credentials-file",
            ),
            (
                500,
                10074,
                "replicas > 1 not supported in non-clustered mode",
                "--nats-replicas",
            ),
        ] {
            let OpenError::Misconfigured(text) = refusal(code, error_code, description) else {
                panic!("{description}");
            };
            assert!(
                text.contains(setting) && text.contains(description),
                "{text}"
            );
        }
        for (code, error_code, description) in [
            (503, 10008, "JetStream system temporarily unavailable"),
            (400, 10005, "no suitable peers for placement"),
        ] {
            let refused = refusal(code, error_code, description);
            assert!(matches!(refused, OpenError::Unreachable(_)), "{refused}");
        }
        let overlap = refusal(400, 10065, "subjects overlap with an existing stream");
        assert!(matches!(overlap, OpenError::Refused(_)), "{overlap}");
    }
}
