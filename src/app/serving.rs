//! What each port serves, and until when.

use tokio::task::JoinHandle;

use super::{
    listeners::admin_config,
    metrics::RoomMetrics,
    status::Status,
    stop::Orders,
    tenant::{Shared, Tenant},
};
use crate::{access::Callers, clock::Clock, grpc, listener::Listener, webhook};

/// The admin port outlives the others: it tells the orchestrator how far the gateway is.
pub(super) fn admin(
    listener: Listener,
    status: &Status,
    clock: &Clock,
    metrics: &RoomMetrics,
    orders: &Orders,
) -> JoinHandle<()> {
    tokio::spawn(listener.serve(
        status.service(clock.clone()),
        admin_config(),
        metrics.listener.clone(),
        orders.all_done.clone(),
        orders.all_done.clone(),
    ))
}

/// Webhooks are taken until the last call is over.
pub(super) fn webhooks(
    listener: Listener,
    shared: &Shared<'_>,
    tenants: &[Tenant],
) -> JoinHandle<()> {
    let Shared {
        config,
        metrics,
        orders,
        ..
    } = shared;
    let webhooks = webhook::service(
        &config.webhook,
        tenants.iter().map(Tenant::webhooks).collect(),
        metrics.webhook.clone(),
        &shared.budget,
    );
    tokio::spawn(listener.serve(
        webhooks,
        config.webhook_listener.clone(),
        metrics.listener.clone(),
        orders.calls_done.clone(),
        orders.calls_done.clone(),
    ))
}

/// Calls are taken until the order to stop.
pub(super) fn calls(
    listener: Listener,
    shared: &Shared<'_>,
    tenants: &[Tenant],
    callers: Callers,
    status: &Status,
) -> JoinHandle<()> {
    let Shared {
        config,
        metrics,
        orders,
        ..
    } = shared;
    let calls = grpc::service(
        &config.grpc,
        grpc::Sources {
            callers,
            tenants: tenants.iter().map(Tenant::calls).collect(),
            clock: shared.clock.clone(),
            budget: shared.budget.clone(),
        },
        metrics.grpc.clone(),
        shared.calls.clone(),
        orders.stop.clone(),
        status.health.clone(),
    );
    tokio::spawn(listener.serve(
        calls,
        config.grpc_listener.clone(),
        metrics.listener.clone(),
        orders.stop.clone(),
        orders.calls_done.clone(),
    ))
}
