//! What a log does tell: one line for each failed call, with its caller and its tenant.

use tonic::Code;

use super::{
    callers::{OTHER_TOKEN, bearer, start, watch},
    launch::Launch,
    marked::{self, NAME, TOKEN},
    outputs::Outputs,
};
use crate::{
    call::{CALL_ID, Call, Rpc},
    harness::TENANT_ID,
    requests::ask_at,
};

/// Nothing listens there.
const NO_KORA: &str = "http://127.0.0.1:9/api/v1";

/// The lines that tell of the failed calls with this id.
fn lines<'a>(log: &'a str, call_id: &str) -> Vec<&'a str> {
    let id = format!(" call_id=\"{call_id}\" ");
    let lines = log.lines().filter(|line| line.contains("call failed"));
    lines.filter(|line| line.contains(&id)).collect()
}

/// Sees that one line tells of it, and whose it was.
fn expect(log: &str, call_id: &str, caller: &str, tenant: &str) {
    let [line] = lines(log, call_id)[..] else {
        panic!("not one line for {call_id}: {log}");
    };
    let who = format!(" caller=\"{caller}\" tenant=\"{tenant}\" ");
    assert!(line.contains(&who), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_is_logged_once_with_its_caller_and_its_tenant() {
    let gateway = start(NO_KORA).await;
    let mut outputs = Outputs::default();
    let screen = || marked::call(Rpc::Screen);
    let invalid = || marked::with_metadata(Call::raw(Rpc::Screen.path(), &marked::invalid()));
    let calls = [
        ("unknown", screen(), "", ""),
        ("own", bearer(screen(), TOKEN), "onboarding", "acme-uk"),
        ("invalid", bearer(invalid(), TOKEN), "onboarding", "acme-uk"),
        (
            "another",
            bearer(screen(), OTHER_TOKEN).header("x-kora-tenant", "acme-de"),
            "reports",
            "acme-de",
        ),
        ("unnamed", bearer(screen(), OTHER_TOKEN), "reports", ""),
        (
            "nobodys",
            bearer(screen(), OTHER_TOKEN).header("x-kora-tenant", NAME),
            "reports",
            "",
        ),
        (
            "not-its-own",
            bearer(screen(), TOKEN).header("x-kora-tenant", "acme-de"),
            "onboarding",
            "",
        ),
        (
            "no-right",
            bearer(marked::call(Rpc::CreateSubject), OTHER_TOKEN)
                .header("x-kora-tenant", "acme-uk"),
            "reports",
            "acme-uk",
        ),
        (
            "no-method",
            bearer(Call::raw("/MARKER/MARKER".to_owned(), b""), TOKEN),
            "onboarding",
            "acme-uk",
        ),
    ];
    for (id, call, ..) in &calls {
        let answer = call
            .clone()
            .header("x-request-id", id)
            .send(gateway.grpc())
            .await;
        assert_ne!(answer.status.code(), Code::Ok);
    }
    let mut stream = watch(&gateway, TOKEN).await;
    stream.message().await;
    let ending = tokio::spawn(async move { while stream.next().await.is_ok() {} });
    let log = gateway.end(&mut outputs).await;
    ending.await.unwrap();
    for (id, _, caller, tenant) in calls {
        expect(&log, id, caller, tenant);
    }
    expect(&log, CALL_ID, "onboarding", "acme-uk");
    outputs.look();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_there_is_no_caller_and_one_tenant() {
    let gateway = Launch::gateway(NO_KORA).start().await;
    let asked = ask_at(gateway.grpc(), NAME).await;
    assert_eq!(asked.reason(), "INVALID_REQUEST");
    let mut outputs = Outputs::default();
    let log = gateway.end(&mut outputs).await;
    expect(&log, CALL_ID, "", TENANT_ID);
    outputs.look();
}
