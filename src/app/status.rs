//! How far the gateway is, for the orchestrator and for dashboards.

use std::sync::Arc;

use tokio::{sync::watch, task::JoinSet};
use tonic_health::server::HealthReporter;

use super::{
    tenant::Tenant,
    together::{self, all, answers, any},
};
use crate::{
    admin::{self, Backups, HealthService},
    clock::Clock,
    lifecycle::{Readiness, Watchdog},
    store::EventLog,
    telemetry::Metrics,
};

/// What the admin port shows.
pub(super) struct Status {
    pub(super) readiness: Readiness,
    pub(super) metrics: Metrics,
    pub(super) health: HealthService,
    pub(super) backups: Backups,
    reporter: HealthReporter,
    watchdog: Watchdog,
}

impl Status {
    /// Nothing is ready yet.
    pub(super) async fn new(readiness: Readiness) -> Self {
        let (reporter, health) = admin::health().await;
        Status {
            readiness,
            metrics: Metrics::default(),
            health,
            backups: Backups::default(),
            reporter,
            watchdog: Watchdog::start(),
        }
    }

    /// What the admin port serves.
    pub(super) fn service(&self, clock: Clock) -> axum::Router {
        admin::service(
            clock,
            self.readiness.clone(),
            self.watchdog.clone(),
            self.metrics.clone(),
            self.health.clone(),
            self.backups.clone(),
        )
    }

    /// Says that the gateway is ready, if it is, and follows what its tenants say from then on, as long as the tasks
    /// live. It is ready as long as it can serve one tenant's log; health tells whether all can be written. A log that is
    /// away from all gateways makes none of them unready; one that is broken at this gateway does.
    pub(super) async fn follow(&self, tenants: &[Tenant], tasks: &mut JoinSet<()>) {
        let writable = || tenants.iter().map(Tenant::writable).collect::<Vec<_>>();
        let words: Vec<_> = writable().iter().map(|one| *one.borrow()).collect();
        let (all_writable, store) = watch::channel(all(&words));
        let serviceable = || tenants.iter().map(Tenant::serviceable).collect::<Vec<_>>();
        let words: Vec<_> = serviceable().iter().map(|one| *one.borrow()).collect();
        let (any_serviceable, is_any_serviceable) = watch::channel(any(&words));
        let (all_answer, kora) = watch::channel(None);
        let answering = tenants.iter().map(Tenant::answering).collect();
        tasks.spawn(together::follow(writable(), all, all_writable));
        tasks.spawn(together::follow(serviceable(), any, any_serviceable));
        tasks.spawn(together::follow(answering, answers, all_answer));
        tasks.spawn(admin::follow_health(
            self.reporter.clone(),
            self.readiness.clone(),
            self.watchdog.clone(),
            kora,
            store,
        ));
        if any(&words) {
            admin::announce_ready(&self.reporter).await;
            self.readiness.ready();
        }
        let logs = tenants.iter().map(Tenant::event_log).collect();
        let readiness = self.readiness.clone();
        tasks.spawn(follow_logs(readiness, is_any_serviceable, logs));
    }
}

/// A gateway with no log that it can serve says so, and why.
async fn follow_logs(
    readiness: Readiness,
    mut serviceable: watch::Receiver<bool>,
    logs: Vec<Arc<dyn EventLog>>,
) {
    // Also what has changed since somebody looked.
    serviceable.mark_changed();
    while serviceable.changed().await.is_ok() {
        if *serviceable.borrow_and_update() {
            readiness.set_waits_for(None);
            readiness.ready();
        } else {
            let mut because = logs.iter().filter_map(|log| log.unserviceable_because());
            readiness.set_waits_for(because.next());
            readiness.not_ready();
        }
    }
}
