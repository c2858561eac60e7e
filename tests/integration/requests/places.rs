//! How many calls there may be at a time, and who has to name them.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Code;
use uuid::Uuid;

use super::{completed, request, screen, start_screen};
use crate::{
    call::{Rpc, screen_request},
    harness::Gateway,
    scripted_kora::{Act, ScriptedKora},
};

#[tokio::test]
async fn a_call_keeps_its_place_until_it_is_over_whoever_still_waits() {
    let (told, late) = Act::pending_once_told();
    let kora = ScriptedKora::start(late).await;
    let gateway = Gateway::start(&kora.base_url(), &[("max-calls", "2")]).await;
    let calls = [request(Uuid::new_v4()), screen_request()];
    let calls = calls.map(|request| start_screen(&gateway, request));
    kora.wait_for_requests(2).await;
    for call in calls {
        call.abort();
    }
    gateway
        .wait_for_metric("call_duration_seconds_count{method=\"Screen\",code=\"CANCELLED\"} 2\n")
        .await;
    for rpc in Rpc::ALL {
        let refused = rpc.call().send(gateway.grpc).await;
        assert_eq!(refused.status.code(), Code::Unavailable);
        assert_eq!(refused.reason(), "GATEWAY_OVERLOADED");
        assert!(refused.details().retry_info().is_some());
    }
    told.notify_waiters();
    kora.act(completed());
    let free =
        async { while screen(&gateway, &screen_request()).await.status.code() != Code::Ok {} };
    timeout(Duration::from_secs(10), free).await.unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn a_gateway_can_require_an_id() {
    let kora = ScriptedKora::start(completed()).await;
    let gateway = Gateway::start(&kora.base_url(), &[("require-request-id", "true")]).await;
    for rpc in [Rpc::Screen, Rpc::CreateSubject] {
        let refused = rpc.call().send(gateway.grpc).await;
        assert_eq!(refused.reason(), "INVALID_REQUEST");
        let details = refused.details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "request_id");
    }
    assert!(kora.take_received().is_empty());
    screen(&gateway, &request(Uuid::new_v4())).await.screening();
    gateway.stop().await;
}
