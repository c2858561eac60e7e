//! Calls for one tenant go to its Kora, with its key, in its rate limit, through its circuit.

use tokio::{task::JoinSet, time::timeout};

use super::*;
use crate::{
    call::{Call, Rpc, SCREENING_ID, screen_request},
    scripted_kora::{Act, Received, ScriptedKora},
};

fn screened() -> Act {
    Act::json(
        200,
        &json!({
            "screening_id": SCREENING_ID, "status": "COMPLETED", "decision": {"outcome": "APPROVE"},
        }),
    )
}

fn screen(tenant: Tenant) -> Call {
    let call = Call::new(Rpc::Screen, &screen_request());
    call.header("x-kora-tenant", tenant.name)
        .header("grpc-timeout", "2S")
}

/// Both Koras, and the files of a gateway that asks them.
async fn koras(acts: [Act; 2]) -> ([ScriptedKora; 2], Files) {
    let [alpha, beta] = acts;
    let koras = [
        ScriptedKora::start(alpha).await,
        ScriptedKora::start(beta).await,
    ];
    let urls = koras.each_ref().map(ScriptedKora::base_url);
    let files = Files::of(&[(ALPHA, &urls[0]), (BETA, &urls[1])]);
    (koras, files)
}

fn who(received: &Received) -> [Option<&str>; 2] {
    ["authorization", "x-tenant-id"].map(|name| received.header(name))
}

#[tokio::test]
async fn a_call_has_its_tenants_key_and_gets_to_its_kora_alone() {
    let (koras, files) = koras([screened(), screened()]).await;
    let gateway = files.start().await;
    for (tenant, kora, other) in [(ALPHA, 0, 1), (BETA, 1, 0)] {
        let answer = screen(tenant).send(gateway.grpc).await;
        assert_eq!(answer.screening().screening_id, SCREENING_ID);
        let received = koras[kora].take_received();
        let bearer = format!("Bearer {}", tenant.key);
        assert_eq!(received.len(), 1);
        assert_eq!(who(&received[0]), [Some(bearer.as_str()), Some(tenant.id)]);
        assert!(koras[other].take_received().is_empty());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn calls_to_a_kora_that_hangs_leave_permits_to_another_tenant() {
    let (koras, files) = koras([Act::Hang, screened()]).await;
    let gateway = files.start_with(&[("max-calls", "4")]).await;
    let mut hung: JoinSet<_> = (0..4).map(|_| screen(ALPHA).send(gateway.grpc)).collect();
    timeout(PATIENCE, koras[0].wait_for_requests(2))
        .await
        .unwrap();
    for _ in 0..2 {
        let refused = timeout(PATIENCE, hung.join_next()).await.unwrap();
        let refused = refused.unwrap().unwrap();
        assert_eq!(refused.reason(), "GATEWAY_OVERLOADED");
    }
    let others = (0..2).map(|_| screen(BETA).send(gateway.grpc));
    for answer in others.collect::<JoinSet<_>>().join_all().await {
        answer.screening();
    }
    drop(hung);
    gateway.start_stop();
}

#[tokio::test]
async fn tenants_that_have_one_kora_share_connections_and_no_key() {
    let kora = ScriptedKora::start(screened()).await;
    let files = Files::of(&[(ALPHA, &kora.base_url()), (BETA, &kora.base_url())]);
    let gateway = files.start().await;
    for tenant in [ALPHA, BETA, ALPHA] {
        screen(tenant).send(gateway.grpc).await.screening();
        let bearer = format!("Bearer {}", tenant.key);
        let received = kora.take_received();
        assert_eq!(who(&received[0]), [Some(bearer.as_str()), Some(tenant.id)]);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_circuit_that_is_open_is_one_tenants() {
    let (koras, files) = koras([Act::CloseAfterRequest, screened()]).await;
    let gateway = files.start().await;
    let opens =
        async { while screen(ALPHA).send(gateway.grpc).await.reason() != "KORA_CIRCUIT_OPEN" {} };
    timeout(PATIENCE, opens).await.unwrap();
    screen(BETA).send(gateway.grpc).await.screening();
    assert_eq!(koras[1].take_received().len(), 1);
    gateway
        .wait_for_metric(&gauge("kora_circuit_state", ALPHA, 2))
        .await;
    gateway
        .wait_for_metric(&gauge("kora_circuit_state", BETA, 0))
        .await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_rate_limit_that_is_spent_is_one_tenants() {
    let reset = jiff::Timestamp::now().as_second() + 60;
    let spent = Act::error(429, "RATE_LIMITED")
        .with_header("x-ratelimit-limit", "100")
        .with_header("x-ratelimit-remaining", "0")
        .with_header("x-ratelimit-reset", &reset.to_string());
    let (koras, files) = koras([spent, screened()]).await;
    let gateway = files.start().await;
    screen(ALPHA).send(gateway.grpc).await;
    let paced = screen(ALPHA).send(gateway.grpc).await;
    assert_eq!(paced.reason(), "RATE_PACED");
    for _ in 0..3 {
        screen(BETA).send(gateway.grpc).await.screening();
    }
    assert_eq!(koras[0].take_received().len(), 1);
    assert_eq!(koras[1].take_received().len(), 3);
    gateway
        .wait_for_metric(&gauge("kora_rate_limit_left", ALPHA, 0))
        .await;
    gateway.stop().await;
}
