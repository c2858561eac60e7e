//! When the watcher ends, and what it says then.

use std::fs;

use tonic::{Code, Status};

use super::{
    super::MAX_MESSAGE_BYTES,
    harness::{Rig, caught_up, events, finished, lost, opened, printed, refusal},
    scripted_gateway::{Act, ScriptedGateway},
};
use crate::pb::{Event, WatchEventsResponse};

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_get_better_ends_it_with_what_to_do() {
    for (code, reason, advice) in [
        (
            Code::OutOfRange,
            "TOKEN_EXPIRED",
            "events were missed: go on with --on-gap skip, or with a new --from",
        ),
        (Code::OutOfRange, "TOKEN_FOREIGN", "check --gateway"),
        (
            Code::InvalidArgument,
            "TOKEN_INVALID",
            "start again with a new --from",
        ),
        (
            Code::InvalidArgument,
            "INVALID_REQUEST",
            "correct it and try again",
        ),
        (
            Code::Unauthenticated,
            "UNAUTHENTICATED",
            "show a --token-file, or a --cert-file with its --key-file",
        ),
        (
            Code::PermissionDenied,
            "PERMISSION_MISSING",
            "ask the gateway's operator for the right",
        ),
        (
            Code::DataLoss,
            "STORE_CORRUPT",
            "tell the gateway's operator",
        ),
        (Code::Unimplemented, "UNKNOWN_METHOD", "check --gateway"),
    ] {
        for before in [vec![], vec![opened("Token"), events("Token", &["a"])]] {
            let script = [before.clone(), vec![refusal(code, reason, None)]].concat();
            let gateway = ScriptedGateway::start(vec![script, finished()]).await;
            let (ended, out, notices) = Rig::new(gateway.addr, None).run().await;
            let problem = ended.unwrap_err();
            let start = format!("{reason}: what it means; {advice}");
            assert!(problem.starts_with(&start), "{problem}");
            assert_eq!(problem.lines().count(), 1);
            assert_eq!(printed(&out).len(), before.len() / 2);
            assert_eq!(notices, "");
            assert_eq!(gateway.requests().len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_advice_names_the_resume_file_whose_token_would_win() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("place");
    fs::write(&file, "Old\n").unwrap();
    for (code, reason) in [
        (Code::OutOfRange, "TOKEN_EXPIRED"),
        (Code::OutOfRange, "TOKEN_FOREIGN"),
        (Code::InvalidArgument, "TOKEN_INVALID"),
    ] {
        let gateway = ScriptedGateway::start(vec![vec![refusal(code, reason, None)]]).await;
        let problem = Rig::new(gateway.addr, Some(&file)).run().await.0;
        let advice = format!("without {} and with a new --from", file.display());
        assert!(problem.unwrap_err().ends_with(&advice));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "Old\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_error_is_told_by_its_code_alone() {
    let error = Act::Fail(Status::permission_denied("x\u{1b}[2K"));
    let gateway = ScriptedGateway::start(vec![vec![error]]).await;
    let problem = Rig::new(gateway.addr, None).run().await.0.unwrap_err();
    assert_eq!(
        problem,
        "the stream broke off (PermissionDenied); ask the gateway's operator for access"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_stream_that_has_caught_up_can_end_well() {
    let script = vec![
        vec![Act::End],
        vec![opened("One"), events("One", &["a"]), Act::End],
        vec![opened("One"), caught_up("One"), lost()],
        finished(),
    ];
    let gateway = ScriptedGateway::start(script).await;
    assert_eq!(Rig::new(gateway.addr, None).run().await.0, Ok(()));
    assert_eq!(gateway.requests().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_to_go_on_is_opened_again() {
    let end = vec![Act::Fail(Status::data_loss("the end"))];
    let gateway = ScriptedGateway::start(vec![finished(), end]).await;
    let mut rig = Rig::new(gateway.addr, None);
    rig.watcher.request.until_caught_up = false;
    let (ended, _, notices) = rig.run().await;
    assert!(ended.is_err());
    assert!(notices.contains("warning: the stream ended;"), "{notices}");
    assert_eq!(gateway.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_ends_well_wherever_it_is() {
    let refused = vec![refusal(
        Code::Unavailable,
        "GATEWAY_OVERLOADED",
        Some(std::time::Duration::from_secs(300)),
    )];
    let following = vec![opened("Token"), events("Token", &["a"])];
    for (script, said) in [(refused, "GATEWAY_OVERLOADED"), (following, "event=a")] {
        let gateway = ScriptedGateway::start(vec![script]).await;
        let rig = Rig::new(gateway.addr, None);
        let (out, notices) = (rig.out.clone(), rig.notices.clone());
        let shutdown = rig.watcher.shutdown.clone();
        let run = tokio::spawn(rig.run());
        match said {
            "event=a" => out.wait_for(said).await,
            _ => notices.wait_for(said).await,
        }
        shutdown.start();
        assert_eq!(run.await.unwrap().0, Ok(()));
    }
    // It has not answered yet, and would not.
    let silent = ScriptedGateway::start(vec![vec![]]).await;
    let rig = Rig::new(silent.addr, None);
    rig.watcher.shutdown.start();
    assert_eq!(rig.run().await.0, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_are_taken_up_to_the_limit() {
    let large = |length| {
        let event = Event {
            event_id: "large".to_owned(),
            raw_json: vec![b' '; length],
            ..Default::default()
        };
        Act::Send(WatchEventsResponse {
            events: vec![event],
            ..Default::default()
        })
    };
    let room_for_the_rest = 64;
    let script = vec![vec![
        opened("Token"),
        large(MAX_MESSAGE_BYTES - room_for_the_rest),
        large(MAX_MESSAGE_BYTES),
    ]];
    let gateway = ScriptedGateway::start(script).await;
    let (ended, out, _) = Rig::new(gateway.addr, None).run().await;
    assert_eq!(printed(&out), ["large"]);
    let problem = ended.unwrap_err();
    assert!(problem.contains("too large for this client"), "{problem}");
}
