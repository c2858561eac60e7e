//! What counts as a Kora that does not answer, and what says nothing about it.

use tokio::{
    net::{TcpListener, TcpSocket},
    time::timeout,
};

use crate::{
    call::Rpc,
    harness::Gateway,
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
