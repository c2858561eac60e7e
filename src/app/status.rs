//! How far the gateway is, for the orchestrator and for dashboards.

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
    /// live. It is ready as long as one tenant's log can write; health tells whether all can. A log that is away from all
    /// gateways makes none of them unready.
    pub(super) async fn follow(
        &self,
        tenants: &[Tenant],
        is_log_shared: bool,
        tasks: &mut JoinSet<()>,
    ) {
        let writable = || tenants.iter().map(Tenant::writable).collect::<Vec<_>>();
        let words: Vec<_> = writable().iter().map(|one| *one.borrow()).collect();
        let (all_writable, store) = watch::channel(all(&words));
        let (any_writable, is_any_writable) = watch::channel(any(&words));
        let (all_answer, kora) = watch::channel(None);
        let answering = tenants.iter().map(Tenant::answering).collect();
        tasks.spawn(together::follow(writable(), all, all_writable));
        tasks.spawn(together::follow(writable(), any, any_writable));
        tasks.spawn(together::follow(answering, answers, all_answer));
        tasks.spawn(admin::follow_health(
            self.reporter.clone(),
            self.readiness.clone(),
            self.watchdog.clone(),
            kora,
            store,
        ));
        if is_log_shared || any(&words) {
            admin::announce_ready(&self.reporter).await;
            self.readiness.ready();
        }
        if !is_log_shared {
            tasks.spawn(follow_logs(self.readiness.clone(), is_any_writable));
        }
    }
}

/// A gateway with no log that can write says so.
async fn follow_logs(readiness: Readiness, mut writable: watch::Receiver<bool>) {
    // Also what has changed since somebody looked.
    writable.mark_changed();
    while writable.changed().await.is_ok() {
        match *writable.borrow_and_update() {
            true => readiness.ready(),
            false => readiness.not_ready(),
        }
    }
}
