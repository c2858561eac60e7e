//! A screening goes on as ASYNC for everybody who waits for it, not only for the caller who came first.

use super::*;
use crate::call::Connection;

#[tokio::test]
async fn it_goes_on_for_who_joined_when_the_first_caller_has_gone() {
    let told = Arc::new(Notify::new());
    let timeout = Act::error(503, "SCREENING_TIMEOUT");
    let late = Act::AnswerOnceTold(Arc::clone(&told), Box::new(timeout));
    let kora = ScriptedKora::start(Act::scripted(move |received| {
        if received.is_async() {
            taken()
        } else {
            late.clone()
        }
    }))
    .await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let request = going_on(Uuid::new_v4());
    let first = start_screen(&gateway, request.clone());
    kora.wait_for_requests(1).await;
    let mut connection = Connection::open(gateway.grpc).await;
    let mut same_connection = connection.clone();
    let joined = Call::new(Rpc::Screen, &request);
    let joined = tokio::spawn(async move { connection.send(joined).await.unwrap() });
    tokio::task::yield_now().await;
    // What is sent later on one connection arrives later.
    let later = Rpc::GetSubject.call().header("grpc-timeout", "1n");
    same_connection.send(later).await.unwrap();
    first.abort();
    gateway
        .wait_for_metric("call_duration_seconds_count{method=\"Screen\",code=\"CANCELLED\"} 1\n")
        .await;
    told.notify_one();
    kora.wait_for_requests(2).await;
    tell(&gateway, "screening.completed", &approved(SCREENING_ID)).await;
    let screening = joined.await.unwrap().screening();
    assert_eq!(screening.status(), ScreeningStatus::Completed);
    assert_eq!(screening.screening_id, SCREENING_ID);
    gateway.stop().await;
}

#[tokio::test]
async fn who_waits_too_short_is_pending_and_the_others_get_the_end() {
    let kora = ScriptedKora::start(Act::timeout_then(taken())).await;
    let gateway = Gateway::start(&kora.base_url(), &[]).await;
    let request = going_on(Uuid::new_v4());
    let first = Call::new(Rpc::Screen, &request).header("grpc-timeout", "3S");
    let first = tokio::spawn(first.send(gateway.grpc));
    kora.wait_for_requests(2).await;
    let short = Call::new(Rpc::Screen, &request).header("grpc-timeout", "2S");
    let short = tokio::spawn(short.send(gateway.grpc));
    let patient = start_screen(&gateway, request);
    for call in [first, short] {
        let screening = call.await.unwrap().screening();
        assert_eq!(screening.screening_id, SCREENING_ID);
        assert_eq!(screening.status(), ScreeningStatus::Pending);
        assert!(screening.decision.is_none());
    }
    tell(&gateway, "screening.completed", &approved(SCREENING_ID)).await;
    let screening = patient.await.unwrap().screening();
    assert_eq!(screening.status(), ScreeningStatus::Completed);
    gateway.stop().await;
}
