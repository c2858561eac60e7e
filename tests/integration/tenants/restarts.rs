//! What each tenant has is there again after a restart, and when a gateway gets more tenants.

use super::*;
use crate::harness::{TENANT_ID, WEBHOOK_SECRET};

#[tokio::test]
async fn a_restart_keeps_every_tenants_events() {
    let files = Files::of_both();
    for round in ["1", "2"] {
        let gateway = files.start().await;
        for tenant in [ALPHA, BETA] {
            let door = door(&gateway, tenant);
            for id in ["kept", &format!("{}-{round}", tenant.name)] {
                assert_eq!(offer(&door, tenant, id).await, 200);
            }
        }
        gateway.stop().await;
    }
    // What was kept was known again.
    assert_eq!(files.event_ids(ALPHA), ["kept", "alpha-1", "alpha-2"]);
    assert_eq!(files.event_ids(BETA), ["kept", "beta.2-1", "beta.2-2"]);
}

#[tokio::test]
async fn a_gateway_that_gets_more_tenants_keeps_the_log_of_its_only_one() {
    const FIRST: Tenant = Tenant {
        name: "the-first",
        id: TENANT_ID,
        key: "key-of-the-first",
        secret: WEBHOOK_SECRET,
    };
    let files = Files::of(&[(FIRST, NO_KORA), (BETA, NO_KORA)]);
    let log = format!("file:{}", files.path("data").display());
    let gateway = Gateway::start(NO_KORA, &[("event-log", &log)]).await;
    assert_eq!(
        offer(&Webhooks::to(gateway.webhook), FIRST, "before").await,
        200
    );
    gateway.stop().await;
    let gateway = files.start().await;
    for id in ["before", "after"] {
        assert_eq!(offer(&door(&gateway, FIRST), FIRST, id).await, 200);
    }
    gateway.stop().await;
    assert_eq!(files.event_ids(FIRST), ["before", "after"]);
}
