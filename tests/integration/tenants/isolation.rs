//! One tenant's trouble is not another's.

use super::*;

/// A writer that is not the gateway: while it has the log, the gateway cannot write.
struct Occupied(rusqlite::Connection);

impl Occupied {
    fn by_another(log: &Path) -> Self {
        let connection = rusqlite::Connection::open(log).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Occupied(connection)
    }

    fn leave(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_its_tenants_alone() {
    let files = Files::of_both();
    let gateway = files.start().await;
    let [alpha, beta] = [ALPHA, BETA].map(|tenant| door(&gateway, tenant));
    for written in [ALPHA, BETA] {
        gateway
            .wait_for_metric(&gauge("store_writable", written, 1))
            .await;
    }
    let occupied = Occupied::by_another(&files.log(ALPHA));
    assert_eq!(offer(&alpha, ALPHA, "kept out").await, 503);
    assert_eq!(offer(&beta, BETA, "b1").await, 200);
    gateway
        .wait_for_metric(&gauge("store_writable", ALPHA, 0))
        .await;
    gateway
        .wait_for_metric(&gauge("store_writable", BETA, 1))
        .await;
    let url = format!("http://{}/readyz", gateway.admin);
    let ready = || async { reqwest::get(&url).await.unwrap().status() == 200 };
    assert!(ready().await, "another tenant's log can be written");
    let too = Occupied::by_another(&files.log(BETA));
    assert_eq!(offer(&beta, BETA, "kept out").await, 503);
    let goes_off = async { while ready().await {} };
    tokio::time::timeout(PATIENCE, goes_off).await.unwrap();
    too.leave();
    // Nobody has to offer anything for that.
    let recovers = async { while !ready().await {} };
    tokio::time::timeout(PATIENCE, recovers).await.unwrap();
    gateway
        .wait_for_metric(&gauge("store_writable", ALPHA, 0))
        .await;
    occupied.leave();
    gateway
        .wait_for_metric(&gauge("store_writable", ALPHA, 1))
        .await;
    assert_eq!(offer(&alpha, ALPHA, "a1").await, 200);
    gateway.stop().await;
    assert_eq!(files.event_ids(ALPHA), ["a1"]);
    assert_eq!(files.event_ids(BETA), ["b1"]);
}
