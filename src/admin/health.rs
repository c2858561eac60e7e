//! `grpc.health.v1`: what it says of each name, and when that changes.
//!
//! `""` and the API's name tell an orchestrator whether to send calls here. `liveness` tells whether the
//! runtime runs. `kora` tells whether Kora answered when it was asked last, `store` whether the event log could
//! write; they are for dashboards alone: a dependency that all replicas share being down makes none of them
//! unready.

use std::time::Duration;

use tokio::{sync::watch, time};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, health_reporter},
};

use crate::{
    lifecycle::{Phase, Readiness, Watchdog},
    pb,
};

/// The standard's service.
pub type HealthService = HealthServer<tonic_health::server::HealthService>;

/// How often liveness is looked at.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(1);

/// How large a request may be, which holds a name alone.
const MAX_REQUEST_BYTES: usize = 4 << 10;

/// The service, and the reporter that [`follow_health`] feeds.
pub async fn health() -> (HealthReporter, HealthService) {
    let (reporter, _) = health_reporter();
    for name in ["", pb::SERVICE_NAME] {
        reporter
            .set_service_status(name, ServingStatus::NotServing)
            .await;
    }
    reporter
        .set_service_status("kora", ServingStatus::Unknown)
        .await;
    let service = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    let service = HealthServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES);
    (reporter, service)
}

/// Says that calls can come. To be called before anybody else hears of it, so that whoever does and asks
/// gets the same answer.
pub async fn announce_ready(reporter: &HealthReporter) {
    for name in ["", pb::SERVICE_NAME] {
        reporter
            .set_service_status(name, ServingStatus::Serving)
            .await;
    }
}

/// Keeps what the service says true, until it is dropped.
pub async fn follow_health(
    reporter: HealthReporter,
    readiness: Readiness,
    watchdog: Watchdog,
    mut kora: watch::Receiver<Option<bool>>,
    mut store: watch::Receiver<bool>,
) {
    store.mark_changed();
    let mut phase = readiness.subscribe();
    let mut liveness = time::interval(LIVENESS_INTERVAL);
    loop {
        tokio::select! {
            Ok(()) = phase.changed() => {
                let ready = *phase.borrow_and_update() == Phase::Ready;
                for name in ["", pb::SERVICE_NAME] {
                    reporter.set_service_status(name, serving(ready)).await;
                }
            }
            Ok(()) = kora.changed() => {
                let status = kora.borrow_and_update().map_or(ServingStatus::Unknown, serving);
                reporter.set_service_status("kora", status).await;
            }
            Ok(()) = store.changed() => {
                let status = serving(*store.borrow_and_update());
                reporter.set_service_status("store", status).await;
            }
            _ = liveness.tick() => {
                reporter.set_service_status("liveness", serving(watchdog.is_alive())).await;
            }
        }
    }
}

fn serving(is_serving: bool) -> ServingStatus {
    match is_serving {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}
