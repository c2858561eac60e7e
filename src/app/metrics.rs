//! The metrics of all rooms, registered once for all tenants.

use prometheus_client::registry::Registry;

use crate::{feed, grpc, kora, listener, reconciler, requests, store, telemetry::Metrics, webhook};

/// Those of every room.
pub(super) struct RoomMetrics {
    pub(super) listener: listener::Metrics,
    pub(super) store: store::Metrics,
    pub(super) kora: kora::Metrics,
    pub(super) reconciler: reconciler::Metrics,
    pub(super) requests: requests::Metrics,
    pub(super) feed: feed::Metrics,
    pub(super) webhook: webhook::Metrics,
    pub(super) grpc: grpc::Metrics,
}

impl RoomMetrics {
    /// All of them, and the registry that they are in.
    pub(super) fn register() -> (Self, Registry) {
        let mut registry = Metrics::registry();
        let metrics = RoomMetrics {
            listener: listener::Metrics::register(&mut registry),
            store: store::Metrics::register(&mut registry),
            kora: kora::Metrics::register(&mut registry),
            reconciler: reconciler::Metrics::register(&mut registry),
            requests: requests::Metrics::register(&mut registry),
            feed: feed::Metrics::register(&mut registry),
            webhook: webhook::Metrics::register(&mut registry),
            grpc: grpc::Metrics::register(&mut registry),
        };
        (metrics, registry)
    }
}
