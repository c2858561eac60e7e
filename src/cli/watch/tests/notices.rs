//! What is said of the stream itself: on stderr, once for each change.

use tokio::net::TcpListener;
use tonic::Code;

use super::{
    harness::{Rig, finished, lost, opened, refusal, signal, starts},
    scripted_gateway::ScriptedGateway,
};
use crate::pb::{self, watch_events_response::Signal};

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_not_there_yet_is_waited_for_and_said_once() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = gone.local_addr().unwrap();
    drop(gone);
    let rig = Rig::new(addr, None);
    let notices = rig.notices.clone();
    let run = tokio::spawn(rig.run());
    notices.wait_for("no gateway answers").await;
    let listener = TcpListener::bind(addr).await.unwrap();
    let _gateway = ScriptedGateway::on(listener, vec![finished()]);
    let (ended, _, notices) = run.await.unwrap();
    assert_eq!(ended, Ok(()));
    let lines: Vec<_> = notices.lines().collect();
    assert_eq!(lines.len(), 2, "{notices}");
    assert_eq!(lines[1], "note: watching again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_loss_is_said_once_until_there_is_a_stream() {
    let refused = || vec![refusal(Code::Unavailable, "GATEWAY_DRAINING", None)];
    let script = vec![
        refused(),
        refused(),
        vec![refusal(Code::Unavailable, "GATEWAY_OVERLOADED", None)],
        vec![
            opened("Token"),
            refusal(Code::Unavailable, "GATEWAY_OVERLOADED", None),
        ],
        finished(),
    ];
    let gateway = ScriptedGateway::start(script).await;
    let (ended, _, notices) = Rig::new(gateway.addr, None).run().await;
    assert_eq!(ended, Ok(()));
    let said: Vec<_> = notices
        .lines()
        .map(|line| line.split([':', ';']).nth(1).unwrap().trim())
        .collect();
    assert_eq!(
        said,
        [
            "GATEWAY_DRAINING",
            "GATEWAY_OVERLOADED",
            "watching again",
            "GATEWAY_OVERLOADED",
            "watching again"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_a_warning_and_no_event() {
    let gap = pb::Gap {
        from_token: "Old".to_owned(),
        to_token: "Oldest".to_owned(),
        reason: pb::GapReason::Expired.into(),
    };
    let script = vec![vec![
        opened("Old"),
        signal("Oldest", Signal::Gap(gap)),
        lost(),
    ]];
    let script = [script, vec![finished()]].concat();
    let gateway = ScriptedGateway::start(script).await;
    let (ended, out, notices) = Rig::new(gateway.addr, None).run().await;
    assert_eq!(ended, Ok(()));
    assert_eq!(out, "");
    assert!(
        notices.starts_with("warning: events are missing"),
        "{notices}"
    );
    assert_eq!(starts(&gateway.requests())[1], "Oldest");
}
