//! stub
#![allow(missing_docs)]
use crate::{event::*, store::*};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use std::sync::Arc;
#[derive(Clone, Debug)]
pub struct Config {
    pub secrets: Vec<SecretString>,
    pub tenant: String,
    pub max_bytes: usize,
}
pub struct Metrics;
impl Metrics {
    pub fn register(_: &mut prometheus_client::registry::Registry) -> Self {
        Metrics
    }
}
pub fn service(config: Config, log: Arc<dyn EventLog>, _m: Metrics) -> Router {
    Router::new()
        .route("/webhooks/compliance", post(hook))
        .with_state((config, log))
}
async fn hook(
    State((config, log)): State<(Config, Arc<dyn EventLog>)>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let sig = headers
        .get("x-webhook-signature")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let ok = config.secrets.iter().any(|s| {
        let mut m = Hmac::<sha2::Sha256>::new_from_slice(s.expose_secret().as_bytes()).expect("x");
        m.update(&body);
        let hex: String = m
            .finalize()
            .into_bytes()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        hex == sig
    });
    if !ok {
        return StatusCode::UNAUTHORIZED;
    }
    let v: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let s = |v: &serde_json::Value| v.as_str().unwrap_or("").to_owned();
    let content = Content {
        keys: Keys {
            kind: s(&v["event"]),
            screening_id: s(&v["data"]["screening_id"]),
            subject_id: s(&v["data"]["subject_id"]),
        },
        ..Default::default()
    };
    match log
        .append(NewEvent::from_webhook(
            Identity::Vendor(s(&v["id"])),
            content,
            &body,
        ))
        .await
    {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
