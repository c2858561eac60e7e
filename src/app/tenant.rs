//! The rooms of one tenant: its Kora, its log, and what stands between them. Tenants share nothing but the way to Kora,
//! the place of the logs, and the ports.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_util::task::TaskTracker;

use super::{metrics::RoomMetrics, stop::Orders};
use crate::{
    clock::Clock,
    config::{self, Config},
    feed::Feed,
    grpc, kora,
    memory::Budget,
    reconciler::Reconciler,
    requests::{self, Requests},
    secret::Secret,
    store::{EventLog, Logs, RequestLog},
    webhook::{self, SecretOwners},
};

/// One tenant's rooms.
pub(super) struct Tenant {
    name: String,
    api_key: Secret,
    webhook_secrets: Secret,
    log: Logs,
    kora: kora::Client,
    requests: Requests,
    feed: Feed,
    reconciler: Reconciler,
}

/// What the rooms of all tenants are made with.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Config,
    pub(super) http: kora::HttpClient,
    pub(super) clock: Clock,
    pub(super) calls: TaskTracker,
    pub(super) orders: Orders,
    pub(super) metrics: RoomMetrics,
    pub(super) budget: Budget,
}

impl Shared<'_> {
    /// The rooms of all tenants, whose logs are in the same order.
    ///
    /// # Errors
    /// If one's id cannot be sent to Kora.
    pub(super) fn tenants(&self, logs: Vec<Logs>) -> Result<Vec<Tenant>, kora::SetupError> {
        let tenants = self.config.tenants.iter().zip(logs);
        tenants
            .map(|(tenant, log)| self.tenant(tenant, log))
            .collect()
    }

    fn tenant(&self, tenant: &config::Tenant, log: Logs) -> Result<Tenant, kora::SetupError> {
        let kora = kora::Client::new(
            &self.http,
            &tenant.kora,
            self.clock.clone(),
            self.metrics.kora.of_tenant(&tenant.name),
            self.orders.of_kora(),
        )?;
        let reconciler = Reconciler::new(
            self.config.reconciler.clone(),
            kora.clone(),
            log.polls.clone(),
            self.clock.clone(),
            self.metrics.reconciler.clone(),
        );
        let requests = Requests::new(
            self.config.requests.clone(),
            kora.clone(),
            requests::Logs {
                requests: log.requests.clone(),
                events: log.events.clone(),
            },
            reconciler.clone(),
            self.metrics.requests.clone(),
            self.calls.clone(),
            self.orders.of_requests(),
        );
        Ok(Tenant {
            name: tenant.name.clone(),
            api_key: tenant.kora.api_key.clone(),
            webhook_secrets: tenant.webhook_secrets.clone(),
            feed: Feed::new(log.events.clone(), self.metrics.feed.clone()),
            kora,
            requests,
            reconciler,
            log,
        })
    }
}

impl Tenant {
    /// What the callers' port needs of it.
    pub(super) fn calls(&self) -> grpc::Tenant {
        grpc::Tenant {
            name: self.name.as_str().into(),
            kora: self.kora.clone(),
            requests: self.requests.clone(),
            feed: self.feed.clone(),
        }
    }

    /// What the webhook port needs of it.
    pub(super) fn webhooks(&self) -> webhook::Tenant {
        webhook::Tenant {
            name: self.name.clone(),
            secrets: self.webhook_secrets.clone(),
            log: self.log.events.clone(),
        }
    }

    /// Whether Kora answered it when it was asked last; `None` before the first time.
    pub(super) fn answering(&self) -> watch::Receiver<Option<bool>> {
        self.kora.answering()
    }

    /// Whether its log can write.
    pub(super) fn writable(&self) -> watch::Receiver<bool> {
        self.log.events.writable()
    }

    /// Its log of events.
    pub(super) fn event_log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log.events)
    }

    /// Whether clients should come to this gateway for its log.
    pub(super) fn serviceable(&self) -> watch::Receiver<bool> {
        self.log.events.serviceable()
    }

    /// Its name, and the secrets that Kora may sign its webhooks with.
    pub(super) fn webhook_secrets(&self) -> (&str, &Secret) {
        (&self.name, &self.webhook_secrets)
    }

    /// Reads its secrets again when they change, for as long as the tasks live. A webhook secret stays as it is while
    /// the new one is another tenant's.
    pub(super) fn follow_secrets(&self, owners: &SecretOwners, tasks: &mut JoinSet<()>) {
        let api_key = self.api_key.clone();
        tasks.spawn(api_key.follow("kora-api-key", self.name.clone(), |_| Ok(())));
        let (owners, name) = (owners.clone(), self.name.clone());
        let webhook_secrets = self.webhook_secrets.clone();
        let claim = move |secrets: &SecretString| owners.claim(&name, secrets);
        tasks.spawn(webhook_secrets.follow("kora-webhook-secret", self.name.clone(), claim));
    }

    /// Polls until the order to stop.
    pub(super) fn start_polling(&self, orders: &Orders) -> JoinHandle<()> {
        let polling = self.reconciler.clone().run(orders.stop.clone());
        tokio::spawn(polling)
    }

    /// Its name, and its request records.
    pub(super) fn request_log(&self) -> (String, Arc<dyn RequestLog>) {
        (self.name.clone(), Arc::clone(&self.log.requests))
    }

    /// Its name, and its log.
    pub(super) fn named_log(&self) -> (String, Logs) {
        (self.name.clone(), self.log.clone())
    }

    /// Its log, to be closed when everything else of it has ended.
    pub(super) fn log(&self) -> Logs {
        self.log.clone()
    }
}
