//! Kora's side of a webhook: a signed body, posted.

use std::{net::SocketAddr, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::harness::WEBHOOK_SECRET;

/// Posts to one gateway, on a connection that is kept.
#[derive(Clone)]
pub struct Webhooks {
    pub client: reqwest::Client,
    url: String,
}

impl Webhooks {
    /// To the gateway whose webhook port this is.
    pub fn to(addr: SocketAddr) -> Webhooks {
        Webhooks {
            client: reqwest::Client::builder()
                .no_proxy()
                // The gateway closes idle ones after 9 s: never at the moment when one is used again.
                .pool_idle_timeout(Duration::from_secs(2))
                .build()
                .unwrap(),
            url: format!("http://{addr}/webhooks/compliance"),
        }
    }

    /// To this path of the gateway's.
    pub fn on(addr: SocketAddr, path: &str) -> Webhooks {
        Webhooks {
            url: format!("http://{addr}{path}"),
            ..Self::to(addr)
        }
    }

    /// Posts a signed body that must be accepted.
    pub async fn deliver(&self, body: &[u8]) {
        assert_eq!(self.offer(body).await.status(), 200);
    }

    /// Offers an event with an id of Kora's. Returns the status, and whether the answer says when to come back.
    pub async fn offer_event(&self, id: &str, kind: &str) -> (u16, bool) {
        let body = serde_json::json!({"id": id, "event": kind, "data": {}});
        let answer = self.offer(body.to_string().as_bytes()).await;
        let says_when = answer.headers().contains_key("retry-after");
        (answer.status().as_u16(), says_when)
    }

    /// Posts a signed body.
    pub async fn offer(&self, body: &[u8]) -> reqwest::Response {
        self.offer_signed(body, signature(body)).await
    }

    /// Posts a body with this signature.
    pub async fn offer_signed(&self, body: &[u8], signature: String) -> reqwest::Response {
        let request = self
            .client
            .post(&self.url)
            .header("x-webhook-signature", signature)
            .body(body.to_vec());
        request.send().await.unwrap()
    }

    /// Posts an event with an id of Kora's.
    pub async fn deliver_event(&self, id: &str, kind: &str) {
        let body = serde_json::json!({"id": id, "event": kind, "data": {}});
        self.deliver(body.to_string().as_bytes()).await;
    }
}

/// What `X-Webhook-Signature` says of a body.
pub fn signature(body: &[u8]) -> String {
    signature_by(WEBHOOK_SECRET, body)
}

/// The same by another secret.
pub fn signature_by(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
