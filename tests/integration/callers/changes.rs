//! A caller that is taken out, or may do less, while its call is on its way.

use tokio::sync::oneshot;

use super::*;
use crate::{
    call::{Connection, Rpc},
    scripted_kora::{Act, ScriptedKora},
};

#[tokio::test]
async fn a_call_that_is_whole_too_late_is_refused_by_what_holds_by_then() {
    let kora = ScriptedKora::start(Act::Hang).await;
    for (now, reason) in [
        (None, "UNAUTHENTICATED"),
        (
            Some(caller("changed", &[Right::Subjects], TENANT_ID)),
            "PERMISSION_MISSING",
        ),
        (
            Some(caller("changed", &Right::ALL, "another")),
            "PERMISSION_MISSING",
        ),
    ] {
        let changed = caller("changed", &Right::ALL, TENANT_ID);
        let callers = Callers::only(vec![changed]).unwrap();
        let given = callers.clone();
        let gateway =
            Gateway::start_with(&kora.base_url(), &[], |config| config.callers = given).await;
        let connection = Connection::open(gateway.grpc).await;
        let (tell, told) = oneshot::channel();
        let call = Rpc::Screen.call().header("authorization", "Bearer changed");
        let (mut first, late) = (connection.clone(), call.clone());
        let late = tokio::spawn(async move { first.send_once_told(late, told).await });
        tokio::task::yield_now().await;
        // On the same connection, so that the head of the first one has been seen when this one is answered.
        let mut second = connection;
        let unknown = Rpc::GetSubject.call().header("authorization", "Bearer x");
        assert_eq!(
            second.send(unknown).await.unwrap().reason(),
            "UNAUTHENTICATED"
        );
        callers.replace(now.into_iter().collect()).unwrap();
        tell.send(()).unwrap();
        let refused = late.await.unwrap().unwrap();
        assert_eq!(refused.reason(), reason);
        assert_eq!(refused.outcome().as_deref(), Some("NOT_SENT"));
        drop(second);
        gateway.stop().await;
    }
    assert!(kora.take_received().is_empty());
}
