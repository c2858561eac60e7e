//! The watcher comes back with its token, and prints nothing twice.

use std::time::Duration;

use tonic::{Code, Status};

use super::{
    harness::{
        FAR, Rig, caught_up, events, finished, heartbeat, lost, opened, opened_beating, printed,
        refusal, signal, starts,
    },
    scripted_gateway::{Act, ScriptedGateway},
};
use crate::pb::{self, watch_events_response::Signal};

/// A wait that is long enough to be told from a backoff of the tests.
const ASKED: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_with_the_newest_token_and_removes_doubles() {
    let script = vec![
        // Lost before anything is known: the start stays what it was.
        vec![lost()],
        vec![opened("Opened"), lost()],
        vec![opened("Opened"), events("One", &["a", "b"]), lost()],
        vec![
            opened("One"),
            events("Two", &["b", "c"]),
            heartbeat("Three"),
            lost(),
        ],
        vec![
            opened("Three"),
            events("Four", &["a", "d"]),
            caught_up("Four"),
            Act::End,
        ],
    ];
    let gateway = ScriptedGateway::start(script).await;
    let (ended, out, notices) = Rig::new(gateway.addr, None).run().await;
    assert_eq!(ended, Ok(()));
    assert_eq!(printed(&out), ["a", "b", "c", "d"]);
    assert_eq!(
        starts(&gateway.requests()),
        [
            "START_POSITION_LATEST",
            "START_POSITION_LATEST",
            "Opened",
            "One",
            "Three"
        ]
    );
    assert_eq!(notices.matches("note: watching again").count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_after_everything_that_can_pass() {
    let losses = [
        Act::EndWithoutStatus,
        Act::Fail(Status::unavailable("somebody else's words")),
        Act::Fail(Status::unknown("somebody else's words")),
        refusal(Code::ResourceExhausted, "TOO_MANY_STREAMS", None),
        refusal(Code::Internal, "INTERNAL", None),
    ];
    for loss in losses {
        for before in [vec![], vec![opened("Token"), events("Token", &["a"])]] {
            let first = [before.clone(), vec![loss.clone()]].concat();
            let gateway = ScriptedGateway::start(vec![first, finished()]).await;
            let (ended, _, notices) = Rig::new(gateway.addr, None).run().await;
            assert_eq!(ended, Ok(()));
            assert_eq!(gateway.requests().len(), 2, "{notices}");
            let lines: Vec<_> = notices.lines().collect();
            assert_eq!(lines.len(), 2, "{notices}");
            assert!(lines[0].starts_with("warning: "), "{notices}");
            assert!(!notices.contains("somebody else's words"), "{notices}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_comes_back_after_a_connection_that_was_cut() {
    for first in [vec![], vec![opened("Token"), events("Token", &["a"])]] {
        let brings = !first.is_empty();
        let script = vec![[first, vec![Act::Cut]].concat(), finished()];
        let gateway = ScriptedGateway::start(script).await;
        let rig = Rig::new(gateway.addr, None);
        let out = rig.out.clone();
        let run = tokio::spawn(rig.run());
        if brings {
            out.wait_for("event=a").await;
        }
        gateway.cut();
        assert_eq!(run.await.unwrap().0, Ok(()));
        let second = if brings {
            "Token"
        } else {
            "START_POSITION_LATEST"
        };
        assert_eq!(
            starts(&gateway.requests()),
            ["START_POSITION_LATEST", second]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_beyond_the_heartbeats_is_a_lost_stream() {
    let beat = Duration::from_millis(10);
    let script = vec![
        vec![opened_beating("Silent", beat)],
        vec![opened_beating("Silent", FAR), caught_up("End"), Act::End],
    ];
    let gateway = ScriptedGateway::start(script).await;
    let (ended, _, notices) = Rig::new(gateway.addr, None).run().await;
    assert_eq!(ended, Ok(()));
    assert_eq!(
        starts(&gateway.requests()),
        ["START_POSITION_LATEST", "Silent"]
    );
    assert!(
        notices.contains("nothing came from the gateway for 25ms"),
        "{notices}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_opens_is_a_lost_stream() {
    let gateway = ScriptedGateway::start(vec![vec![], finished()]).await;
    let mut rig = Rig::new(gateway.addr, None);
    rig.watcher.waits.opening = Duration::from_secs(1);
    let (ended, _, notices) = rig.run().await;
    assert_eq!(ended, Ok(()));
    assert!(
        notices.contains("nothing came from the gateway for 1s"),
        "{notices}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_wait_wins() {
    let draining = |wait: Duration| {
        let reconnect_after = Some(wait.try_into().unwrap());
        signal("Token", Signal::Draining(pb::Draining { reconnect_after }))
    };
    let drained = |wait| refusal(Code::Unavailable, "STREAM_DRAINED", wait);
    for first in [
        vec![refusal(
            Code::ResourceExhausted,
            "TOO_MANY_STREAMS",
            Some(ASKED),
        )],
        vec![opened("Token"), drained(Some(ASKED))],
        vec![opened("Token"), draining(ASKED), drained(None)],
        vec![opened("Token"), draining(FAR), drained(Some(ASKED))],
        vec![opened("Token"), draining(ASKED), lost()],
        vec![opened("Token"), draining(ASKED), Act::End],
    ] {
        let gateway = ScriptedGateway::start(vec![first, finished()]).await;
        let mut rig = Rig::new(gateway.addr, None);
        // Whoever backs off by itself does not come back in time.
        rig.watcher.waits.first_backoff = 1000 * FAR;
        rig.watcher.waits.max_backoff = 1000 * FAR;
        let (ended, _, notices) = rig.run().await;
        assert_eq!(ended, Ok(()));
        assert!(notices.contains("first in 50ms"), "{notices}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_grows_until_a_stream_brings_something() {
    let script = vec![
        vec![opened("Token"), caught_up("Token"), lost()],
        vec![lost()],
        vec![opened("Token"), heartbeat("Token"), lost()],
        vec![Act::Fail(Status::data_loss("the end"))],
    ];
    // Before each of the connections, and after the last one.
    let expected = [0, 1, 2, 1];
    let gateway = ScriptedGateway::start(script).await;
    let mut watcher = Rig::new(gateway.addr, None).watcher;
    for failures in expected {
        assert_eq!(watcher.failures, failures);
        watcher.follow_one().await;
        watcher.failures += 1;
    }
}
