//! Whose webhook is whose: the path says it, and the secret of that tenant has to agree.

use super::*;

#[tokio::test]
async fn a_webhook_is_kept_where_path_and_secret_agree_and_nowhere_else() {
    let files = Files::of_both();
    let gateway = files.start().await;
    for path in [ALPHA, BETA] {
        for signer in [ALPHA, BETA] {
            let id = format!("to-{}-by-{}", path.name, signer.name);
            let status = offer(&door(&gateway, path), signer, &id).await;
            let expected = if path == signer { 200 } else { 401 };
            assert_eq!(status, expected, "{id}");
        }
    }
    // The same id is another event at another tenant.
    for tenant in [ALPHA, BETA] {
        assert_eq!(offer(&door(&gateway, tenant), tenant, "same").await, 200);
    }
    gateway.stop().await;
    assert_eq!(files.event_ids(ALPHA), ["to-alpha-by-alpha", "same"]);
    assert_eq!(files.event_ids(BETA), ["to-beta.2-by-beta.2", "same"]);
}

#[tokio::test]
async fn without_a_tenants_name_a_path_is_of_the_only_one() {
    let files = Files::of_both();
    let gateway = files.start().await;
    for path in [
        "/webhooks/compliance",
        "/webhooks/compliance/",
        "/webhooks/compliance/gamma",
        // The gateway's name of a tenant, not Kora's.
        &format!("/webhooks/compliance/{}", ALPHA.id),
    ] {
        let status = offer(&Webhooks::on(gateway.webhook, path), ALPHA, "lost").await;
        assert_eq!(status, 404, "{path}");
    }
    gateway.stop().await;
    assert!(files.event_ids(ALPHA).is_empty() && files.event_ids(BETA).is_empty());

    let files = Files::of(&[(ALPHA, NO_KORA)]);
    let gateway = files.start().await;
    assert_eq!(offer(&Webhooks::to(gateway.webhook), ALPHA, "a").await, 200);
    assert_eq!(offer(&Webhooks::to(gateway.webhook), BETA, "b").await, 401);
    assert_eq!(offer(&door(&gateway, ALPHA), ALPHA, "c").await, 200);
    gateway.stop().await;
    assert_eq!(files.event_ids(ALPHA), ["a", "c"]);
}

#[tokio::test]
async fn a_tenants_new_secret_is_its_own() {
    const RENEWED: Tenant = Tenant {
        secret: "whsec_renewed",
        ..ALPHA
    };
    let files = Files::of_both();
    let gateway = files.start().await;
    assert_eq!(offer(&door(&gateway, ALPHA), RENEWED, "early").await, 401);
    fs::write(files.secret(ALPHA, "secret"), RENEWED.secret).unwrap();
    let renewed = async { while offer(&door(&gateway, ALPHA), RENEWED, "a").await != 200 {} };
    tokio::time::timeout(PATIENCE, renewed).await.unwrap();
    assert_eq!(offer(&door(&gateway, ALPHA), ALPHA, "late").await, 401);
    assert_eq!(offer(&door(&gateway, BETA), RENEWED, "other").await, 401);
    assert_eq!(offer(&door(&gateway, BETA), BETA, "b").await, 200);
    gateway.stop().await;
    assert_eq!(files.event_ids(ALPHA), ["a"]);
    assert_eq!(files.event_ids(BETA), ["b"]);
}
