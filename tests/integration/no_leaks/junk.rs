//! Calls that are none: unknown methods, malformed metadata and messages.

use kora_gateway::pb;
use prost::Message;
use tonic::Code;

use super::{
    launch::Launch,
    marked::{self, NAME},
    outputs::Outputs,
};
use crate::call::{Call, Rpc};

/// Nothing asks Kora here.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

const SERVICE: &str = "/kora.compliance.v1.ComplianceService";

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_send_is_not_repeated_however_wrong_it_is() {
    let gateway = Launch::gateway(NO_KORA)
        .flag("max-request-bytes", "4KiB")
        .start()
        .await;
    let grpc = gateway.grpc();
    let mut outputs = Outputs::default();
    let malformed = (Code::InvalidArgument, "MALFORMED_REQUEST");
    let unknown = (Code::Unimplemented, "UNKNOWN_METHOD");
    let screen = || marked::call(Rpc::Screen);
    let raw = |message: &[u8]| marked::with_metadata(Call::raw(Rpc::Screen.path(), message));
    let large = vec![b'M'; 5000];
    let no_utf8 = [&[0x0a, 7][..], b"MARKER\xff"].concat();
    let calls = [
        (
            raw(&marked::invalid()),
            (Code::InvalidArgument, "INVALID_REQUEST"),
        ),
        (raw(&[0xff; 9]), malformed),
        (raw(NAME.as_bytes()), malformed),
        (raw(&no_utf8), malformed),
        (raw(&large), (Code::InvalidArgument, "REQUEST_TOO_LARGE")),
        (Call::raw(format!("{SERVICE}/MARKER"), b"MARKER"), unknown),
        (
            Call::raw("/MARKER.MARKER/MARKER?MARKER".to_owned(), b"MARKER"),
            unknown,
        ),
        (Call::raw("/MARKER".to_owned(), b"MARKER"), unknown),
        (screen().header("grpc-timeout", "MARKER"), malformed),
        (screen().header("grpc-encoding", "MARKER"), malformed),
        (
            screen().header("x-request-id", "MARKER with a space"),
            (Code::Unavailable, "KORA_UNREACHABLE"),
        ),
        (
            screen().header("x-request-id", &NAME.repeat(20)),
            (Code::Unavailable, "KORA_UNREACHABLE"),
        ),
        (
            screen().header("content-type", "application/grpc;MARKER=MARKER"),
            (Code::Unavailable, "KORA_UNREACHABLE"),
        ),
        (
            screen().header("x-marker-large", &"MARKER ".repeat(5000)),
            malformed,
        ),
    ];
    let other = screen().header("content-type", "application/grpc+MARKER");
    assert_eq!(other.http_status(grpc).await, 415);
    let mut failed = 0;
    for (number, (call, expected)) in calls.into_iter().enumerate() {
        let answer = call.header("grpc-timeout-of-nobody", NAME).send(grpc).await;
        assert_eq!(
            (answer.status.code(), &*answer.reason()),
            expected,
            "call {number}"
        );
        outputs.add_answer("a failure", &answer);
        failed += 1;
    }
    let no_grpc = screen().header("content-type", "MARKER/MARKER");
    assert_eq!(no_grpc.http_status(grpc).await, 415);
    // More headers than HTTP/2 lets there be.
    let many = screen().header("x-marker-large", &"MARKER ".repeat(10_000));
    assert_eq!(many.http_status(grpc).await, 431);
    let log = gateway.end(&mut outputs).await;
    assert_eq!(log.matches("call failed").count(), failed);
    outputs.look();
}

/// Health and reflection repeat names of services to whoever asks for them, and to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn the_standard_services_log_nothing() {
    let gateway = Launch::gateway(NO_KORA).start().await;
    let mut outputs = Outputs::default();
    let health = tonic_health::pb::HealthCheckRequest {
        service: NAME.to_owned(),
    };
    let check = "/grpc.health.v1.Health/Check".to_owned();
    let answer = Call::raw(check, &health.encode_to_vec())
        .send(gateway.grpc())
        .await;
    assert_eq!(answer.status.code(), Code::NotFound);
    outputs.add_answer("health", &answer);
    // file_containing_symbol
    let symbol = pb::GetSubjectRequest {
        subject_id: NAME.to_owned(),
    }
    .encode_to_vec();
    let symbol = [&[0x22], &symbol[1..]].concat();
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned();
    Call::raw(reflection, &symbol).send(gateway.grpc()).await;
    gateway.end(&mut outputs).await;
    outputs.look();
}
