//! `grpc.health.v1`: what it says of each name, and when that changes.
//!
//! `""` and the API's name tell an orchestrator whether to send calls here. `liveness` tells whether the
//! runtime runs. `kora` tells whether Kora answered when it was asked last, `store` whether the event log could
//! write; they are for dashboards alone: a dependency that all replicas share being down makes none of them
//! unready.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use tokio::{sync::watch, time};
use tonic::{Code, Request, Response, Status, async_trait};
use tonic_health::{
    ServingStatus,
    pb::{
        HealthCheckRequest, HealthCheckResponse, health_check_response,
        health_server::{Health, HealthServer},
    },
    server::{HealthReporter, health_reporter},
};

use crate::{
    lifecycle::{Phase, Readiness, Watchdog},
    pb,
};

/// The standard's service.
pub type HealthService = HealthServer<KnownNames>;

/// The names that the service knows from the start; no other one is added later.
const NAMES: [(&str, ServingStatus); 5] = [
    ("", ServingStatus::NotServing),
    (pb::SERVICE_NAME, ServingStatus::NotServing),
    ("kora", ServingStatus::Unknown),
    ("store", ServingStatus::Unknown),
    ("liveness", ServingStatus::Serving),
];

/// How often liveness is looked at.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(1);

/// How large a request may be, which holds a name alone.
const MAX_REQUEST_BYTES: usize = 4 << 10;

/// tonic's service, except that `Watch` of an unknown name stays open and tells `SERVICE_UNKNOWN`, as the protocol
/// requires (`grpc/health/v1/health.proto`). tonic ends such a stream.
#[derive(Debug)]
pub struct KnownNames(tonic_health::server::HealthService);

#[async_trait]
impl Health for KnownNames {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.check(request).await
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        match self.0.watch(request).await {
            Ok(response) => Ok(response.map(|statuses| Box::pin(statuses) as Self::WatchStream)),
            Err(status) if status.code() == Code::NotFound => {
                let unknown = HealthCheckResponse {
                    status: health_check_response::ServingStatus::ServiceUnknown.into(),
                };
                let unknown = stream::iter([Ok(unknown)]).chain(stream::pending());
                Ok(Response::new(Box::pin(unknown)))
            }
            Err(status) => Err(status),
        }
    }
}

/// The service, and the reporter that [`follow_health`] feeds.
pub async fn health() -> (HealthReporter, HealthService) {
    let (reporter, _) = health_reporter();
    for (name, status) in NAMES {
        reporter.set_service_status(name, status).await;
    }
    let service = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    let service = HealthServer::new(KnownNames(service));
    (
        reporter,
        service.max_decoding_message_size(MAX_REQUEST_BYTES),
    )
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
