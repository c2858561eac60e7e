//! The orchestrator's side, in plaintext: `/livez`, `/readyz`, `/metrics`, `/clock`, `/store/backup`, and `grpc.health.v1`.

mod backup;
mod clock;
mod health;

use axum::{Router, extract::State, http::StatusCode, http::header::CONTENT_TYPE, routing::get};

pub use backup::{BACKUP_PATH, BackupLine, Backups, DIRECTORY_HEADER};
pub use clock::{ACCEPT_PATH, CLOCK_PATH, ClockReport, STEP_HEADER};
pub use health::{HealthService, announce_ready, follow_health, health};

use crate::{
    clock::Clock,
    lifecycle::{Readiness, Watchdog},
    telemetry::Metrics,
};

/// The media type of the metrics (OpenMetrics 1.0).
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    watchdog: Watchdog,
    metrics: Metrics,
}

/// Builds what the admin port serves.
pub fn service(
    clock: Clock,
    readiness: Readiness,
    watchdog: Watchdog,
    metrics: Metrics,
    health: HealthService,
    backups: Backups,
) -> Router {
    let admin = Admin {
        readiness,
        watchdog,
        metrics,
    };
    // Any other path is a plain 404: gRPC's own answer to an unknown one is a 200, which a probe with a
    // typing error in its path would take for health.
    Router::new()
        .route_service("/grpc.health.v1.Health/{*method}", health)
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .with_state(admin)
        .merge(clock::routes(clock))
        .merge(backups.routes())
}

async fn livez(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match admin.watchdog.is_alive() {
        true => (StatusCode::OK, "alive\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the runtime is stuck\n"),
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    if admin.readiness.is_ready() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let text = match admin.readiness.waits_for() {
        Some(what) => format!("not ready: {what}\n"),
        None => "not ready\n".to_owned(),
    };
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn metrics_text(
    State(admin): State<Admin>,
) -> ([(http::HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, OPENMETRICS)], admin.metrics.encode())
}
