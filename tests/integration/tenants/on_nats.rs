//! The same on NATS: each tenant has streams of its own, on one connection.

use serde_json::Value;

use super::*;
use crate::nats_server::NatsServer;

/// A server keeps a place on its disk for all that each stream may have: there is room for several of these.
fn on(url: &str) -> [(&'static str, &str); 2] {
    [("event-log", url), ("retention-size", "1MiB")]
}

/// The messages of a tenant's stream. Each has its event's id in it.
async fn messages(nats: &NatsServer, tenant: Tenant) -> Vec<String> {
    let context = nats.client().await;
    let name = format!("kora-gateway-{}-events", tenant.id);
    let mut stream = context.get_stream(name).await.unwrap();
    let count = stream.info().await.unwrap().state.messages;
    let mut messages = Vec::new();
    for sequence in 1..=count {
        let message = stream.get_raw_message(sequence).await.unwrap();
        messages.push(String::from_utf8_lossy(&message.payload).into_owned());
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn on_nats_each_tenant_has_its_own_streams_too() {
    let nats = NatsServer::start();
    let files = Files::of_both();
    for round in ["1", "2"] {
        let gateway = files.start_with(&on(&nats.url())).await;
        for path in [ALPHA, BETA] {
            for signer in [ALPHA, BETA] {
                let id = format!("{round}-{}", signer.name);
                let status = offer(&door(&gateway, path), signer, &id).await;
                let expected = if path == signer { 200 } else { 401 };
                assert_eq!(status, expected, "{id} to {}", path.name);
            }
            assert_eq!(offer(&door(&gateway, path), path, "same").await, 200);
        }
        gateway.stop().await;
    }
    for tenant in [ALPHA, BETA] {
        let messages = messages(&nats, tenant).await;
        let ids = [
            format!("1-{}", tenant.name),
            "same".to_owned(),
            format!("2-{}", tenant.name),
        ];
        assert_eq!(messages.len(), ids.len());
        for (message, id) in messages.iter().zip(ids) {
            assert!(message.contains(&id), "{id} at {}", tenant.name);
        }
    }
}

/// How many connections the server has, which it tells on its monitoring port.
async fn connections(monitor: u16) -> u64 {
    let url = format!("http://127.0.0.1:{monitor}/varz");
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let figures: Value = serde_json::from_str(&text).unwrap();
    figures["connections"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tenants_share_one_connection_to_nats() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let monitor = free.local_addr().unwrap().port();
    drop(free);
    let nats = NatsServer::start_with(&["--http_port", &monitor.to_string()]);
    let files = Files::of_both();
    let gateway = files.start_with(&on(&nats.url())).await;
    assert_eq!(connections(monitor).await, 1);
    assert_eq!(offer(&door(&gateway, BETA), BETA, "b").await, 200);
    gateway.stop().await;
    let left = async { while connections(monitor).await > 0 {} };
    tokio::time::timeout(PATIENCE, left).await.unwrap();
}
