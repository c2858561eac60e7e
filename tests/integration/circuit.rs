//! What counts as a Kora that does not answer, and what says nothing about it.

use std::time::Duration;

use kora_gateway::access::{Caller, Callers, TokenHash};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpSocket},
    time::{sleep, timeout},
};

use crate::{
    call::{Answer, Call, Rpc, SCREENING_ID, profile, screen_request},
    harness::{Gateway, TENANT_ID},
    scripted_kora::{Act, ScriptedKora},
    subscriber::PATIENCE,
};

/// More failures than open the circuit.
const MANY: usize = 15;

#[tokio::test]
async fn answers_that_are_lost_late_or_not_koras_open_it() {
    for act in [
        Act::Hang,
        Act::CloseAfterRequest,
        Act::Answer(502, Vec::new(), b"<html>".to_vec()),
    ] {
        let kora = ScriptedKora::start(act.clone()).await;
        assert_opens(&kora.base_url(), &format!("{act:?}")).await;
    }
}

#[tokio::test]
async fn connections_that_are_refused_open_it() {
    // It has the port, and does not listen.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/api/v1", nobody.local_addr().unwrap());
    assert_opens(&url, "refused").await;
}

async fn assert_opens(base_url: &str, what: &str) {
    let gateway = Gateway::start(base_url, &[("kora-timeout", "50ms")]).await;
    let screen = || Rpc::Screen.call().header("grpc-timeout", "1S");
    let opens =
        async { while screen().send(gateway.grpc).await.reason() != "KORA_CIRCUIT_OPEN" {} };
    let opened = timeout(PATIENCE, opens).await;
    assert!(opened.is_ok(), "{what}");
    gateway.stop().await;
}

#[tokio::test]
async fn errors_of_koras_own_do_not_open_it() {
    let kora = ScriptedKora::start(Act::error(500, "INTERNAL_ERROR")).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    for _ in 0..MANY {
        let answer = Rpc::Screen.call().send(gateway.grpc).await;
        assert_eq!(answer.reason(), "KORA_OUTCOME_UNKNOWN");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn readers_in_a_hurry_do_not_open_it() {
    let kora = ScriptedKora::start(Act::Hang).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let hurried = async {
        for _ in 0..MANY {
            let read = Rpc::GetScreening.call().header("grpc-timeout", "200m");
            assert_eq!(read.send(gateway.grpc).await.reason(), "DEADLINE_EXCEEDED");
        }
    };
    timeout(PATIENCE, hurried).await.unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn callers_in_a_hurry_do_not_open_it() {
    // It accepts, and never answers the handshake: nothing is ever sent.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/api/v1", silent.local_addr().unwrap());
    let gateway = Gateway::start(&url, &[]).await;
    for _ in 0..MANY {
        let hurried = Rpc::Screen.call().header("grpc-timeout", "200m");
        assert_eq!(
            hurried.send(gateway.grpc).await.reason(),
            "DEADLINE_BEFORE_SEND"
        );
    }
    gateway.stop().await;
}

/// What something on the way to Kora refuses.
const POISON: &str = "Robert'); DROP TABLE students;--";

fn screened() -> Act {
    let decision = json!({"outcome": "APPROVE"});
    let screening = json!({
        "screening_id": SCREENING_ID, "status": "COMPLETED", "decision": decision,
    });
    Act::json(200, &screening)
}

fn screen_as(caller: &str, name: &str) -> Call {
    let mut profile = profile();
    profile.name = name.to_owned();
    let mut request = screen_request();
    request.party = Some(kora_gateway::pb::screen_request::Party::Subject(profile));
    let call = Call::new(Rpc::Screen, &request);
    call.header("authorization", &format!("Bearer {caller}"))
}

#[tokio::test]
async fn what_a_firewall_refuses_of_one_caller_opens_it_for_nobody() {
    let html = Act::Answer(502, Vec::new(), b"<html>".to_vec());
    for refusal in [html, Act::CloseAfterRequest] {
        let what = format!("{refusal:?}");
        let kora = ScriptedKora::start(Act::scripted(
            move |received| match String::from_utf8_lossy(&received.body).contains("DROP TABLE") {
                true => refusal.clone(),
                false => screened(),
            },
        ))
        .await;
        let callers = ["poisoned", "well"].map(|name| Caller {
            name: name.into(),
            tokens: vec![TokenHash::of(name.as_bytes())],
            ..Caller::anonymous([TENANT_ID.to_owned()])
        });
        let callers = Callers::only(callers.to_vec()).unwrap();
        let gateway = Gateway::start_with(&kora.base_url(), &[], |config| {
            config.callers = callers;
        })
        .await;
        for _ in 0..3 {
            let well = screen_as("well", "Jane Smith").send(gateway.grpc).await;
            assert_eq!(well.reason(), "", "{what}");
            for _ in 0..MANY {
                let poisoned = screen_as("poisoned", POISON).send(gateway.grpc).await;
                assert_eq!(poisoned.reason(), "KORA_OUTCOME_UNKNOWN", "{what}");
            }
        }
        gateway.stop().await;
    }
}

/// Less than Kora has for an answer.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_probe_that_hangs_does_not_keep_it_open() {
    let kora = ScriptedKora::start(Act::CloseAfterRequest).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let screen = || Rpc::Screen.call().send(gateway.grpc);
    while screen().await.reason() != "KORA_CIRCUIT_OPEN" {}
    kora.take_received();
    kora.act(Act::Hang);
    let grpc = gateway.grpc;
    let hung = tokio::spawn(async move {
        let probe = || Rpc::Screen.call().header("grpc-timeout", "60S");
        while probe().send(grpc).await.reason() == "KORA_CIRCUIT_OPEN" {
            sleep(Duration::from_millis(50)).await;
        }
    });
    timeout(PATIENCE, kora.wait_for_requests(1)).await.unwrap();
    // It is well again, and the probe has yet to find out.
    kora.act(screened());
    let answered = async {
        while screen().await.reason() == "KORA_CIRCUIT_OPEN" {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, answered).await.unwrap();
    let again: Answer = screen().await;
    assert_eq!(again.reason(), "");
    assert!(!hung.is_finished());
    hung.abort();
    gateway.stop().await;
}
